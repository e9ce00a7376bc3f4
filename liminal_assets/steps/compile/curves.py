"""Converters of functions that were fitted to each column, and of the inverses of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import transformer
from liminal_assets.steps.compile.preparation import checked, function_name, standard
from liminal_assets.steps.compile.values import Columns, Matrix, UnsupportedError, numbers

__all__ = ["inverted"]


@transformer("sklearn.PowerTransformer")
def _power(fitted: Any, value: Columns | Matrix) -> Matrix:
    positive = fitted.method == "box-cox"
    matrix = checked(value).then("power", lambdas=fitted.lambdas_, positive=positive)
    return standard(fitted._scaler, matrix) if fitted.standardize else matrix


def _ranks(fitted: Any) -> dict[str, Any]:
    return {
        "quantiles": fitted.quantiles_,
        "references": fitted.references_,
        "normal": fitted.output_distribution == "normal",
    }


@transformer("sklearn.QuantileTransformer")
def _quantile(fitted: Any, value: Columns | Matrix) -> Matrix:
    return checked(value).then("quantile", **_ranks(fitted))


@transformer("sklearn.SplineTransformer")
def _spline(fitted: Any, value: Columns | Matrix) -> Matrix:
    missing = getattr(fitted, "handle_missing", "error") == "zeros"
    held = fitted.extrapolation in ("constant", "linear")
    if fitted.degree < (2 if fitted.extrapolation == "linear" else 1) and held:
        raise UnsupportedError(
            f"SplineTransformer of degree {fitted.degree}, {fitted.extrapolation} beyond its knots"
        )
    made = [_pieces(spline) for spline in fitted.bsplines_]
    matrix = numbers(value) if missing else checked(value, missing=False)
    count = fitted.bsplines_[0].c.shape[1]
    result = matrix.then(
        "spline",
        matrix.width * count,
        knots=[knots for knots, _ in made],
        pieces=[pieces for _, pieces in made],
        ends=[_ends(fitted, spline) for spline in fitted.bsplines_],
        beyond="held" if held else fitted.extrapolation,
        missing=missing,
    )
    if fitted.include_bias:
        return result
    places = np.flatnonzero((np.arange(result.width) + 1) % count)
    return result.then("take", len(places), places=places)


def _pieces(spline: Any) -> tuple[np.ndarray, np.ndarray]:
    """The knots of the base interval, and the polynomials between them by Taylor's formula."""
    degree = spline.k
    knots = np.unique(spline.t[degree : len(spline.t) - degree])
    powers = [spline(knots[:-1], nu=power) / math.factorial(power) for power in range(degree + 1)]
    return knots, np.stack(powers[::-1], axis=1)


def _ends(fitted: Any, spline: Any) -> np.ndarray:
    """Values and slopes at both ends, of the functions that go on there; all at the upper one."""
    low, high = spline.t[fitted.degree], spline.t[-fitted.degree - 1]
    values = [spline(low), spline(low, nu=1), spline(high), spline(high, nu=1), spline(high)]
    ends = np.stack(values)
    if fitted.extrapolation != "linear":
        ends[[1, 3]] = 0.0
    ends[:2, fitted.degree :] = 0.0
    ends[2:4, : ends.shape[1] - fitted.degree] = 0.0
    return ends


def inverted(fitted: Any, matrix: Matrix) -> Matrix:
    """A matrix after the inverse of a fitted transformer.

    Raises:
        UnsupportedError: nothing inverts its type.
    """
    kind = type(fitted)
    if kind.__module__.partition(".")[0] != "sklearn" or kind.__name__ not in _INVERSES:
        raise UnsupportedError(f"the inverse of {kind.__qualname__}")
    return _INVERSES[kind.__name__](fitted, matrix)


def _inverse_steps(fitted: Any, matrix: Matrix) -> Matrix:
    for _, step in reversed(fitted.steps):
        if step not in (None, "passthrough"):
            matrix = inverted(step, matrix)
    return matrix


def _inverse_function(fitted: Any, matrix: Matrix) -> Matrix:
    if fitted.inv_kw_args:
        raise UnsupportedError("a function with arguments of its own")
    if fitted.validate:
        matrix = checked(matrix, missing=False)
    if fitted.inverse_func is None:
        return matrix
    return matrix.then("function", name=function_name(fitted.inverse_func))


def _inverse_standard(fitted: Any, matrix: Matrix) -> Matrix:
    center = fitted.mean_ if fitted.with_mean else None
    return _unscaled(checked(matrix), fitted.scale_ if fitted.with_std else None, center)


def _inverse_robust(fitted: Any, matrix: Matrix) -> Matrix:
    center = fitted.center_ if fitted.with_centering else None
    return _unscaled(checked(matrix), fitted.scale_ if fitted.with_scaling else None, center)


def _unscaled(matrix: Matrix, scale: np.ndarray | None, center: np.ndarray | None) -> Matrix:
    one, zero = np.ones(matrix.width), np.zeros(matrix.width)
    return matrix.then(
        "stretch",
        scale=one if scale is None else scale,
        shift=zero if center is None else center,
    )


def _inverse_power(fitted: Any, matrix: Matrix) -> Matrix:
    matrix = checked(matrix)
    if fitted.standardize:
        matrix = _inverse_standard(fitted._scaler, matrix)
    positive = fitted.method == "box-cox"
    return matrix.then("power_inverse", lambdas=fitted.lambdas_, positive=positive)


_INVERSES: Mapping[str, Callable[[Any, Matrix], Matrix]] = {
    "FunctionTransformer": _inverse_function,
    "MaxAbsScaler": lambda fitted, matrix: _unscaled(checked(matrix), fitted.scale_, None),
    "MinMaxScaler": lambda fitted, matrix: checked(matrix).then(
        "center", center=fitted.min_, scale=fitted.scale_
    ),
    "Pipeline": _inverse_steps,
    "PowerTransformer": _inverse_power,
    "QuantileTransformer": lambda fitted, matrix: checked(matrix).then(
        "quantile_inverse", **_ranks(fitted)
    ),
    "RobustScaler": _inverse_robust,
    "StandardScaler": _inverse_standard,
}
