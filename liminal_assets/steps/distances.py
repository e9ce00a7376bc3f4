"""Distances between two samples or two histograms of one column.

Each is zero for equal samples, grows with the difference and does not depend on the order of the
rows. None is a p-value: those shrink with the number of rows, however small the difference is.

Histograms are counts per bin, in the same order; samples are numbers in which NaN means missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["chi2", "in_order", "jensen_shannon", "ks", "psi", "total_variation", "wasserstein"]

_BLOCK = 64
"""Values that are ruled out at once when the widest gap is looked for."""


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """The population stability index, Σ (q − p) ln(q / p), from 0 without bound.

    A bin without rows in one histogram counts as half a row there, so that the value stays
    finite; one that is empty in both adds nothing. Customary reading: below 0.1 stable, above 0.2
    (or 0.25) a shift.

    Source: N. Siddiqi, *Credit Risk Scorecards*, Wiley 2006; it is Jeffreys' divergence of
    H. Jeffreys, *An invariant form for the prior probability in estimation problems*, 1946.
    """
    p, q = _counts(reference, current)
    p = np.where(p > 0, p, 0.5) / p.sum()
    q = np.where(q > 0, q, 0.5) / q.sum()
    used = np.asarray(np.asarray(reference) + np.asarray(current)) > 0
    return float(np.sum(((q - p) * np.log(q / p))[used]))


def chi2(reference: ArrayLike, current: ArrayLike) -> float:
    """Cramér's V of the table *sample × bin*, from 0 to 1 (no bin in common).

    Both samples weigh the same, however many rows they have: then a threshold means the same for
    a small and a large window. For samples of one size it is the classical value.

    Source: H. Cramér, *Mathematical Methods of Statistics*, Princeton 1946, p. 282.
    """
    p, q = _shares(reference, current)
    both = p + q
    used = both > 0
    return float(np.sqrt(np.sum((p - q)[used] ** 2 / both[used]) / 2))


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """The Jensen–Shannon distance: the square root of the divergence in bits, from 0 to 1.

    Sources: J. Lin, *Divergence measures based on the Shannon entropy*, 1991; that the root is
    a metric: D. M. Endres and J. E. Schindelin, *A new metric for probability distributions*, 2003.
    """
    p, q = _shares(reference, current)
    middle = (p + q) / 2
    divergence = sum(
        np.sum(share[share > 0] * np.log2(share[share > 0] / middle[share > 0])) for share in (p, q)
    )
    return float(np.sqrt(min(max(divergence / 2, 0.0), 1.0)))


def total_variation(reference: ArrayLike, current: ArrayLike) -> float:
    """The largest difference of the share of any set of bins, from 0 to 1.

    What the Kolmogorov–Smirnov and the Wasserstein distance become where values have no order:
    the set is any set instead of a half-line, and every two values are one apart.

    Source: D. A. Levin, Y. Peres, *Markov Chains and Mixing Times*, 2017, section 4.1.
    """
    p, q = _shares(reference, current)
    return float(np.abs(p - q).sum() / 2)


def ks(reference: ArrayLike, current: ArrayLike) -> float:
    """The two-sample Kolmogorov–Smirnov statistic: the largest gap of the distribution functions.

    From 0 to 1. Missing values rank below every number.

    Source: F. J. Massey, *The Kolmogorov-Smirnov test for goodness of fit*, 1951.
    """
    a, b = _Distribution.of(reference), _Distribution.of(current)
    widest = abs(a.missing / a.size - b.missing / b.size)
    values = b.values
    if not len(values):
        return max(widest, 1 - a.missing / a.size if len(a.values) else 0.0)
    # both functions rise: within a block of values the gap can't be wider than between the lower
    # end of one and the upper end of the other, and most blocks are ruled out by that
    first, last = values[::_BLOCK], values[np.append(np.arange(_BLOCK, len(values), _BLOCK), 0) - 1]
    ends = np.concatenate([first, last])
    upto, before = (a.upto(ends), b.upto(ends)), (a.before(ends), b.before(ends))
    for side in (upto, before):
        widest = max(widest, float(np.abs(side[0] - side[1]).max()))
    most = len(first)
    bound = np.maximum(upto[0][most:] - before[1][:most], upto[1][most:] - before[0][:most])
    within = np.flatnonzero(bound > widest)[:, None] * _BLOCK + np.arange(_BLOCK)
    points = values[within[within < len(values)]]
    for gap in (a.upto(points) - b.upto(points), a.before(points) - b.before(points)):
        widest = max(widest, float(np.abs(gap).max(initial=0.0)))
    return widest


def wasserstein(reference: ArrayLike, current: ArrayLike) -> float:
    """The earth mover's distance in standard deviations of the reference, from 0 without bound.

    A missing (or infinite) value is one standard deviation away from every number. A constant
    reference has no scale: every row that differs from it counts as one.

    Sources: L. N. Vaserstein 1969; S. T. Rachev, *The Monge–Kantorovich mass transference
    problem*, 1985; computed as the area between the distribution functions, as
    :func:`scipy.stats.wasserstein_distance` is.
    """
    a, b = _finite(reference), _finite(current)
    lost = abs(len(a) / np.size(reference) - len(b) / np.size(current))
    if not len(a) or not len(b):
        return lost
    scale, low, high = float(a.std()), float(np.min(a)), float(np.max(a))
    rounding = max(abs(low), abs(high)) * 1e-12
    if not scale > rounding:
        return lost + float(np.mean((b < low - rounding) | (b > high + rounding)))
    return lost + _transport(in_order(a), in_order(b)) / scale


def _transport(a: Floats, b: Floats) -> float:
    if len(a) == len(b):
        return float(np.abs(a - b).mean())
    points = np.concatenate([a, b])
    points.sort(kind="stable")  # two sorted runs are merged
    gaps = np.diff(points)
    below = points[:-1]
    shares = [np.searchsorted(side, below, side="right") / len(side) for side in (a, b)]
    return float(np.sum(np.abs(shares[0] - shares[1]) * gaps))


def _counts(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    p, q = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError("histograms are compared bin by bin: they need the same bins")
    if not p.sum() > 0 or not q.sum() > 0:
        raise ValueError("a histogram without rows has no distance from another")
    return p, q


def _shares(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    p, q = _counts(reference, current)
    return p / p.sum(), q / q.sum()


@dataclass(frozen=True)
class _Distribution:
    """The distribution function of a sample, missing values below every number."""

    values: Floats
    """The numbers in order."""
    missing: int
    size: int

    @classmethod
    def of(cls, sample: ArrayLike) -> _Distribution:
        values: Any = in_order(sample)
        if not len(values):
            raise ValueError("a sample without rows has no distance from another")
        # NaN is sorted to the end
        present = int(np.searchsorted(values, np.nan, side="left"))
        return cls(values[:present], len(values) - present, len(values))

    def upto(self, points: Floats) -> Floats:
        """The share of the sample that is at most each point."""
        return (self.missing + np.searchsorted(self.values, points, side="right")) / self.size

    def before(self, points: Floats) -> Floats:
        """The share of the sample that is below each point."""
        return (self.missing + np.searchsorted(self.values, points, side="left")) / self.size


def in_order(sample: ArrayLike) -> Floats:
    """A sample from its smallest number to its largest, then what is missing."""
    values = np.asarray(sample, np.float64)
    # looking is 50 times as fast as sorting what is sorted
    return values if bool((values[1:] >= values[:-1]).all()) else np.sort(values)


def _finite(sample: ArrayLike) -> Floats:
    values = np.asarray(sample, np.float64)
    if not len(values):
        raise ValueError("a sample without rows has no distance from another")
    return values[np.isfinite(values)]
