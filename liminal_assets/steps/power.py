"""What a threshold lets one see: the smallest shift that is found with a chance of 80 %."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from liminal_assets.steps.null_columns import NullColumn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["POWER", "smallest_shift"]

POWER = 0.8
_LARGEST = 4.0
"""Standard deviations: no larger shift is looked for."""
_STEPS = 10


def smallest_shift(
    column: NullColumn, null: Floats, rows: int, threshold: float
) -> tuple[float | None, str]:
    """The smallest shift whose distance exceeds a threshold in 80 of 100 windows, and in words.

    Of numbers all values are moved by a part of the reference's standard deviation; of categories
    a share of the rows goes from the most frequent one to the next.

    Args:
        null: rows per bin of windows without drift, windows × bins.
        rows: of a window.
    """
    if column.ordered and column.scale > 0:
        found = _smallest(column, null, rows, threshold, _shifted, _LARGEST)
        if found is None:
            return None, f"no shift of {_LARGEST:g} standard deviations or less"
        return found, f"a shift of {found:.2g} standard deviations"
    counts = column.counts
    if not counts.sum() or (column.ordered and not len(column.sample)):
        return None, "nothing: the reference has no values"
    largest = float(counts.max() / counts.sum())
    found = _smallest(column, null, rows, threshold, _moved, largest)
    origin, target = _names(column, counts)
    if found is None:
        return None, f"not even all rows that go from {origin} to {target}"
    return found, f"{found:.2%} of the rows that go from {origin} to {target}"


def _smallest(
    column: NullColumn,
    null: Floats,
    rows: int,
    threshold: float,
    shares: Callable[[NullColumn, float], Floats],
    largest: float,
) -> float | None:
    """By bisection; the noise of shifted windows is taken as that of windows without drift."""
    usual = shares(column, 0.0)

    def power(size: float) -> float:
        windows = np.maximum(null + rows * (shares(column, size) - usual), 0.0)
        windows *= rows / windows.sum(axis=-1, keepdims=True)
        return float((column.distances(windows, rows) > threshold).mean())

    if power(largest) < POWER:
        return None
    low, high = 0.0, largest
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def _shifted(column: NullColumn, size: float) -> Floats:
    """The share of each bin once all numbers are larger by so many standard deviations."""
    counts = column.counts
    missing = counts[0] if column.by_order else counts[-1]
    upto = np.searchsorted(column.sample, column.edges - size * column.scale, side="right")
    inside = np.diff(np.concatenate([[0], upto, [len(column.sample)]])) / len(column.sample)
    inside *= 1 - missing / counts.sum()
    lost = [missing / counts.sum()]
    return np.concatenate([lost, inside] if column.by_order else [inside, lost])


def _moved(column: NullColumn, share: float) -> Floats:
    """The share of each bin once so many of all rows went from the most frequent to the next."""
    counts = column.counts / column.counts.sum()
    origin, target = _places(counts)
    counts[origin] -= share
    counts[target] += share
    return np.asarray(counts)


def _places(counts: Floats) -> tuple[int, int]:
    order = np.argsort(-counts, kind="stable")
    # without a second one rows become unseen, or of a constant column larger
    return int(order[0]), int(order[1]) if counts[order[1]] > 0 else len(counts) - 1


def _names(column: NullColumn, counts: Floats) -> tuple[str, str]:
    if column.ordered:
        return "the one value", "another"
    names = [*column.labels, "a value never seen before"]
    origin, target = _places(counts)
    return names[origin], names[target]
