"""Converters of transformers of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import transformer
from liminal_assets.steps.compile.values import (
    Columns,
    Matrix,
    Node,
    UnsupportedError,
    beside,
    numbers,
)

__all__ = ["checked", "filled"]


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
    return checked(value).then("clip", low=fitted.low_, high=fitted.high_)


@transformer("sklearn.StandardScaler")
def _standard(fitted: Any, value: Columns | Matrix) -> Matrix:
    center = fitted.mean_ if fitted.with_mean else None
    scale = fitted.scale_ if fitted.with_std else None
    return checked(value).then("center", center=center, scale=scale)


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
    if not nan:
        raise UnsupportedError("SimpleImputer's indicator of other values than NaN")
    places = np.asarray(fitted.indicator_.features_)
    branches = [_steps(matrix, result), [{"op": "missing", "places": places}]]
    return matrix.then("parallel", result.width + len(places), branches=branches)


def _steps(before: Matrix, after: Matrix) -> list[Node]:
    """The steps between two matrices."""
    count = len(before.node["steps"]) if before.node["op"] == "chain" else 0
    steps: list[Node] = after.node["steps"]
    return steps[count:]


@transformer("sklearn.MissingIndicator")
def _indicator(fitted: Any, value: Columns | Matrix) -> Matrix:
    if fitted.missing_values == fitted.missing_values:
        raise UnsupportedError("MissingIndicator of other values than NaN")
    if fitted.error_on_new and fitted.features == "missing-only":
        raise UnsupportedError("MissingIndicator that refuses new missing values")
    places = np.asarray(fitted.features_)
    return checked(value).then("missing", len(places), places=places)


@transformer("sklearn.PowerTransformer")
def _power(fitted: Any, value: Columns | Matrix) -> Matrix:
    positive = fitted.method == "box-cox"
    matrix = checked(value).then("power", lambdas=fitted.lambdas_, positive=positive)
    return _standard(fitted._scaler, matrix) if fitted.standardize else matrix


@transformer("sklearn.QuantileTransformer")
def _quantile(fitted: Any, value: Columns | Matrix) -> Matrix:
    return checked(value).then(
        "quantile",
        quantiles=fitted.quantiles_,
        references=fitted.references_,
        normal=fitted.output_distribution == "normal",
    )


@transformer("sklearn.FunctionTransformer")
def _function(fitted: Any, value: Columns | Matrix) -> Matrix | Columns:
    if fitted.kw_args:
        raise UnsupportedError("a function with arguments of its own")
    if fitted.func is None:
        return value
    name = getattr(fitted.func, "__name__", "")
    ours = getattr(fitted.func, "__module__", "") == "liminal_assets.steps.transformers"
    if not ours and getattr(np, name, None) is not fitted.func:
        # scikit-learn's own way to pass columns on to an estimator
        if getattr(getattr(fitted.func, "func", None), "__name__", "") == "check_array":
            return numbers(value)
        raise UnsupportedError(f"the function {name or fitted.func!r}")
    matrix = checked(value) if fitted.validate else numbers(value)
    return matrix.then("function", name=name)


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


@transformer("sklearn.PCA", "sklearn.TruncatedSVD")
def _components(fitted: Any, value: Columns | Matrix) -> Matrix:
    weights = np.ascontiguousarray(fitted.components_.T)
    shift, scale = np.zeros(weights.shape[1]), None
    if hasattr(fitted, "mean_"):
        shift = fitted.mean_ @ weights
    if getattr(fitted, "whiten", False):
        scale = np.maximum(np.sqrt(fitted.explained_variance_), np.finfo(float).eps)
    matrix = checked(value, missing=False)
    return matrix.then("project", weights.shape[1], weights=weights, shift=shift, scale=scale)


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


@transformer("sklearn.FeatureUnion")
def _union(fitted: Any, value: Columns | Matrix) -> Matrix:
    from liminal_assets.steps.compile.composition import converted

    parts = []
    for name, part in fitted.transformer_list:
        if part == "drop":
            continue
        if fitted.transformer_weights and name in fitted.transformer_weights:
            raise UnsupportedError("weights of a FeatureUnion")
        made = value if part == "passthrough" else converted(part, value)
        parts.append(numbers(made))
    if isinstance(value, Columns):
        return beside(parts)
    count = sum(part.width for part in parts)
    return value.then("parallel", count, branches=[_steps(value, part) for part in parts])
