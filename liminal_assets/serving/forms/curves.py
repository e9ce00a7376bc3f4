"""Functions of one number that were fitted to each column: powers, ranks, splines, steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from liminal_assets.serving.forms.steps import Step

__all__ = ["OPERATORS"]


class Power:
    """Box-Cox or Yeo-Johnson; ``lambdas`` of shape (width,)."""

    def __init__(self, lambdas: np.ndarray, positive: bool) -> None:
        self._lambdas = lambdas
        self._positive = positive

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if self._positive and (matrix <= 0).any():
            raise ValueError("the Box-Cox transformation can only be applied to positive data")
        result = np.empty_like(matrix)
        with np.errstate(all="ignore"):
            for place, power in enumerate(self._lambdas):
                one = _box_cox if self._positive else _yeo_johnson
                result[:, place] = one(matrix[:, place], float(power))
        return result


class PowerInverse:
    """The inverse of :class:`Power`."""

    def __init__(self, lambdas: np.ndarray, positive: bool) -> None:
        self._lambdas = lambdas
        self._one = _box_cox_inverse if positive else _yeo_johnson_inverse

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = np.empty_like(matrix)
        with np.errstate(all="ignore"):
            for place, power in enumerate(self._lambdas):
                result[:, place] = self._one(matrix[:, place], float(power))
        return result


def _box_cox(x: np.ndarray, power: float) -> np.ndarray:
    # Box and Cox (1964), in SciPy's form that loses no digits for small powers
    result: np.ndarray = np.log(x)
    return result if power == 0 else np.expm1(power * result) / power


def _yeo_johnson(x: np.ndarray, power: float) -> np.ndarray:
    """Yeo and Johnson (2000), as :class:`sklearn.preprocessing.PowerTransformer` computes it."""
    result = np.empty_like(x)
    up = x >= 0
    down = ~up
    if abs(power) < np.spacing(1.0):
        result[up] = np.log1p(x[up])
    else:
        result[up] = np.expm1(power * np.log1p(x[up])) / power
    if abs(power - 2) > np.spacing(1.0):
        result[down] = -np.expm1((2 - power) * np.log1p(-x[down])) / (2 - power)
    else:
        result[down] = -np.log1p(-x[down])
    return result


def _box_cox_inverse(x: np.ndarray, power: float) -> np.ndarray:
    # SciPy's form, again
    result: np.ndarray = np.exp(x if power == 0 else np.log1p(power * x) / power)
    return result


def _yeo_johnson_inverse(x: np.ndarray, power: float) -> np.ndarray:
    result = np.empty_like(x)
    up = x >= 0
    down = ~up
    if abs(power) < np.spacing(1.0):
        result[up] = np.exp(x[up]) - 1
    else:
        result[up] = np.power(x[up] * power + 1, 1 / power) - 1
    if abs(power - 2) > np.spacing(1.0):
        result[down] = 1 - np.power(-(2 - power) * x[down] + 1, 1 / (2 - power))
    else:
        result[down] = 1 - np.exp(-x[down])
    return result


class Quantile:
    """Ranks among the training rows, as :class:`sklearn.preprocessing.QuantileTransformer`.

    Args:
        quantiles: of the training rows, of shape (references, width).
        references: the ranks of those, of shape (references,).
        normal: whether ranks become numbers of a standard normal distribution.
    """

    def __init__(self, quantiles: np.ndarray, references: np.ndarray, normal: bool) -> None:
        self._quantiles = np.ascontiguousarray(quantiles.T)
        self._references = references
        self._normal = normal
        if normal:
            from scipy.special import ndtri

            self._inverse = ndtri
            near = np.spacing(1.0)
            self._bounds = ndtri(1e-7 - near), ndtri(1 - (1e-7 - near))

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = matrix.copy()
        for place, quantiles in enumerate(self._quantiles):
            column = result[:, place]
            known = ~np.isnan(column)
            column[known] = self._ranks(column[known], quantiles)
        return result

    def _ranks(self, column: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
        references = self._references
        # repeated quantiles make steps: the middle of each
        upwards = np.interp(column, quantiles, references)
        downwards = np.interp(-column, -quantiles[::-1], -references[::-1])
        ranks: np.ndarray = 0.5 * (upwards - downwards)
        if self._normal:
            lowest = column - 1e-7 < quantiles[0]
            highest = column + 1e-7 > quantiles[-1]
        else:
            lowest, highest = column == quantiles[0], column == quantiles[-1]
        ranks[highest] = 1.0
        ranks[lowest] = 0.0
        if not self._normal:
            return ranks
        held: np.ndarray = np.clip(self._inverse(ranks), *self._bounds)
        return held


class QuantileInverse:
    """The inverse of :class:`Quantile`; the same arguments."""

    def __init__(self, quantiles: np.ndarray, references: np.ndarray, normal: bool) -> None:
        self._quantiles = np.ascontiguousarray(quantiles.T)
        self._references = references
        self._normal = normal
        if normal:
            from scipy.special import ndtr

            self._ranks = ndtr

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = matrix.copy()
        for place, quantiles in enumerate(self._quantiles):
            column = result[:, place]
            known = ~np.isnan(column)
            ranks = self._ranks(column[known]) if self._normal else column[known]
            near = 1e-7 if self._normal else 0.0
            values = np.interp(ranks, self._references, quantiles)
            values[ranks + near > 1 if self._normal else ranks == 1] = quantiles[-1]
            values[ranks - near < 0 if self._normal else ranks == 0] = quantiles[0]
            column[known] = values
        return result


class Interpolate:
    """Each column through its own points, held at both ends; a column of one point is constant.

    Args:
        known: per column where its points are, ascending.
        values: per column what they are.
    """

    def __init__(self, known: list[np.ndarray], values: list[np.ndarray]) -> None:
        self._points = list(zip(known, values, strict=True))

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = np.empty_like(matrix)
        for place, (known, values) in enumerate(self._points):
            result[:, place] = np.interp(matrix[:, place], known, values)
        return result


class Spline:
    """Basis functions of B-splines, as :class:`sklearn.preprocessing.SplineTransformer`.

    Each is a polynomial between two knots, in powers of the distance from the lower one.

    Args:
        knots: per column the inner knots with both ends, ascending, of shape (pieces + 1,).
        pieces: per column, of shape (pieces, degree + 1, functions), the highest power first.
        ends: per column, of shape (5, functions): what goes on beyond the lower end (values,
            slopes) and beyond the upper one, and the values at the upper end itself.
        beyond: ``error``, ``held`` (as ``ends`` says), ``continue`` or ``periodic``.
        missing: whether NaN becomes 0 in all functions.
    """

    def __init__(
        self,
        knots: list[np.ndarray],
        pieces: list[np.ndarray],
        ends: list[np.ndarray],
        beyond: str,
        missing: bool,
    ) -> None:
        self._columns = list(zip(knots, pieces, ends, strict=True))
        self._beyond, self._missing = beyond, missing

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            parts = [
                self._functions(matrix[:, place], *column)
                for place, column in enumerate(self._columns)
            ]
        return np.concatenate(parts, axis=1)

    def _functions(
        self, x: np.ndarray, knots: np.ndarray, pieces: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        low, high = knots[0], knots[-1]
        if self._beyond == "error" and ((x < low) | (x > high)).any():
            raise ValueError("values beyond the limits of the knots")
        inside = x
        if self._beyond == "periodic":
            inside = low + (x - low) % (high - low) if high > low else np.zeros_like(x)
        place = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(pieces) - 1)
        away = (inside - knots[place])[:, None]
        powers = pieces[place]
        found: np.ndarray = powers[:, 0].copy()
        for power in range(1, powers.shape[1]):
            found = found * away + powers[:, power]
        # knots that are repeated there leave the last polynomial without a piece
        found[inside == high] = ends[4]
        if self._beyond == "held":
            below, above = x < low, x > high
            found[below] = ends[0] + (x[below] - low)[:, None] * ends[1]
            found[above] = ends[2] + (x[above] - high)[:, None] * ends[3]
        if self._missing:
            found[np.isnan(x)] = 0.0
        return found


OPERATORS: Mapping[str, Callable[..., Step]] = {
    "interpolate": Interpolate,
    "power": Power,
    "power_inverse": PowerInverse,
    "quantile": Quantile,
    "quantile_inverse": QuantileInverse,
    "spline": Spline,
}
