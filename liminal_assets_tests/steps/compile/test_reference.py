"""The page of what is compiled is true: of every name on it, by a fitted one."""

from __future__ import annotations

import re
import warnings
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import utils
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from liminal_assets.steps.compile.converters import compiled_names
from liminal_assets.steps.compile.reference import GROUPS, public_estimators
from liminal_assets_tests.steps.compile.parity import FULL, NUMERIC, inputs, proved, table, targets

PAGE = Path(__file__).parents[3] / "docs" / "compiled.md"
LOGISTIC, RIDGE = LogisticRegression(), Ridge()
MEMBERS = {"estimators": [("one", LOGISTIC), ("other", DummyClassifier())]}
OPTIONS: dict[str, dict[str, Any]] = {
    "ColumnTransformer": {"transformers": [("kept", "passthrough", [0, 2])]},
    "FeatureUnion": {"transformer_list": [("kept", "passthrough")]},
    "FixedThresholdClassifier": {"response_method": "predict_proba", "threshold": 0.4},
    "GridSearchCV": {"param_grid": {"C": [0.1, 1.0]}},
    "KBinsDiscretizer": {"n_bins": 2, "encode": "onehot-dense"},
    "NuSVC": {"nu": 0.1},
    "OneHotEncoder": {"handle_unknown": "ignore"},
    "OrdinalEncoder": {"handle_unknown": "use_encoded_value", "unknown_value": -1},
    "OrthogonalMatchingPursuitCV": {"max_iter": 2},
    "Pipeline": {"steps": [("model", LOGISTIC)]},
    "RandomizedSearchCV": {"param_distributions": {"C": [0.1, 1.0]}, "n_iter": 1},
    "SelectKBest": {"k": 2},
    "SequentialFeatureSelector": {"n_features_to_select": 1},
    "StackingClassifier": MEMBERS,
    "StackingRegressor": {"estimators": [("one", RIDGE)]},
    "TheilSenRegressor": {"max_subpopulation": 50},
    "VotingClassifier": MEMBERS,
    "VotingRegressor": {"estimators": [("one", RIDGE)]},
}
"""What a type needs, or what makes it fast, besides :data:`SMALL` and an inner estimator."""
SMALL = {"n_components": 1, "n_estimators": 3, "n_quantiles": 20, "max_iter": 20, "cv": 2}
BASES = (
    "AdaBoostClassifier",
    "AdaBoostRegressor",
    "BaggingClassifier",
    "BaggingRegressor",
    "RANSACRegressor",
)
"""Types whose own inner estimator is the usual one."""


@cache
def public() -> dict[str, type]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(utils.all_estimators())


def compiled(kinds: set[str]) -> list[str]:
    transformers, estimators = compiled_names()
    return [
        name
        for kind, names in public_estimators().items()
        if kind in kinds
        for name in names
        if f"sklearn.{name}" in (transformers if kind == "transformer" else estimators)
    ]


def made(name: str, inner: Any) -> Any:
    kind = public()[name]
    options = dict(OPTIONS.get(name, {}))
    for option in signature(kind).parameters:
        if option in SMALL:
            options.setdefault(option, SMALL[option])
        elif option in ("estimator", "regressor") and name not in BASES:
            options.setdefault(option, inner)
    return kind(**options)


def read() -> dict[str, dict[str, bool]]:
    found: dict[str, dict[str, bool]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, yes, no = (section.strip() + "\n").split("\n\n")
        names = dict.fromkeys(re.findall("`(.+?)`", yes), True)
        found[title] = names | dict.fromkeys(re.findall("`(.+?)`", no), False)
    return found


def test_the_page_tells_of_every_public_estimator() -> None:
    transformers, estimators = compiled_names()
    page = read()
    for kind, names in public_estimators().items():
        known = transformers if kind == "transformer" else estimators
        said = {name: page[GROUPS[kind]].get(name) for name in names}
        assert said == {name: f"sklearn.{name}" in known for name in names}, "run 'make docs'"


@pytest.mark.parametrize("name", compiled({"classifier", "regressor", "other"}))
def test_every_estimator_that_the_page_calls_compiled(name: str) -> None:
    regressor = name in public_estimators()["regressor"]
    inner = RIDGE if regressor else LOGISTIC
    estimator = made(name, inner)
    frame = inputs(table(0), FULL)
    values = np.exp(targets(table(0), 0, 0) / 4) if regressor else targets(table(0), 2, 0)
    if name == "FrozenEstimator":
        estimator = FrozenEstimator(inner.fit(frame, values))
    if name in ("ComplementNB", "MultinomialNB"):
        estimator = make_pipeline(MinMaxScaler(), estimator)
    proved(estimator.fit(frame, values), 0, FULL)


@pytest.mark.parametrize("name", compiled({"transformer"}))
def test_every_transformer_that_the_page_calls_compiled(name: str) -> None:
    before = [] if name in ("SimpleImputer", "MissingIndicator") else [SimpleImputer()]
    pipeline: Pipeline = make_pipeline(*before, made(name, LOGISTIC), LOGISTIC)
    frame = inputs(table(1), NUMERIC)
    proved(pipeline.fit(frame, targets(table(1), 2, 1)), 1, NUMERIC)
