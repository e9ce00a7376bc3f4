"""Compiled encoders of categories answer as scikit-learn's, and as those of the language."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble, linear_model
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from liminal_assets.language.models import Prepare
from liminal_assets.steps.compile import compile_pipeline, encoders
from liminal_assets.steps.prepare import Roles, pipeline_of
from liminal_assets.steps.signature import Signature
from liminal_assets_tests.steps.compile.parity import (
    NUMBERS,
    WORDS,
    few,
    fit,
    proved,
    seeds,
    table,
    targets,
)

ENCODERS = {
    "one-hot": [OneHotEncoder(handle_unknown="ignore")],
    "one-hot drop": [OneHotEncoder(drop="if_binary", handle_unknown="ignore")],
    "one-hot first": [SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first")],
    "one-hot rare": [OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist")],
    "ordinal": [
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        SimpleImputer(),
    ],
    "ordinal refusing": [OrdinalEncoder(encoded_missing_value=-2)],
    "target": [TargetEncoder(random_state=0, cv=2)],
    "constant": [SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder()],
}


@pytest.mark.parametrize("steps", ENCODERS.values(), ids=ENCODERS.keys())
@few
@given(seed=seeds, classes=st.sampled_from([2, 3]))
def test_encoders_of_categories(steps: list[Any], seed: int, classes: int) -> None:
    columns = ["color"] if isinstance(steps[0], SimpleImputer) else [*WORDS, "new"]
    encoded = make_column_transformer(
        (make_pipeline(*steps), columns), (SimpleImputer(), NUMBERS), sparse_threshold=0
    )
    pipeline = make_pipeline(encoded, linear_model.LogisticRegression())
    proved(fit(pipeline, seed, classes), seed)


def test_a_category_that_is_refused_among_many_is_found_with_few_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    rows = encoders._Asked.rows
    monkeypatch.setattr(
        encoders._Asked, "rows", lambda self, some: asked.append(len(some)) or rows(self, some)
    )
    frame = pd.DataFrame({"word": [f"word {place % 500}" for place in range(1000)]}, dtype=object)
    # no row is empty, so the encoder doesn't know what the imputer makes of nulls
    words = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder())
    columns = make_column_transformer((words, ["word"]))
    pipeline = make_pipeline(columns, linear_model.LogisticRegression())
    description = compile_pipeline(pipeline.fit(frame, np.arange(1000) % 2), Signature.of(frame))
    (table_of_words,) = description.said["prepare"]["source"]["tables"]
    assert len(table_of_words["keys"]) == 500
    assert (table_of_words["unknown"], table_of_words["missing"]) == (-1, -1)
    assert len(asked) < 30


@few
@given(seed=seeds, classes=st.sampled_from([0, 2, 3]))
def test_missing_values_and_categories_of_a_booster(seed: int, classes: int) -> None:
    frame = table(seed, rows=150)
    kind = (
        ensemble.HistGradientBoostingClassifier
        if classes
        else ensemble.HistGradientBoostingRegressor
    )
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = make_column_transformer((codes, WORDS), ("passthrough", NUMBERS))
    booster = kind(max_iter=6, min_samples_leaf=3, categorical_features=[0, 1], random_state=0)
    pipeline = make_pipeline(columns, booster).fit(frame, targets(frame, classes, seed))
    assert proved(pipeline, seed).form == "onnxruntime"


BOOSTER = ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=4)

numeric_options = st.fixed_dictionaries(
    {
        "impute": st.sampled_from(["median", "mean", "most_frequent", 0.5]),
        "indicator": st.booleans(),
        "clip": st.sampled_from([None, (0.05, 0.95)]),
        "transform": st.sampled_from(["none", "yeo_johnson", "quantile", "log1p"]),
        "scale": st.sampled_from(["none", "standard", "minmax", "robust", "maxabs"]),
    }
)
categorical_options = st.fixed_dictionaries(
    {
        "encode": st.sampled_from(["ordinal", "one_hot", "target"]),
        "impute": st.sampled_from(["none", "most_frequent", "other"]),
        "min_frequency": st.sampled_from([None, 3, 0.2]),
        "max_categories": st.sampled_from([None, 3]),
    }
)


def prepared(said: dict[str, Any], estimator: Any, seed: int, classes: int) -> Pipeline:
    roles = Roles(("a", "n"), ("color", "size", "new"), ("b",))
    pipeline = pipeline_of(Prepare.model_validate(said), roles, estimator)
    return fit(pipeline, seed, classes)


@settings(few, max_examples=6)
@given(
    numeric=numeric_options,
    categorical=categorical_options,
    estimator=st.sampled_from([linear_model.LogisticRegression(), BOOSTER]),
    seed=seeds,
    classes=st.sampled_from([2, 3]),
)
def test_preparations_of_the_language(
    numeric: Any, categorical: Any, estimator: Any, seed: int, classes: int
) -> None:
    said = {"numeric": numeric, "categorical": categorical}
    proved(prepared(said, estimator, seed, classes), seed)


def test_categories_that_the_estimator_takes_itself() -> None:
    booster = ensemble.HistGradientBoostingClassifier(
        max_iter=6, min_samples_leaf=3, categorical_features="from_dtype"
    )
    said = {"numeric": {"impute": "none"}, "categorical": {"encode": "none"}}
    assert proved(prepared(said, booster, 2, 2), 2).form == "onnxruntime"


def test_the_threshold_of_a_label() -> None:
    inner = linear_model.LogisticRegression()
    threshold = FixedThresholdClassifier(
        inner, threshold=0.3, pos_label=1, response_method="predict_proba"
    )
    proved(prepared({}, threshold, 2, 2), 2)
