"""What the columns of a training reference look like, as bins that go along with a release."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from liminal_assets.steps.bins import (
    MISSING,
    OTHER,
    bin_labels,
    category_histograms,
    kind_of,
    numbers,
    quantile_edges,
    rows_per_bin,
)

if TYPE_CHECKING:
    import duckdb

__all__ = ["baseline"]

_BINS = 10
"""Of a column of numbers: as many as a monitor has by default."""
_MOST_COLUMNS = 50
_MOST_CATEGORIES = 20
_LEAST_SHARE = 0.005
"""A rarer category isn't named: it may be somebody's."""
_POOLS = (OTHER, MISSING)


def baseline(
    reference: duckdb.DuckDBPyRelation, left_out: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The bins of each column that can be compared, the first 50 of them.

    Numbers are cut at the reference's quantiles, as by a monitor's PSI. Categories are the 20
    most frequent with at least 0.5 % of the rows; others are one bin.

    Args:
        left_out: columns whose values nobody may see.

    Returns:
        By column: ``column``, ``labels`` and ``rows`` of each bin; and ``edges``, the upper ends of
        all but the last two, for numbers.
    """
    found = (
        column
        for name, kind in zip(reference.columns, map(str, reference.types), strict=True)
        if name not in left_out and (column := _column(reference, name, kind)) is not None
    )
    return [column for column, _ in zip(found, range(_MOST_COLUMNS), strict=False)]


def _column(
    reference: duckdb.DuckDBPyRelation, name: str, duckdb_type: str
) -> dict[str, Any] | None:
    kind = kind_of(duckdb_type)
    if kind == "numerical":
        values = numbers(reference, [name])[name]
        edges = quantile_edges(values, _BINS)
        tried = (bin_labels(edges, digits) for digits in (4, 8, 17))
        labels = next(found for found in tried if len(set(found)) == len(found))
        return {
            "column": name,
            "labels": [*labels, MISSING],
            "rows": rows_per_bin(values, edges),
            "edges": edges.tolist(),
        }
    if kind == "categorical" and duckdb_type != "BLOB":
        return {"column": name, **dict(_categories(reference, name))}
    return None


def _categories(reference: duckdb.DuckDBPyRelation, name: str) -> Iterator[tuple[str, list[Any]]]:
    """Named categories, then the pools."""
    counted = category_histograms(reference, reference, name, most=_MOST_CATEGORIES)
    least = _LEAST_SHARE * sum(counted.reference)
    named = {
        label: rows
        for label, rows in zip(counted.labels, counted.reference, strict=True)
        if label not in _POOLS and rows >= least
    }
    missing = round(counted.share_of(MISSING)[0] * sum(counted.reference))
    other = sum(counted.reference) - sum(named.values()) - missing
    yield "labels", [*named, *_POOLS]
    yield "rows", [*named.values(), other, missing]
