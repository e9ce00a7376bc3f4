"""The pictures of a window: small PNGs for the Dagster UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from liminal_assets.steps.drift import ColumnDistance
from liminal_assets.steps.plots import Drawing
from liminal_assets.steps.report import Plot

__all__ = ["distribution_plot", "history_plot"]

_REFERENCE, _WINDOW, _LIMIT = "#94a3b8", "#2563eb", "#dc2626"
_MOST_BINS = 24


def distribution_plot(column: ColumnDistance) -> Plot | None:
    """The shares of a column's bins, the reference's beside the window's."""
    if column.histograms is None:
        return None
    before, now = column.histograms.shares()
    labels = list(column.histograms.labels)
    if len(labels) > _MOST_BINS:
        far = sorted(range(len(labels)), key=lambda i: -abs(before[i] - now[i]))
        kept = sorted(far[:_MOST_BINS])
        labels = [labels[i] for i in kept]
        before, now = [before[i] for i in kept], [now[i] for i in kept]
    title = f"{column.column}: {column.distance or 0:.3g} ({column.method})"
    places = range(len(labels))
    with Drawing(title, "", "share of rows") as drawing:
        drawing.axes.bar([i - 0.2 for i in places], before, 0.4, color=_REFERENCE, label="before")
        drawing.axes.bar([i + 0.2 for i in places], now, 0.4, color=_WINDOW, label="now")
        shown = [label if len(label) < 18 else f"{label[:17]}…" for label in labels]
        drawing.axes.set_xticks(list(places), shown, rotation=60, ha="right", fontsize=6)
        drawing.axes.legend(fontsize=7)
    return drawing.plot


def history_plot(
    windows: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    threshold: float | None = None,
) -> Plot | None:
    """Values over the windows, a line each; None for fewer than two windows."""
    if len(windows) < 2 or not series:
        return None
    with Drawing(title, "", "") as drawing:
        for name, values in series.items():
            known = [(i, value) for i, value in enumerate(values) if value is not None]
            drawing.axes.plot(
                [i for i, _ in known], [v for _, v in known], marker="o", markersize=3, label=name
            )
        if threshold is not None:
            drawing.axes.axhline(threshold, color=_LIMIT, linewidth=1, linestyle="--")
        step = max(1, len(windows) // 12)
        places = list(range(0, len(windows), step))
        shown = [windows[i] for i in places]
        drawing.axes.set_xticks(places, shown, rotation=60, ha="right", fontsize=6)
        drawing.axes.legend(fontsize=6)
    return drawing.plot
