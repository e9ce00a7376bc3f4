"""Where all columns are 32-bit numbers scikit-learn computes in 32 bits, and so do compiled forms,
or there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import ensemble, feature_selection, linear_model, naive_bayes, svm, tree
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from liminal_assets.steps.compile import UnsupportedError, compile_pipeline
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.steps.compile.parity import NUMBERS, proved, table, targets

SINGLE = Signature(tuple(Field(name, "float", required=False) for name in NUMBERS))
MIXED = Signature((*SINGLE.fields, Field("color", "string", required=False)))
BOOSTER = ensemble.HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=4)
FOREST = ensemble.RandomForestClassifier(6, max_depth=4)
TREE = tree.DecisionTreeClassifier(max_depth=5)

PIPELINES = {
    "a booster": [BOOSTER],
    "a forest": [FOREST],
    "standard": [StandardScaler(), BOOSTER],
    "without mean": [StandardScaler(with_mean=False), TREE],
    "minmax": [SimpleImputer(add_indicator=True), MinMaxScaler((-1, 1), clip=True), TREE],
    "maxabs": [SimpleImputer(strategy="median"), MaxAbsScaler(), BOOSTER],
    "robust": [RobustScaler(), SimpleImputer(strategy="constant", fill_value=0.1), FOREST],
    "bins": [SimpleImputer(), KBinsDiscretizer(3, encode="ordinal"), TREE],
    "selected": [SimpleImputer(), feature_selection.SelectKBest(k=2), TREE],
    "columns": [
        SimpleImputer(),
        ColumnTransformer(
            [("scaled", StandardScaler(), [0, 2]), ("kept", "passthrough", [1])],
            transformer_weights={"scaled": 0.3},
        ),
        BOOSTER,
    ],
    "union": [SimpleImputer(), make_union(StandardScaler(), MinMaxScaler()), TREE],
    "a support vector machine": [SimpleImputer(), StandardScaler(), svm.SVC()],
    "a vote": [SimpleImputer(), ensemble.VotingClassifier([("a", TREE), ("b", FOREST)])],
}


def inputs(seed: int, signature: Signature) -> pd.DataFrame:
    kinds = dict.fromkeys(NUMBERS, np.float32)
    return table(seed).astype(kinds)[list(signature.names)]


def fit(pipeline: Any, seed: int, signature: Signature = SINGLE) -> Any:
    return pipeline.fit(inputs(seed, signature), targets(table(seed), 3, seed))


@pytest.mark.parametrize("name", PIPELINES)
def test_numbers_of_32_bits(name: str) -> None:
    seed = list(PIPELINES).index(name)
    pipeline = fit(make_pipeline(*PIPELINES[name]), seed)
    proved(pipeline, seed, SINGLE, inputs(seed + 1, SINGLE))


@pytest.mark.parametrize("estimator", [linear_model.LogisticRegression(), BOOSTER])
def test_numbers_of_32_bits_beside_categories(estimator: Any) -> None:
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["color"]),
    )
    pipeline = fit(make_pipeline(columns, estimator), 4, MIXED)
    proved(pipeline, 4, MIXED, inputs(5, MIXED))


UNKNOWN = {
    "power": [PolynomialFeatures(2), TREE],
    "linear": [linear_model.Ridge()],
    "bayes": [naive_bayes.GaussianNB()],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_sums_of_32_bits_depend_on_their_order(name: str) -> None:
    pipeline = fit(make_pipeline(SimpleImputer(), *UNKNOWN[name]), 0)
    with pytest.raises(UnsupportedError, match="32-bit numbers"):
        compile_pipeline(pipeline, SINGLE)
