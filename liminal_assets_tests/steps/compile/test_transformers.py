"""Compiled transformers of numbers answer as scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import feature_selection, linear_model
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from liminal_assets.serving.forms.steps import Finite
from liminal_assets.steps.compile import UnsupportedError, compile_pipeline
from liminal_assets_tests.steps.compile.parity import (
    NUMERIC,
    fit,
    proved,
)

STEPS = {
    "standard": [SimpleImputer(), StandardScaler()],
    "without mean": [SimpleImputer(), StandardScaler(with_mean=False)],
    "minmax clip": [MinMaxScaler(clip=True), SimpleImputer(strategy="median")],
    "maxabs": [MaxAbsScaler(), SimpleImputer(strategy="most_frequent")],
    "robust": [RobustScaler(), SimpleImputer(strategy="constant", fill_value=-1.0)],
    "indicator": [SimpleImputer(add_indicator=True), StandardScaler()],
    "another value": [SimpleImputer(), SimpleImputer(missing_values=-2.0, add_indicator=True)],
    "indicator alone": [make_union(SimpleImputer(), MissingIndicator(error_on_new=True))],
    "indicator of all": [make_union(SimpleImputer(), MissingIndicator(features="all"))],
    "yeo-johnson": [PowerTransformer(), SimpleImputer()],
    "box-cox": [FunctionTransformer(np.exp), SimpleImputer(), PowerTransformer("box-cox")],
    "quantile": [QuantileTransformer(n_quantiles=20), SimpleImputer()],
    "quantile normal": [
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
        SimpleImputer(),
    ],
    "function": [SimpleImputer(), FunctionTransformer(np.cbrt), FunctionTransformer()],
    "binarizer": [SimpleImputer(), Binarizer(threshold=0.25)],
    "bins": [SimpleImputer(), KBinsDiscretizer(3, encode="onehot-dense")],
    "bins ordinal": [SimpleImputer(), KBinsDiscretizer(4, encode="ordinal", strategy="uniform")],
    "bins encoded": [
        SimpleImputer(),
        KBinsDiscretizer(3, encode="ordinal"),
        OneHotEncoder(drop="first"),
    ],
    "signs": [
        SimpleImputer(),
        FunctionTransformer(np.sign),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
    "targets of signs": [SimpleImputer(), FunctionTransformer(np.sign), TargetEncoder(cv=2)],
    "polynomial": [SimpleImputer(), StandardScaler(), PolynomialFeatures(2)],
    "spline": [SimpleImputer(), SplineTransformer(4)],
    "spline linear": [
        SimpleImputer(),
        SplineTransformer(4, extrapolation="linear", knots="quantile"),
    ],
    "spline on": [SimpleImputer(), SplineTransformer(3, degree=1, extrapolation="continue")],
    "spline round": [SimpleImputer(), SplineTransformer(4, extrapolation="periodic")],
    "spline refusing": [SimpleImputer(), SplineTransformer(4, extrapolation="error")],
    "spline missing": [SplineTransformer(4, handle_missing="zeros", include_bias=False)],
    "normalizer": [SimpleImputer(), Normalizer()],
    "pca": [SimpleImputer(), StandardScaler(), PCA(2, whiten=True)],
    "pca in parts": [SimpleImputer(), IncrementalPCA(2)],
    "svd": [SimpleImputer(), TruncatedSVD(2)],
    "projection": [SimpleImputer(), GaussianRandomProjection(2, random_state=0)],
    "sparse projection": [
        SimpleImputer(),
        SparseRandomProjection(2, density=0.5, random_state=0),
    ],
    "discriminants": [SimpleImputer(), LinearDiscriminantAnalysis()],
    "selected": [SimpleImputer(), feature_selection.SelectKBest(k=2)],
    "selected by variance": [feature_selection.VarianceThreshold(), SimpleImputer()],
    "selected by a model": [
        SimpleImputer(),
        feature_selection.SelectFromModel(linear_model.LogisticRegression()),
    ],
    "union": [
        SimpleImputer(),
        FeatureUnion(
            [("standard", StandardScaler()), ("minmax", MinMaxScaler())],
            transformer_weights={"minmax": 0.5},
        ),
    ],
    "columns of a matrix": [
        SimpleImputer(),
        ColumnTransformer(
            [("scaled", StandardScaler(), [0, 2]), ("kept", "passthrough", [1])],
            transformer_weights={"scaled": 2.0},
        ),
    ],
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_numbers(name: str) -> None:
    steps, seed = STEPS[name], list(STEPS).index(name)
    pipeline = make_pipeline(*steps, linear_model.LogisticRegression())
    assert proved(fit(pipeline, seed, signature=NUMERIC), seed, NUMERIC).form == "numpy"


@pytest.mark.parametrize("width", [1, 2, 9])
@pytest.mark.parametrize("rows", [1, 2, 70])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found_in_any_place(width: int, rows: int, odd: float) -> None:
    for place in range(width):
        matrix = np.full((rows, width), 1e300)
        assert Finite(False)(matrix) is matrix
        matrix[rows - 1, place] = odd
        with pytest.raises(ValueError, match="NaN, infinity"):
            Finite(False)(matrix)


UNKNOWN = {
    "function": [SimpleImputer(), FunctionTransformer(lambda x: x + 1)],
    "degree": [SimpleImputer(), SplineTransformer(4, degree=1, extrapolation="linear")],
}


@pytest.mark.parametrize("steps", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_not_known_is_not_compiled(steps: list[Any]) -> None:
    pipeline = fit(make_pipeline(*steps, linear_model.Ridge()), 0, signature=NUMERIC)
    with pytest.raises(UnsupportedError, match=r"function|degree 1"):
        compile_pipeline(pipeline, NUMERIC)
