"""Windows without drift, drawn from the reference: pure arithmetic on counts per group and bin.

The reference's rows are cut into groups, and a window is a sum of groups drawn with replacement:
stretches of time, where rows have a moment (a block bootstrap: H. R. Künsch, *The jackknife and the
bootstrap for general stationary observations*, 1989), else groups of rows at random, whose sums
have the same mean and variance as rows drawn one by one. Whole rows are drawn, so that columns
that move together do so here. The reference is itself a sample: each window is drawn with weights
of the groups from a Dirichlet distribution (D. B. Rubin, *The Bayesian bootstrap*, 1981).

What a window costs doesn't depend on the number of rows: at most 1,000 groups, a matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Singles: TypeAlias = NDArray[np.float32]
    Integers: TypeAlias = NDArray[np.int64]

__all__ = ["Groups", "counts_by_group", "draws", "row_groups", "time_groups"]

_MOST_GROUPS = 1000
_LEAST_GROUPS = 500
_GROUPS_OF_A_WINDOW = 32
_LEAST_BLOCKS = 20
_UNITS = (("week", 604800.0), ("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))
_AT_ONCE = 250


@dataclass(frozen=True)
class Groups:
    """How the reference's rows are drawn.

    Attributes:
        of_row: the group of each row; -1 for one that isn't used.
        count: how many groups there are.
        drawn: how many make up a window.
        concentration: the Dirichlet weight of a group: more than one where only some of the
            reference's rows are in groups.
        unit: what a group is, in words.
    """

    of_row: Integers
    count: int
    drawn: int
    concentration: float
    unit: str


def row_groups(rows: int, window_rows: int, random: np.random.Generator) -> Groups:
    """Groups of rows at random, for rows that come in no order."""
    size = max(1, min(window_rows // _GROUPS_OF_A_WINDOW, rows // _LEAST_GROUPS))
    count = min(rows // size, _MOST_GROUPS)
    of_row = np.full(rows, -1, np.int64)
    used = random.permutation(rows)[: count * size]
    of_row[used] = np.arange(count * size) // size
    drawn = max(1, round(window_rows / size))
    return Groups(of_row, count, drawn, rows / (count * size), "rows")


def time_groups(
    seconds: Floats,
    window_rows: int,
    length: timedelta | None,
    random: np.random.Generator,
) -> Groups | None:
    """Stretches of time: weeks, days, hours or minutes, the longest that the reference has 20 of
    and that isn't longer than a window. None where there is none.

    A window has as many stretches as its length says. Where the reference is denser than the
    window its rows are thinned; where it is sparser the window drawn has fewer rows than the real
    one, which errs on the side of fewer alarms.

    Args:
        seconds: each row's moment; NaN where it has none.
        length: of a window; None: as many stretches as its rows fill.
    """
    there = np.isfinite(seconds)
    if not there.any():
        return None
    start, end = float(seconds[there].min()), float(seconds[there].max())
    longest = length.total_seconds() if length else (end - start) / 2
    unit = next(
        (
            (name, size)
            for name, size in _UNITS
            if size <= longest and (end - start) / size >= _LEAST_BLOCKS
        ),
        None,
    )
    if unit is None:
        return None
    name, size = unit
    if (end - start) / size > _MOST_GROUPS:
        return None
    of_row = np.full(len(seconds), -1, np.int64)
    _, blocks = np.unique(np.floor((seconds[there] - start) / size), return_inverse=True)
    of_row[there] = blocks
    count = int(blocks.max()) + 1
    if count < _LEAST_BLOCKS:
        return None
    per_block = float(there.sum()) / count
    by_rows = max(1, round(window_rows / per_block))
    drawn = by_rows
    if length is not None:
        drawn = max(1, round(length.total_seconds() / size))
        kept = window_rows / (drawn * per_block)
        if kept < 1:
            of_row[random.random(len(seconds)) >= kept] = -1
    return Groups(of_row, count, drawn, 1.0, f"{name}s")


def counts_by_group(groups: Groups, bins: Integers, width: int) -> Singles:
    """Rows per group and bin: groups × ``width``."""
    used = groups.of_row >= 0
    places = groups.of_row[used] * width + bins[used]
    counted = np.bincount(places, minlength=groups.count * width)
    return counted.reshape(groups.count, width).astype(np.float32)


def draws(
    groups: Groups, replicates: int, looks: int, random: np.random.Generator
) -> Iterator[Singles]:
    """How often each group is in each window: looks × windows × groups, some windows at a time.

    With several looks a window slides on over as much time as it is long, and is looked at that
    often: successive looks share groups.
    """
    looks = min(looks, groups.drawn)
    segments = [len(part) for part in np.array_split(np.arange(groups.drawn), looks)]
    for start in range(0, replicates, _AT_ONCE):
        some = min(_AT_ONCE, replicates - start)
        weights = random.standard_gamma(groups.concentration, (some, groups.count))
        weights /= weights.sum(axis=1, keepdims=True)
        parts = [
            random.multinomial(segments[at % looks], weights).astype(np.float32)
            for at in range(2 * looks - 1)
        ]
        yield np.stack([np.sum(parts[at : at + looks], axis=0) for at in range(looks)])
