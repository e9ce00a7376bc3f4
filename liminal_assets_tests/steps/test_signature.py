"""A model's inputs, from MLflow's signature or from a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

import liminal_assets as la
from liminal_assets.steps.identity import carried_fields
from liminal_assets.steps.signature import Field, Signature

FRAME = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
EXPECTED = (Field("a", "double", required=False), Field("b", "string"))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(FRAME, id="a frame"),
        pytest.param(infer_signature(FRAME), id="MLflow's signature"),
        pytest.param(infer_signature(FRAME).to_dict(), id="its dictionary"),
        pytest.param(Signature(EXPECTED), id="a signature"),
    ],
)
def test_a_signature_is_read_from(source: Any) -> None:
    assert Signature.of(source).fields == EXPECTED


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pd.Series([1.5, 2.5]), id="float64"),
        pytest.param(pd.Series([1.5, None]), id="float64 with nulls"),
        pytest.param(pd.Series([1.5], dtype="float32"), id="float32"),
        pytest.param(pd.Series([1, 2]), id="int64"),
        pytest.param(pd.Series([1, 2], dtype="int32"), id="int32"),
        pytest.param(pd.Series([1, None], dtype="Int64"), id="nullable integers"),
        pytest.param(pd.Series([True, False]), id="truth values"),
        pytest.param(pd.Series(["a", None]), id="texts"),
        pytest.param(pd.Series(["a", "b"], dtype="category"), id="categories"),
        pytest.param(pd.Series([pd.Timestamp("2026-01-01")]), id="moments"),
        pytest.param(pd.Series([b"x"]), id="bytes"),
    ],
)
@pytest.mark.filterwarnings("ignore:Hint")
def test_a_frame_has_the_types_that_mlflow_infers(column: pd.Series) -> None:
    frame = pd.DataFrame({"a": column})
    assert Signature.of(frame) == Signature.of(infer_signature(frame))


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(Schema([TensorSpec(np.dtype("float64"), (-1, 3))]), id="a tensor"),
        pytest.param(Schema([ColSpec("double")]), id="no names"),
    ],
)
def test_a_signature_must_name_its_columns(schema: Schema) -> None:
    with pytest.raises(la.StepError, match="names no input columns"):
        Signature.of(ModelSignature(schema))


def test_rows_may_carry_what_says_which_row_they_are() -> None:
    signature = Signature.of(FRAME).carrying([Field("id", "long"), Field("a", "string")])
    assert list(signature.known) == ["a", "b", "id"]
    assert signature.names == ("a", "b")


def test_carried_columns_are_the_features_entity_and_timestamp(tmp_path: Path) -> None:
    from liminal_assets.storage.tables import TableStore

    project = la.Project.of(
        "shop",
        tmp_path,
        datasets=[{"dataset": "sales", "fetch": {"file": "sales.csv"}}],
        features=[{"feature": "sale", "from": "sales", "entity": ["id"], "timestamp": "sold_at"}],
        models=[{"model": "big", "features": "sale", "target": "big", "estimator": "a.B"}],
    )
    names = [Field("id", "any", required=False), Field("sold_at", "any", required=False)]
    assert carried_fields(project, "big") == tuple(names)
    row = {"id": 1, "sold_at": pd.Timestamp("2026-01-01"), "amount": 1.0}
    TableStore(project).write("sale", None, [row])
    assert [field.type for field in carried_fields(project, "big")] == ["long", "datetime"]
    assert carried_fields(project, "unknown") == ()
