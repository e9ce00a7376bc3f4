"""Thresholds that hold a rate of false alarms, for all columns of a window together.

Windows without drift are drawn from the reference (:mod:`liminal_assets.steps.resampling`), each
column's distance is brought to a common scale, and the largest of a window is what its alarm would
be about: its quantile gives the thresholds of all columns at once (the maximum statistic: P. H.
Westfall and S. S. Young, *Resampling-Based Multiple Testing*, 1993). So correlated columns don't
count twice, and the rate holds for the monitor and not for a column.

The common scale is the cube root of what behaves like a chi-squared variable (``psi``; the squares
of the other distances), less its mean, in standard deviations: nearly normal (E. B. Wilson and
M. M. Hilferty 1931), so that no column takes more than its part of the alarms. Beyond what the
drawn windows show the tail is taken as exponential (J. Pickands 1975, shape zero), which errs on
the side of fewer alarms for one that is lighter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from liminal_assets.language.monitors import DriftMethod
from liminal_assets.steps.null_columns import NullColumn
from liminal_assets.steps.power import smallest_shift
from liminal_assets.steps.resampling import Groups, draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Calibration", "ColumnThreshold", "calibrate"]

_BUDGET = 3e10
"""Multiplications: some seconds."""
_MOST, _LEAST = 10_000, 400
_EXCEEDED = 100
"""Drawn windows that should lie beyond the thresholds."""
_TAIL = 0.1
_POWER_WINDOWS = 400
_ROUNDING = 1 + 1e-9
_RARE = 3
"""Rows of a kind that were never seen among N have a share of at most 3 / N, 95 times of 100."""


@dataclass(frozen=True)
class ColumnThreshold:
    """One column's threshold, and what it means."""

    column: str
    method: DriftMethod
    threshold: float
    given: bool
    """Whether it was written down; then it is only judged here."""
    by_chance: float
    """The share of windows without drift that exceed it."""
    shift: float | None
    """The smallest shift that is found in 80 of 100 windows; None for one that isn't found."""
    shift_in_words: str
    """Such as ``a shift of 0.31 standard deviations``."""


@dataclass(frozen=True)
class Calibration:
    """Thresholds for a rate of false alarms.

    Attributes:
        at_most: the rate that was asked for.
        per_window: the chance of a false alarm in a window that it allows.
        window_rows: the rows of the windows that were drawn.
        windows: how many were.
        unit: what they were drawn by: rows, or stretches of time.
        looks: how often a sliding window was looked at.
    """

    at_most: str
    per_window: float
    window_rows: int
    reference_rows: int
    windows: int
    unit: str
    looks: int
    columns: tuple[ColumnThreshold, ...]

    @property
    def thresholds(self) -> dict[str, float]:
        """Those that were found, by column."""
        return {c.column: c.threshold for c in self.columns if not c.given}

    def as_dict(self) -> dict[str, Any]:
        """Plain values that :meth:`from_dict` takes back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The calibration that :meth:`as_dict` gave."""
        columns = tuple(ColumnThreshold(**column) for column in values["columns"])
        return cls(**{**values, "columns": columns})


def calibrate(
    columns: Sequence[NullColumn],
    groups: Groups,
    *,
    window_rows: int,
    reference_rows: int,
    per_window: float,
    at_most: str = "",
    looks: int = 1,
    given: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Calibration:
    """Finds the thresholds.

    It costs at most some 3e10 multiplications however many rows and columns there are: for many
    columns fewer windows are drawn. Equal arguments give equal thresholds.

    Args:
        per_window: the chance of a false alarm in a window, above 0 and below 1.
        looks: how often a window that slides is looked at while all of its rows change.
        given: thresholds that stay as they are.
    """
    given = given or {}
    random = np.random.default_rng(seed)
    looks = max(1, min(looks, groups.drawn))
    windows = _windows(columns, groups, per_window, looks)
    first, distances = _drawn(columns, groups, windows, looks, window_rows, random)
    free = [at for at, column in enumerate(columns) if column.column not in given]
    found = dict(given)
    if free:
        scaled = _Scaled.of([columns[at] for at in free], distances[free])
        limit = _quantile(scaled.largest, per_window)
        for place, at in enumerate(free):
            least = _least(columns[at], window_rows, reference_rows)
            found[columns[at].column] = scaled.threshold(place, limit, least)
    by_chance = (
        float((distances[at].max(axis=0) > found[column.column]).mean())
        for at, column in enumerate(columns)
    )
    thresholds = []
    for column, chance in zip(columns, by_chance, strict=True):
        null = column.windows(first, window_rows, random)
        shift, words = smallest_shift(column, null, window_rows, found[column.column])
        threshold = found[column.column]
        thresholds.append(
            ColumnThreshold(
                column.column,
                column.method,
                threshold,
                column.column in given,
                chance,
                shift,
                words,
            )
        )
    return Calibration(
        at_most,
        per_window,
        window_rows,
        reference_rows,
        windows,
        groups.unit,
        looks,
        tuple(thresholds),
    )


def _windows(columns: Sequence[NullColumn], groups: Groups, per_window: float, looks: int) -> int:
    wanted = min(_MOST, math.ceil(_EXCEEDED / per_window))
    bins = sum(column.groups.shape[1] for column in columns)
    affordable = int(_BUDGET / max(groups.count * bins * looks, 1))
    return max(_LEAST, min(max(wanted, 1000), affordable))


def _drawn(
    columns: Sequence[NullColumn],
    groups: Groups,
    windows: int,
    looks: int,
    rows: int,
    random: np.random.Generator,
) -> tuple[Any, Floats]:
    """Some of the windows themselves, and the distances: columns × looks × windows."""
    parts: list[list[Floats]] = [[] for _ in columns]
    kept: list[Any] = []
    for drawn in draws(groups, windows, looks, random):
        if sum(map(len, kept)) < _POWER_WINDOWS:
            kept.append(drawn[0])
        for place, column in enumerate(columns):
            parts[place].append(column.distances(column.windows(drawn, rows, random), rows))
    distances = np.stack([np.concatenate(part, axis=-1) for part in parts])
    return np.concatenate(kept)[:_POWER_WINDOWS], distances


@dataclass(frozen=True)
class _Scaled:
    """Distances on a common scale."""

    powers: Floats
    means: Floats
    deviations: Floats
    largest: Floats
    """Of each window, over columns and looks."""

    @classmethod
    def of(cls, columns: Sequence[NullColumn], distances: Floats) -> _Scaled:
        powers = np.array([1 / 3 if c.method == "psi" else 2 / 3 for c in columns])
        root = distances ** powers[:, None, None]
        means = root.mean(axis=(1, 2))
        deviations = root.std(axis=(1, 2))
        varies = deviations > 1e-12
        if not varies.any():
            return cls(powers, means, deviations, np.zeros(distances.shape[-1]))
        scaled = (root[varies] - means[varies, None, None]) / deviations[varies, None, None]
        return cls(powers, means, deviations, scaled.max(axis=(0, 1)))

    def threshold(self, place: int, limit: float, least: float) -> float:
        """The distance of a column at a limit of the common scale."""
        if self.deviations[place] <= 1e-12:
            return float(max(self.means[place] ** (1 / self.powers[place]) * _ROUNDING, least))
        root = max(self.means[place] + limit * self.deviations[place], 0.0)
        return float(max(root ** (1 / self.powers[place]), least))


def _quantile(largest: Floats, chance: float) -> float:
    """The value that is exceeded with a chance."""
    if chance * len(largest) >= _EXCEEDED / 5:
        return float(np.quantile(largest, 1 - chance, method="higher"))
    start = float(np.quantile(largest, 1 - _TAIL))
    beyond = largest[largest > start] - start
    mean = float(beyond.mean()) if len(beyond) else 0.0
    return start + mean * math.log(_TAIL / chance)


def _least(column: NullColumn, window_rows: int, reference_rows: int) -> float:
    """The distance of a window in which some rows are of a kind that the reference never had: a
    column that never varied would else raise an alarm for the first of them."""
    share = min(_RARE / min(window_rows, reference_rows), 1.0)
    counts = column.counts
    moved = counts / counts.sum() * window_rows * (1 - share)
    # above all numbers (the last bin of a histogram is that of the missing), or unseen
    moved[-2 if column.ordered and not column.by_order else -1] += share * window_rows
    return float(column.distances(moved, window_rows))
