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
from liminal_assets.steps.signature import Field, Signature, carried_fields

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
