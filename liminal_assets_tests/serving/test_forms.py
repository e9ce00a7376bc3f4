"""One row is answered by one sum, where that is sure to be what the pipeline computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from liminal_assets.serving.forms.compiled import Compiled
from liminal_assets.serving.forms.folded import Folded
from liminal_assets.serving.model import PipelinePredictor, ServedModel
from liminal_assets.steps.compile import compile_pipeline
from liminal_assets.steps.signature import Signature

NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(np.random.default_rng(0).normal(3, 2, (200, 3)), columns=NAMES)
SIGNATURE = Signature.of(FRAME)


def compiled(pipeline: Any, folder: Path) -> Compiled:
    description = compile_pipeline(pipeline, SIGNATURE)
    description.write(folder)
    return Compiled(json.loads(json.dumps(description.said)), folder, SIGNATURE.names)


def classifier(*steps: Any) -> Any:
    return make_pipeline(*steps, LogisticRegression()).fit(FRAME, FRAME["a"] > FRAME["b"])


@pytest.mark.parametrize("scaler", [StandardScaler(), StandardScaler(with_mean=False)])
def test_a_scaled_linear_model_is_one_sum(scaler: Any, tmp_path: Path) -> None:
    pipeline = classifier(scaler)
    form = compiled(pipeline, tmp_path)
    assert form.folded is not None
    expected = pipeline.predict_proba(FRAME)[:, 1]
    for row, probability in zip(FRAME.to_numpy().tolist(), expected, strict=True):
        assert form.folded(row) is not None
        assert form.single(row)["probability"] == pytest.approx(probability, abs=1e-12)


@pytest.mark.parametrize(
    "row",
    [[1e12, 0.0, 1.0], [1e308, 1e308, -1e308], [None, 0.0, 0.0], [1e300, -1e300, 0.0]],
    ids=["large", "largest", "null", "cancelled"],
)
def test_a_row_of_which_that_is_not_sure_takes_the_long_way(row: list[Any], tmp_path: Path) -> None:
    form = compiled(classifier(StandardScaler()), tmp_path)
    assert form.folded is not None
    assert form.folded(row) is None


def test_a_row_at_the_decision_takes_the_long_way() -> None:
    folded = Folded([1.0, -1.0], 0.0, 0.0, relative=False)
    assert folded([0.1 + 0.2, 0.3]) is None
    assert folded([0.4, 0.3]) == pytest.approx(0.1)


def test_an_error_that_is_small_for_the_value_is_small_enough(tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME["a"] * 1e6)
    form = compiled(pipeline, tmp_path)
    row = [123456.0, 1.0, 1.0]
    assert form.folded is not None
    assert form.folded(row) is not None
    columns = {name: [value] for name, value in zip(NAMES, row, strict=True)}
    expected = PipelinePredictor(pipeline, SIGNATURE)(columns, 1).prediction.item()
    assert form.single(row)["prediction"] == pytest.approx(expected, rel=1e-12)


def test_what_is_no_such_sum_has_none(tmp_path: Path) -> None:
    assert compiled(classifier(MinMaxScaler(clip=True)), tmp_path).folded is None


def test_a_server_of_ones_own_pipeline_answers_with_the_certified_form() -> None:
    pipeline = classifier(StandardScaler())
    made = ServedModel.of(pipeline, SIGNATURE, name="m", version="1", known=FRAME)
    itself = ServedModel.of(pipeline, SIGNATURE, name="m", version="1", form="pipeline")
    assert (made.form, itself.form) == ("numpy", "pipeline")
    assert made.certificate["rows"] == len(FRAME)
    assert made.certificate["largest_difference"] <= made.certificate["tolerance"]
    row = FRAME.iloc[0].tolist()
    expected = itself.predict_one(row)
    assert made.predict_one(row) == pytest.approx(expected)


def test_a_pipeline_that_cannot_be_compiled_answers_itself_and_says_why() -> None:
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier())
    pipeline.fit(FRAME, FRAME["a"] > FRAME["b"])
    made = ServedModel.of(pipeline, SIGNATURE, name="m", version="1", known=FRAME)
    assert made.form == "pipeline"
    assert "KNeighborsClassifier" in made.certificate["refused"]["compiled"]
