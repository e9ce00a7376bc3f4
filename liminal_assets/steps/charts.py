"""Small charts as SVG text, for reports that hold everything in one file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

from liminal_assets.steps.bins import Histograms

__all__ = ["bars", "lines", "scatter"]

_BLUE, _ORANGE, _GREY = "#2563eb", "#ea580c", "#94a3b8"
_COLOURS = (_BLUE, _ORANGE, "#16a34a", "#9333ea", "#0891b2", "#ca8a04")
_MOST_BARS = 24
_MOST_MARKS = 8


def bars(histograms: Histograms, *, title: str = "", width: int = 420, height: int = 160) -> str:
    """The shares of the bins, the reference's beside the window's."""
    before, now = histograms.shares()
    labels = histograms.labels
    if len(labels) > _MOST_BARS:
        # the bins that differ most, in their order
        gaps = sorted(range(len(labels)), key=lambda i: -abs(before[i] - now[i]))
        kept = sorted(gaps[:_MOST_BARS])
        labels = tuple(labels[i] for i in kept)
        before, now = [before[i] for i in kept], [now[i] for i in kept]
    top = max([*before, *now, 1e-9])
    step = (width - 10) / max(len(labels), 1)
    shapes = []
    for index, label in enumerate(labels):
        for offset, share, colour in ((0.08, before, _GREY), (0.5, now, _BLUE)):
            tall = share[index] / top * (height - 50)
            hover = f"{label}: {before[index]:.1%} before, {now[index]:.1%} now"
            shapes.append(
                f'<rect x="{5 + (index + offset) * step:.1f}" y="{height - 30 - tall:.1f}" '
                f'width="{step * 0.4:.1f}" height="{tall:.1f}" fill="{colour}">'
                f"<title>{escape(hover)}</title></rect>"
            )
        if len(labels) <= 8 or index in (0, len(labels) - 1):
            shapes.append(
                f'<text x="{5 + (index + 0.5) * step:.1f}" y="{height - 16}" '
                f'text-anchor="middle">{escape(_short(label))}</text>'
            )
    heading = f'<text x="{width - 5}" y="10" text-anchor="end">{escape(title)}</text>'
    legend = (
        f'<text x="5" y="10" fill="{_GREY}">reference</text>'
        f'<text x="65" y="10" fill="{_BLUE}">window</text>'
    )
    return _svg(width, height, "".join(shapes) + legend + heading)


def lines(
    series: Mapping[str, Sequence[float | None]],
    windows: Sequence[str],
    *,
    title: str = "",
    bounds: Sequence[float] = (),
    marks: Mapping[str, Collection[int]] | None = None,
    width: int = 860,
    height: int = 220,
) -> str:
    """One line per series over the windows, and the bounds; nothing for a single window.

    The axis begins at zero, unless that would leave more than half of it empty.

    Args:
        marks: places of a series to put a ring around.
    """
    known = [value for values in series.values() for value in values if value is not None]
    if not known or len(windows) < 2:
        return ""
    low, top = _extent([*known, *bounds])
    span = top - low
    left, right, floor = 45, width - 150, height - 30

    def at(index: int, value: float) -> tuple[float, float]:
        across = left + (right - left) * (index / max(len(windows) - 1, 1))
        return across, floor - (value - low) / span * (floor - 15)

    shapes = [f'<line x1="{left}" x2="{right}" y1="{floor}" y2="{floor}" stroke="#cbd5e1"/>']
    ends = [end for end in (low, top) if all(abs(end - b) > span / 12 for b in bounds)]
    for value in (*bounds, *ends):
        y = at(0, value)[1]
        shapes.append(f'<text x="4" y="{y + 3:.1f}">{value:.3g}</text>')
        if value in bounds:
            shapes.append(
                f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dc2626" '
                f'stroke-dasharray="4 3"/>'
            )
    for number, (name, values) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [at(i, value) for i, value in enumerate(values) if value is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        shapes.extend(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points
        )
        for index in (marks or {}).get(name, ()):
            if (marked_value := values[index]) is not None:
                x, y = at(index, marked_value)
                shapes.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="{colour}"/>'
                )
        y = 20 + 15 * number
        shapes.append(
            f'<text x="{right + 8}" y="{y}" fill="{colour}">{escape(_short(name, 22))}</text>'
        )
    marked = range(len(windows)) if len(windows) <= _MOST_MARKS else (0, len(windows) - 1)
    for index in marked:
        x = at(index, low)[0]
        shapes.append(
            f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">'
            f"{escape(_short(windows[index], 22))}</text>"
        )
    shapes.append(f'<text x="{left}" y="10">{escape(title)}</text>')
    return _svg(width, height, "".join(shapes))


def scatter(
    places: Sequence[tuple[str, float, float, bool]],
    *,
    across: str,
    up: str,
    width: int = 860,
    height: int = 260,
) -> str:
    """A point for each of some things.

    Args:
        places: what it is called, how far right and how far up it is, whether it stands out.
        across: what goes to the right, in words.
        up: what goes up.
    """
    left, right, floor = 70, width - 20, height - 30
    most = max([x for _, x, _, _ in places] + [1e-9])
    low = min([y for _, _, y, _ in places] + [0.0])
    span = (max([y for _, _, y, _ in places] + [0.0]) - low) or 1.0

    def up_to(y: float) -> float:
        return floor - (y - low) / span * (floor - 25)

    shapes = [
        f'<line x1="{left}" x2="{right}" y1="{up_to(0):.1f}" y2="{up_to(0):.1f}" '
        'stroke="#cbd5e1"/>',
        f'<text x="{left - 6}" y="{up_to(0) + 3:.1f}" text-anchor="end">0</text>',
        f'<text x="{left - 6}" y="{up_to(low + span) + 3:.1f}" text-anchor="end">'
        f"{low + span:.3g}</text>",
        f'<text x="{right}" y="{height - 12}" text-anchor="end">{escape(across)}: '
        f"{most:,.0f}</text>",
        f'<text x="{left}" y="12">{escape(up)}</text>',
    ]
    for name, x, y, stands_out in places:
        colour, size = (_ORANGE, 6) if stands_out else (_BLUE, 4)
        shapes.append(
            f'<circle cx="{left + x / most * (right - left):.1f}" cy="{up_to(y):.1f}" r="{size}" '
            f'fill="{colour}" fill-opacity=".7"><title>{escape(name)}</title></circle>'
        )
    return _svg(width, height, "".join(shapes))


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that shows these values."""
    low, top = min(values), max(values)
    margin = (top - low) * 0.1 or abs(top) * 0.1 or 1.0
    if low >= 0:
        return (low - margin if low > top / 2 else 0.0), top + margin
    return low - margin, max(top + margin, 0.0)


def _svg(width: int, height: int, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="10" fill="#334155">{inside}</svg>'
    )


def _short(text: str, most: int = 14) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
