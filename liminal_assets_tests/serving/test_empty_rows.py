"""A row that holds none of the model's fields is a mistake and no row of nulls, in any protocol."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from liminal_assets.serving import create_app
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.protocols.records import decode
from liminal_assets.serving.protocols.typed import Readers
from liminal_assets.serving.validation import validated
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.conftest import running

OPTIONAL = Signature(
    (Field("a", "double", required=False), Field("b", "string", required=False)),
    carried=(Field("id", "string", required=False),),
)
MESSAGE = "is missing, as is every other field of the model"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A model that takes nulls in both of its columns."""
    x = np.linspace(0, 1, 60)
    frame = pd.DataFrame({"a": x, "b": x[::-1]}).where(x[:, None].repeat(2, 1) < 0.9)
    pipeline = HistGradientBoostingRegressor(max_iter=2).fit(frame, x)
    with running(create_app(pipeline, frame, name="shop.fee")) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({}, [0]),
        ([{}], [0]),
        ([{"a": 1}, {}], [1]),
        ({"records": [{}, {"a": 1}, {}]}, [0, 2]),
        ({"columns": [], "data": [[]]}, [0]),
    ],
)
def test_predict_refuses_it_with_its_row_and_the_fields(
    client: httpx.Client, body: Any, rows: list[int]
) -> None:
    response = client.post("/predict", json=body)
    assert response.status_code == 422
    problems = response.json()["error"]["problems"]
    assert [(one["row"], one["field"], one["message"]) for one in problems] == [
        (row, "a", MESSAGE) for row in rows
    ]
    assert problems[0]["hint"] == "send some of a, b; null where a value isn't known"


@pytest.mark.parametrize("body", [{"a": None}, [{"a": 1}, {"b": None}], {"columns": {"b": [None]}}])
def test_null_is_said_and_answered(client: httpx.Client, body: Any) -> None:
    assert client.post("/predict", json=body).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({"dataframe_records": [{}]}).encode()),
        ("application/json", json.dumps({"instances": [{"other": 1}]}).encode()),
        (
            "application/json",
            json.dumps({"dataframe_split": {"columns": [], "data": [[]]}}).encode(),
        ),
        ("text/csv", b"x,y\n1,2\n"),
    ],
)
def test_mlflows_protocol_refuses_it(client: httpx.Client, kind: str, body: bytes) -> None:
    response = client.post("/invocations", content=body, headers={"content-type": kind})
    assert response.status_code == 400
    assert MESSAGE in response.json()["message"]


def test_parquet_without_a_column_of_the_model_is_refused(client: httpx.Client) -> None:
    file = io.BytesIO()
    pd.DataFrame({"other": [1, 2]}).to_parquet(file)
    kind = {"content-type": "application/vnd.apache.parquet"}
    response = client.post("/invocations", content=file.getvalue(), headers=kind)
    assert response.status_code == 400
    assert MESSAGE in response.json()["message"]


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({}, True),
        ({"id": "7"}, True),
        ([{"a": None, "id": "7"}], False),
        ([{"a": 1}, {"id": "7"}], True),
        ({"columns": {"id": ["7", "8"]}}, True),
        ({"columns": {"id": ["7"], "b": [None]}}, False),
    ],
)
def test_what_is_carried_along_is_no_field_of_the_model(said: Any, refused: bool) -> None:
    body = json.dumps(said).encode()
    if refused:
        assert Readers().read(body, OPTIONAL, 9) is None
        with pytest.raises(RequestError, match=MESSAGE):
            validated(decode(body, OPTIONAL, 9), OPTIONAL)
    else:
        assert validated(decode(body, OPTIONAL, 9), OPTIONAL)["a"][0] is None


def test_a_stream_of_arrow_with_the_entity_alone_is_refused() -> None:
    from liminal_assets.serving.protocols.arrow import from_stream

    table = pa.table({"id": ["7", "8"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    rows = from_stream(sink.getvalue().to_pybytes(), 9, 2**20)
    with pytest.raises(RequestError, match="2 values are wrong; a: " + MESSAGE):
        validated(rows, OPTIONAL)


def test_a_row_that_is_looked_up_by_its_entity_may_hold_nothing_else() -> None:
    rows = decode(b'[{"id": "7"}, {"id": "8"}]', OPTIONAL, 9)
    assert validated(rows, OPTIONAL, about=(0, 1))["a"] == [None, None]
    with pytest.raises(RequestError, match=MESSAGE):
        validated(rows, OPTIONAL, about=(0,))
