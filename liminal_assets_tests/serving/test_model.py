"""A served version answers exactly as its pipeline, whichever form the rows have inside."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

import liminal_assets as la
from liminal_assets.serving.model import PipelinePredictor, ServedModel
from liminal_assets.steps.signature import Field, Signature

NAMES = ["a", "b", "c"]
DOUBLES = Signature(tuple(Field(name, "double", required=False) for name in NAMES))


def rows(count: int = 300, *, nulls: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=NAMES)
    if nulls:
        frame = frame.mask(random.random(frame.shape) < 0.2)
    return frame


def as_columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        name: [None if value != value else value for value in frame[name].tolist()]
        for name in frame
    }


@pytest.mark.parametrize("nulls", [False, True], ids=["numbers", "nulls"])
@pytest.mark.parametrize(
    ("steps", "matrix"),
    [
        pytest.param([StandardScaler()], True, id="standard"),
        pytest.param([MinMaxScaler(clip=True)], True, id="minmax"),
        pytest.param([RobustScaler(quantile_range=(10, 90))], True, id="robust"),
        pytest.param([MaxAbsScaler(), StandardScaler()], True, id="two scalers"),
        pytest.param([StandardScaler(with_mean=False), SimpleImputer()], True, id="imputer after"),
        pytest.param([SimpleImputer(), StandardScaler()], False, id="imputer first"),
        pytest.param(
            [StandardScaler().set_output(transform="pandas")], False, id="names handed on"
        ),
    ],
)
def test_answers_are_exactly_the_pipelines(steps: list[Any], matrix: bool, nulls: bool) -> None:
    frame = rows(nulls=nulls)
    imputed = any(isinstance(step, SimpleImputer) for step in steps)
    final = LogisticRegression() if imputed else HistGradientBoostingClassifier(max_iter=5)
    pipeline = make_pipeline(*steps, final).fit(frame, rows()["a"] > 0)
    predictor = PipelinePredictor(pipeline, DOUBLES)
    assert (predictor._form == DOUBLES.matrix) is matrix
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in (frame, frame.head(1), frame.iloc[7:9]):
            scores = predictor(as_columns(part), len(part))
            assert scores.prediction.tolist() == pipeline.predict(part).tolist()
            expected = pipeline.predict_proba(part)[:, 1].tolist()
            assert scores.probabilities["probability"].tolist() == expected
    assert list(pipeline[0].feature_names_in_) == NAMES


def test_an_example_is_completed_and_has_been_answered() -> None:
    frame = rows()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, frame["a"] > 0)
    doubles = Signature(tuple(Field(name, "double") for name in NAMES), (Field("id", "long"),))
    example = {"b": 2, "unknown": 3}
    model = ServedModel.of(pipeline, doubles, name="m", version="1", example=example)
    assert model.example == {"id": None, "a": 1.0, "b": 2.0, "c": 1.0}


def test_a_pipeline_that_refuses_what_its_signature_allows_is_not_served() -> None:
    frame = rows()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, frame["a"] > 0)
    with pytest.raises(la.StepError, match="the model can't answer: ValueError"):
        ServedModel.of(pipeline, DOUBLES, name="m", version="1")
