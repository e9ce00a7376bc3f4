"""What a model predicted, at a glance: means, shares and a picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from liminal_assets.steps.report import Plot, Records
from liminal_assets.storage.forms import identifier

if TYPE_CHECKING:
    import duckdb

__all__ = ["prediction_summary"]

_BINS = 40
_MOST_CLASSES = 20


def prediction_summary(relation: duckdb.DuckDBPyRelation) -> dict[str, Any]:
    """Means, shares and a picture of what was predicted."""
    if "probability" in relation.columns:
        ((mean,),) = relation.aggregate("avg(probability)").fetchall()
        plot = _plot(_histogram(relation, "probability"), "probability")
        return {"mean_probability": mean, **_shares(relation), "distribution": plot}
    if any(name.startswith("probability_") for name in relation.columns) or not _numeric(relation):
        return _shares(relation)
    ((mean, low, high),) = relation.aggregate(
        "avg(prediction), min(prediction), max(prediction)"
    ).fetchall()
    plot = _plot(_histogram(relation, "prediction"), "prediction")
    return {"mean_prediction": mean, "lowest": low, "highest": high, "distribution": plot}


def _numeric(relation: duckdb.DuckDBPyRelation) -> bool:
    kind = str(relation.types[relation.columns.index("prediction")])
    return kind in ("DOUBLE", "FLOAT")


def _shares(relation: duckdb.DuckDBPyRelation) -> dict[str, Any]:
    """The share of each label, the most frequent first."""
    counted = relation.aggregate("prediction, count(*) AS n", "prediction").order(
        "n DESC, prediction"
    )
    found = counted.limit(_MOST_CLASSES).fetchall()
    ((total,),) = relation.aggregate("count(*)").fetchall()
    rows = [
        {"prediction": str(label), "rows": count, "share": count / total} for label, count in found
    ]
    return {"predictions": Records(rows)}


def _histogram(relation: duckdb.DuckDBPyRelation, column: str) -> tuple[list[float], list[int]]:
    """Edges and counts of equal bins; of a probability between 0 and 1."""
    name = identifier(column)
    low, high = 0.0, 1.0
    if column != "probability":
        ((low, high),) = relation.aggregate(f"min({name}), max({name})").fetchall()
    width = (high - low) / _BINS or 1.0
    place = f"least(floor(({name} - {low!r}) / {width!r}), {_BINS - 1})::INTEGER"
    counts = dict(relation.aggregate(f"{place} AS bin, count(*)", place).fetchall())
    edges = [low + width * i for i in range(_BINS + 1)]
    return edges, [counts.get(i, 0) for i in range(_BINS)]


def _plot(histogram: tuple[list[float], list[int]], name: str) -> Plot:
    from matplotlib.figure import Figure

    edges, counts = histogram
    figure = Figure(figsize=(4.4, 3.3), dpi=90, layout="tight")
    axes = figure.subplots()
    axes.stairs(counts, edges, fill=True, color="#2563eb")
    axes.set_title(f"Distribution of the {name}", fontsize=10)
    axes.set_xlabel(name, fontsize=8)
    axes.set_ylabel("rows", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    picture = io.BytesIO()
    # no version of matplotlib: equal plots are equal bytes
    figure.savefig(picture, format="png", metadata={"Software": None})
    return Plot(picture.getvalue(), f"Distribution of the {name}")
