"""Converters of transformers of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import transformer
from liminal_assets.steps.compile.values import (
    Columns,
    Matrix,
    UnsupportedError,
    numbers,
    steps_between,
)

__all__ = ["checked", "filled", "function_name", "standard", "weighted"]


def checked(value: Columns | Matrix, *, missing: bool = True) -> Matrix:
    """A matrix as scikit-learn's check lets it through: without infinities, and without NaN."""
    if missing and isinstance(value, Columns):
        # what a request may carry is finite
        return numbers(value)
    return numbers(value).then("finite", missing=missing)


@transformer("liminal_assets.Selected")
def _selected(fitted: Any, value: Columns | Matrix) -> Columns | Matrix:
    names = tuple(map(str, fitted.feature_names_in_))
    if isinstance(value, Matrix) or set(names) - set(value.signature.names):
        raise UnsupportedError("columns that the signature doesn't have")
    return Columns(value.signature, names)


@transformer("liminal_assets.Numbers")
def _numbers(fitted: Any, value: Columns | Matrix) -> Matrix:
    if isinstance(value, Matrix):
        raise UnsupportedError("Numbers after another step")
    return numbers(value, wide=True)


@transformer("liminal_assets.Untouched")
def _untouched(fitted: Any, value: Columns | Matrix) -> Matrix:
    if not all(fitted.numeric_):
        raise UnsupportedError("text that reaches the estimator as it is")
    return _numbers(fitted, value)


@transformer("liminal_assets.Clip")
def _clip(fitted: Any, value: Columns | Matrix) -> Matrix:
    return checked(value).wide().then("clip", low=fitted.low_, high=fitted.high_)


@transformer("sklearn.StandardScaler")
def standard(fitted: Any, value: Columns | Matrix) -> Matrix:
    """What a ``StandardScaler`` makes of a value."""
    from sklearn.utils import get_tags

    matrix = checked(value)
    center = fitted.mean_ if fitted.with_mean else None
    scale = fitted.scale_ if fitted.with_std else None
    # since it takes arrays of any library it rounds what it learned too
    if matrix.single and get_tags(fitted).array_api_support:
        center, scale = _to_single(center), _to_single(scale)
    return matrix.then("center", center=center, scale=scale)


def _to_single(learned: np.ndarray | None) -> np.ndarray | None:
    return None if learned is None else learned.astype(np.float32).astype(float)


@transformer("sklearn.RobustScaler")
def _robust(fitted: Any, value: Columns | Matrix) -> Matrix:
    center = fitted.center_ if fitted.with_centering else None
    scale = fitted.scale_ if fitted.with_scaling else None
    return checked(value).then("center", center=center, scale=scale)


@transformer("sklearn.MaxAbsScaler")
def _max_abs(fitted: Any, value: Columns | Matrix) -> Matrix:
    matrix = checked(value).then("center", center=None, scale=fitted.scale_)
    if getattr(fitted, "clip", False):
        one = np.ones(matrix.width)
        return matrix.then("clip", low=-one, high=one)
    return matrix


@transformer("sklearn.MinMaxScaler")
def _min_max(fitted: Any, value: Columns | Matrix) -> Matrix:
    matrix = checked(value).then("stretch", scale=fitted.scale_, shift=fitted.min_)
    if not fitted.clip:
        return matrix
    low, high = (np.full(matrix.width, float(bound)) for bound in fitted.feature_range)
    return matrix.then("clip", low=low, high=high)


@transformer("sklearn.SimpleImputer")
def _imputer(fitted: Any, value: Columns | Matrix) -> Matrix:
    return filled(fitted, numbers(value))


def filled(fitted: Any, matrix: Matrix) -> Matrix:
    """A matrix after ``SimpleImputer``; its indicator's columns come last."""
    from sklearn.utils._missing import is_scalar_nan

    statistics = np.asarray(fitted.statistics_, float)
    nan = is_scalar_nan(fitted.missing_values)
    if not nan or matrix.node["op"] == "chain":
        matrix = matrix.then("finite", missing=nan)
    empty = np.isnan(statistics)
    if fitted.keep_empty_features:
        statistics = np.where(empty, 0.0, statistics)
        kept = matrix
    else:
        places = np.flatnonzero(~empty)
        kept = matrix.then("take", len(places), places=places) if empty.any() else matrix
        statistics = statistics[~empty]
    if nan:
        result = kept.then("fill", values=statistics)
    else:
        result = kept.then("fill_of", missing=float(fitted.missing_values), values=statistics)
    if not fitted.add_indicator:
        return result
    shown = _missing(fitted.indicator_)
    count = len(shown["places"])
    branches = [steps_between(matrix, result), [{"op": "missing", **shown}]]
    return matrix.then("parallel", result.width + count, branches=branches)


@transformer("sklearn.MissingIndicator")
def _indicator(fitted: Any, value: Columns | Matrix) -> Matrix:
    shown = _missing(fitted)
    matrix = checked(value, missing=shown["value"] is None)
    return matrix.then("missing", len(shown["places"]), **shown)


def _missing(fitted: Any) -> dict[str, Any]:
    """The arguments of the operator of a ``MissingIndicator``."""
    from sklearn.utils._missing import is_scalar_nan

    places = np.asarray(fitted.features_)
    refused = None
    if fitted.error_on_new and fitted.features == "missing-only":
        refused = np.setdiff1d(np.arange(fitted.n_features_in_), places)
    nan = is_scalar_nan(fitted.missing_values)
    value = None if nan else float(fitted.missing_values)
    return {"places": places, "value": value, "refused": refused}


@transformer("sklearn.FunctionTransformer")
def _function(fitted: Any, value: Columns | Matrix) -> Matrix | Columns:
    if fitted.kw_args:
        raise UnsupportedError("a function with arguments of its own")
    if fitted.func is None:
        return value
    # scikit-learn's own way to pass columns on to an estimator
    if getattr(getattr(fitted.func, "func", None), "__name__", "") == "check_array":
        return numbers(value)
    name = function_name(fitted.func)
    matrix = checked(value, missing=False) if fitted.validate else numbers(value)
    return matrix.then("function", name=name)


def function_name(function: Any) -> str:
    """The name of a function of NumPy's, or of ours, that a form has too.

    Raises:
        UnsupportedError: it is another one.
    """
    from liminal_assets.serving.forms.steps import FUNCTIONS

    name = getattr(function, "__name__", "")
    ours = getattr(function, "__module__", "") == "liminal_assets.steps.transformers"
    if name not in FUNCTIONS or not (ours or getattr(np, name, None) is function):
        raise UnsupportedError(f"the function {name or function!r}")
    return name


@transformer("sklearn.Binarizer")
def _binarizer(fitted: Any, value: Columns | Matrix) -> Matrix:
    return checked(value, missing=False).then("binarize", threshold=float(fitted.threshold))


@transformer("sklearn.KBinsDiscretizer")
def _bins(fitted: Any, value: Columns | Matrix) -> Matrix:
    matrix = checked(value, missing=False)
    matrix = matrix.then("bins", edges=[np.asarray(edges) for edges in fitted.bin_edges_])
    if fitted.encode == "ordinal":
        return matrix
    sizes = [int(count) for count in fitted.n_bins_]
    return matrix.then("one_hot", sum(sizes), sizes=sizes)


@transformer("sklearn.PolynomialFeatures")
def _polynomial(fitted: Any, value: Columns | Matrix) -> Matrix:
    factors = [
        [place for place, power in enumerate(powers) for _ in range(power)]
        for powers in fitted.powers_.tolist()
    ]
    return checked(value, missing=False).then("products", len(factors), factors=factors)


@transformer("sklearn.Normalizer")
def _normalizer(fitted: Any, value: Columns | Matrix) -> Matrix:
    return checked(value, missing=False).then("normalize", norm=fitted.norm)


@transformer(
    *(
        f"sklearn.{name}"
        for name in (
            "GaussianRandomProjection",
            "IncrementalPCA",
            "PCA",
            "SparseRandomProjection",
            "TruncatedSVD",
        )
    )
)
def _components(fitted: Any, value: Columns | Matrix) -> Matrix:
    components = fitted.components_
    if hasattr(components, "toarray"):
        components = components.toarray()
    weights = np.ascontiguousarray(components.T)
    shift, scale = np.zeros(weights.shape[1]), None
    if hasattr(fitted, "mean_"):
        shift = fitted.mean_ @ weights
    if getattr(fitted, "whiten", False):
        scale = np.maximum(np.sqrt(fitted.explained_variance_), np.finfo(float).eps)
    matrix = checked(value, missing=False)
    return matrix.then("project", weights.shape[1], weights=weights, shift=shift, scale=scale)


@transformer("sklearn.LinearDiscriminantAnalysis")
def _discriminants(fitted: Any, value: Columns | Matrix) -> Matrix:
    if fitted.solver == "lsqr":
        raise UnsupportedError("LinearDiscriminantAnalysis that transforms nothing")
    weights = np.ascontiguousarray(fitted.scalings_[:, : fitted._max_components])
    matrix = checked(value, missing=False)
    if fitted.solver == "svd":
        matrix = matrix.then("center", center=fitted.xbar_, scale=None)
    shift = np.zeros(weights.shape[1])
    return matrix.then("project", weights.shape[1], weights=weights, shift=shift, scale=None)


@transformer(
    *(
        f"sklearn.{name}"
        for name in (
            "GenericUnivariateSelect",
            "RFE",
            "RFECV",
            "SelectFdr",
            "SelectFpr",
            "SelectFromModel",
            "SelectFwe",
            "SelectKBest",
            "SelectPercentile",
            "SequentialFeatureSelector",
            "VarianceThreshold",
        )
    )
)
def _selector(fitted: Any, value: Columns | Matrix) -> Matrix:
    from sklearn.utils import get_tags

    places = fitted.get_support(indices=True)
    matrix = checked(value, missing=get_tags(fitted).input_tags.allow_nan)
    return matrix.then("take", len(places), places=places)


def weighted(matrix: Matrix, weight: float | None) -> Matrix:
    """A matrix times the weight of its transformer, if it has one."""
    if weight is None:
        return matrix
    scale = np.full(matrix.width, float(np.float32(weight) if matrix.single else weight))
    return matrix.then("stretch", scale=scale, shift=np.zeros(matrix.width))
