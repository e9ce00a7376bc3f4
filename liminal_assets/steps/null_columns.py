"""A column of the reference as counts per group and bin, and its distances from drawn windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from liminal_assets.language.monitors import DriftMethod
from liminal_assets.steps.bins import quantile_edges
from liminal_assets.steps.resampling import Groups, counts_by_group

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Singles: TypeAlias = NDArray[np.float32]

__all__ = ["NullColumn", "category_column", "number_column"]

_SAMPLE = 20_000
_TAILS = 12
_OVERSHOOT = 0.5826
"""-ζ(1/2)/√(2π): by how many standard deviations of a step a walk exceeds what is seen of it at
equal steps (M. Broadie, P. Glasserman, S. Kou, *A continuity correction for discrete barrier
options*, 1997)."""


@dataclass(frozen=True)
class NullColumn:
    """One column, ready to be resampled.

    Attributes:
        groups: rows per group and bin. The bins are those of the distance; for ``ks`` and
            ``wasserstein`` of numbers a fine grid of quantiles, after one for missing values.
        edges: the upper ends of the bins of numbers; empty for categories.
        labels: the categories, the most frequent first, the pooled ones last.
        sample: some numbers in order, for shifts.
        new: the share of values to expect that the reference lacks (Good and Turing).
        grid: steps between which a continuous column's distribution function moves; 0 where every
            value has a bin.
    """

    column: str
    method: DriftMethod
    ordered: bool
    groups: Singles
    edges: Floats = field(default_factory=lambda: np.empty(0))
    labels: tuple[str, ...] = ()
    sample: Floats = field(default_factory=lambda: np.empty(0))
    scale: float = 0.0
    new: float = 0.0
    grid: int = 0

    @property
    def counts(self) -> Floats:
        """The reference's rows per bin."""
        return np.asarray(self.groups.sum(axis=0, dtype=np.float64))

    @property
    def by_order(self) -> bool:
        """Whether the distance looks at the order of the values."""
        return self.ordered and self.method in ("ks", "wasserstein")

    def windows(self, drawn: Singles, rows: int, random: np.random.Generator) -> Floats:
        """Rows per bin of drawn windows (… × bins), each of ``rows`` rows."""
        found = np.asarray(drawn @ self.groups, np.float64)
        found *= rows / np.maximum(found.sum(axis=-1, keepdims=True), 1.0)
        if self.new:
            share = random.binomial(rows, self.new, found.shape[:-1])[..., None] / rows
            found *= 1 - share
            found[..., -1] += share[..., 0] * rows
        return found

    def distances(self, windows: Floats, rows: int) -> Floats:
        """The distance of each window (… × bins) from the reference; see
        :mod:`liminal_assets.steps.distances`."""
        p = self.counts
        if self.method == "psi":
            return _psi(p, windows, rows)
        p, q = p / p.sum(), windows / rows
        if self.by_order:
            return self._by_order(p, q, rows)
        both = p + q
        if self.method == "chi2":
            ratio = np.divide((p - q) ** 2, both, out=np.zeros_like(both), where=both > 0)
            return np.asarray(np.sqrt(ratio.sum(axis=-1) / 2))
        if self.method == "jensen_shannon":
            return _jensen_shannon(p, q, both / 2)
        return np.asarray(np.abs(p - q).sum(axis=-1) / 2)

    def _by_order(self, p: Floats, q: Floats, rows: int) -> Floats:
        gaps = q - p
        if self.method == "ks":
            widest = np.abs(np.cumsum(gaps, axis=-1)).max(axis=-1)
            step = (1 / rows + 1 / max(self.counts.sum(), 1)) / self.grid if self.grid else 0.0
            return np.asarray(widest + _OVERSHOOT * np.sqrt(step))
        lost = np.abs(gaps[..., 0])
        present = np.maximum(q[..., 1:].sum(axis=-1, keepdims=True), 1e-12)
        known = max(p[1:].sum(), 1e-12)
        rise = np.abs(np.cumsum(q[..., 1:] / present - p[1:] / known, axis=-1))[..., :-1]
        area = ((rise[..., 1:] + rise[..., :-1]) / 2 * np.diff(self.edges)).sum(axis=-1)
        return np.asarray(lost + area / (self.scale or 1.0))


def _psi(p: Floats, q: Floats, rows: int) -> Floats:
    total = p.sum()
    used = (p > 0) | (q > 0)
    before = np.where(p > 0, p, 0.5) / total
    now = np.where(q > 0, q, 0.5) / rows
    return np.asarray(np.sum(np.where(used, (now - before) * np.log(now / before), 0.0), axis=-1))


def _jensen_shannon(p: Floats, q: Floats, middle: Floats) -> Floats:
    def part(share: Floats) -> Floats:
        there = (share > 0) & (middle > 0)
        ratio = np.divide(share, middle, out=np.ones_like(middle), where=there)
        return np.asarray((share * np.log2(ratio)).sum(axis=-1))

    both = part(np.broadcast_to(p, q.shape)) + part(q)
    return np.asarray(np.sqrt(np.clip(both / 2, 0.0, 1.0)))


def number_column(
    column: str, method: DriftMethod, values: Floats, groups: Groups, *, bins: int, grid: int
) -> NullColumn:
    """A column of numbers, NaN for missing.

    Args:
        bins: of the distances by histogram.
        grid: quantiles of the fine grid, for ``ks`` and ``wasserstein``.
    """
    by_order = method in ("ks", "wasserstein")
    if method == "wasserstein":
        values = np.where(np.isfinite(values), values, np.nan)
    missing = np.isnan(values)
    present = np.sort(values[~missing])
    finite = present[np.isfinite(present)]
    scale = float(finite.std()) if len(finite) else 0.0
    edges = _grid(present, scale, grid, method) if by_order else quantile_edges(values, bins)
    places = np.searchsorted(edges, values, side="left")
    width = len(edges) + 2
    nowhere, first = (0, 1) if by_order else (width - 1, 0)
    places = np.where(missing, nowhere, places + first)
    distinct = len(np.unique(present[:: max(1, len(present) // 5000)]))
    continuous = method == "ks" and distinct > grid
    return NullColumn(
        column,
        method,
        True,
        counts_by_group(groups, places.astype(np.int64), width),
        edges=edges,
        sample=finite[:: max(1, len(finite) // _SAMPLE)],
        scale=scale,
        grid=len(edges) if continuous else 0,
    )


def _grid(present: Floats, scale: float, size: int, method: DriftMethod) -> Floats:
    """Quantiles at equal steps, and for areas some towards and beyond both ends."""
    if not len(present):
        return np.zeros(1)
    levels = np.arange(1, size) / size
    if method == "wasserstein":
        tails = 0.5 ** np.arange(1, _TAILS) / size
        levels = np.concatenate([[0.0], tails, levels, 1 - tails, [1.0]])
    ranks = np.clip(np.ceil(levels * len(present)) - 1, 0, len(present) - 1).astype(int)
    edges = present[ranks]
    if method == "wasserstein" and scale > 0:
        beyond = scale * np.array([0.25, 0.5, 1.0, 2.0, 4.0])
        edges = np.concatenate([present[0] - beyond, edges, present[-1] + beyond])
    return np.unique(edges)


def category_column(
    column: str,
    method: DriftMethod,
    places: NDArray[np.int64],
    labels: Sequence[str],
    groups: Groups,
    *,
    new: float,
) -> NullColumn:
    """A column of categories.

    Args:
        places: the category of each row, by its place in ``labels``.
        labels: a last bin is added for values that the reference lacks.
        new: the share of such values to expect.
    """
    counted = counts_by_group(groups, places, len(labels) + 1)
    return NullColumn(column, method, False, counted, labels=tuple(labels), new=new)
