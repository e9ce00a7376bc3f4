"""One column of two tables as histograms with the same bins, or as two samples of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from liminal_assets.storage.forms import identifier

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = [
    "MISSING",
    "OTHER",
    "UNSEEN",
    "ColumnKind",
    "Histograms",
    "bin_labels",
    "category_histograms",
    "kind_of",
    "number_histograms",
    "numbers",
    "quantile_edges",
    "rows_per_bin",
]

ColumnKind = Literal["numerical", "categorical", "moment", "other"]

MISSING, UNSEEN, OTHER = "(missing)", "(unseen)", "(other)"
_MOST_CATEGORIES = 50
_NUMBERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE",
}  # fmt: skip
_TEXTS = {"VARCHAR", "BOOLEAN", "UUID", "BLOB", "BIT", '"NULL"', "NULL"}
_MOMENTS = ("DATE", "TIME", "INTERVAL")


@dataclass(frozen=True)
class Histograms:
    """Rows per bin of the reference and of the window; the bins are the reference's."""

    labels: tuple[str, ...]
    reference: tuple[int, ...]
    current: tuple[int, ...]

    def shares(self) -> tuple[list[float], list[float]]:
        """Both as shares of their rows; zeros for one without rows."""
        reference, current = (
            [count / max(sum(side), 1) for count in side] for side in (self.reference, self.current)
        )
        return reference, current

    def share_of(self, label: str) -> tuple[float, float]:
        """The shares of one bin; zeros if there is none of that label."""
        if label not in self.labels:
            return 0.0, 0.0
        # the pooled bins come last: a category may have the name of one
        at = len(self.labels) - 1 - self.labels[::-1].index(label)
        reference, current = self.shares()
        return reference[at], current[at]


def kind_of(duckdb_type: str) -> ColumnKind:
    """How a column of a DuckDB type is compared; ``other`` (lists, structs) can't be."""
    if duckdb_type in _NUMBERS or duckdb_type.startswith("DECIMAL"):
        return "numerical"
    if duckdb_type in _TEXTS or duckdb_type.startswith("ENUM"):
        return "categorical"
    if duckdb_type.startswith(_MOMENTS) and not duckdb_type.endswith("]"):
        return "moment"
    return "other"


def numbers(
    rows: duckdb.DuckDBPyRelation, columns: Sequence[str], *, moments: Sequence[str] = ()
) -> dict[str, Floats]:
    """Columns as numbers, NaN for null; moments as seconds since 1970."""
    if not columns:
        return {}

    def number(column: str) -> str:
        name = identifier(column)
        value = f"epoch({name})" if column in moments else f"CAST({name} AS DOUBLE)"
        return f"coalesce({value}, 'NaN'::DOUBLE) AS {name}"

    found = rows.project(", ".join(map(number, columns))).fetchnumpy()
    return {column: np.asarray(found[column], np.float64) for column in columns}


def number_histograms(reference: Floats, current: Floats, bins: int) -> Histograms:
    """Rows per bin between the reference's quantiles; the outer bins are open.

    A value that fills a bin of its own (a constant, a popular zero) gets one, so that rows that
    leave it are seen. Missing values are a bin.
    """
    edges = quantile_edges(reference, bins)
    inside = [rows_per_bin(side, edges) for side in (reference, current)]
    labels = [*bin_labels(edges), MISSING]
    kept = [at for at in range(len(labels)) if inside[0][at] or inside[1][at]]
    return Histograms(
        tuple(labels[at] for at in kept),
        tuple(inside[0][at] for at in kept),
        tuple(inside[1][at] for at in kept),
    )


def quantile_edges(reference: Floats, bins: int) -> Floats:
    """Upper ends of the bins but the last, in order."""
    present = reference[~np.isnan(reference)] if np.isnan(reference).any() else reference
    if not len(present):
        return np.empty(0)
    ranks = np.unique(np.ceil(len(present) * np.arange(1, bins) / bins).astype(int)) - 1
    values = np.unique(np.partition(present, ranks)[ranks])
    filled = [np.count_nonzero(present == value) * bins >= len(present) for value in values]
    return np.unique(np.concatenate([values, np.nextafter(values[filled], -np.inf)]))


def rows_per_bin(values: Floats, edges: Floats) -> list[int]:
    """How many values are in each bin; missing ones last."""
    missing = int(np.count_nonzero(np.isnan(values)))
    below = _below(values, edges)
    return [
        *np.diff(np.concatenate([[0], below, [len(values) - missing]])).astype(int).tolist(),
        missing,
    ]


def _below(values: Floats, edges: Floats) -> list[int]:
    """How many values are at most each edge."""
    if len(edges) > 64:
        # NaN is sorted to the end
        return list(np.searchsorted(np.sort(values), edges, side="right"))
    # for a few edges counting in memory order beats sorting
    return [int(np.count_nonzero(values <= edge)) for edge in edges]


def bin_labels(edges: Floats, digits: int = 4) -> list[str]:
    """What the bins between edges are called, in order.

    Args:
        digits: of each number; with 17 no two bins have one name.
    """
    if not len(edges):
        return ["any value"]
    labels = [f"≤ {edges[0]:.{digits}g}"]
    for low, high in pairwise(edges):
        atom = np.nextafter(high, -np.inf) == low
        shown = f"{high:.{digits}g}"
        labels.append(f"= {shown}" if atom else f"{low:.{digits}g} to {shown}")
    if len(edges) > 1 and np.nextafter(edges[1], -np.inf) == edges[0]:
        labels[0] = f"< {edges[1]:.{digits}g}"
    return [*labels, f"> {edges[-1]:.{digits}g}"]


def category_histograms(
    reference: duckdb.DuckDBPyRelation,
    current: duckdb.DuckDBPyRelation,
    column: str,
    *,
    most: int = _MOST_CATEGORIES,
) -> Histograms:
    """Rows per category of the reference, the most frequent first.

    Its rarer categories beyond ``most`` are one bin, values that it never had another, missing
    ones a third. Both relations belong to one session.
    """
    name = identifier(column)
    sides = [
        side.project(f"CAST({name} AS VARCHAR) AS value")
        .aggregate("value, count(*) AS rows", "value")
        .set_alias(alias)
        for side, alias in ((reference, "r"), (current, "c"))
    ]
    joined = sides[0].join(sides[1], "r.value IS NOT DISTINCT FROM c.value", how="outer")
    counted = joined.project(
        "coalesce(r.value, c.value) AS value, coalesce(r.rows, 0) AS reference, "
        "coalesce(c.rows, 0) AS current, "
        "row_number() OVER (PARTITION BY coalesce(r.value, c.value) IS NULL "
        "ORDER BY coalesce(r.rows, 0) DESC, coalesce(r.value, c.value)) AS place"
    )
    # the label of a pooled bin is its kind, so that a category called "(other)" stays itself
    binned = counted.project(
        "CASE WHEN value IS NULL THEN 3 WHEN reference = 0 THEN 2 "
        f"WHEN place > {int(most)} THEN 1 ELSE 0 END AS pool, "
        f"CASE WHEN value IS NULL OR reference = 0 OR place > {int(most)} THEN NULL "
        "ELSE value END AS label, reference, current"
    )
    rows: list[tuple[Any, ...]] = (
        binned.aggregate(
            "pool, label, sum(reference)::BIGINT AS reference, sum(current)::BIGINT AS current",
            "pool, label",
        )
        .order("pool, reference DESC, label")
        .fetchall()
    )
    pools = {1: OTHER, 2: UNSEEN, 3: MISSING}
    return Histograms(
        tuple(pools.get(pool, label) for pool, label, _, _ in rows),
        tuple(row[2] for row in rows),
        tuple(row[3] for row in rows),
    )
