"""``/predict`` with Arrow streams, good and bad."""

from __future__ import annotations

import io
import struct
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.pipeline import Pipeline

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.protocols.arrow import from_stream
from liminal_assets.serving.validation import validated
from liminal_assets.steps.signature import Field, FieldType, Signature
from liminal_assets_tests.serving.conftest import flights

KIND = "application/vnd.apache.arrow.stream"
MAX_BYTES = 2**20


def stream(rows: Any, **options: Any) -> bytes:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows)
    sink = pa.BufferOutputStream()
    options = {"options": pa.ipc.IpcWriteOptions(**options)} if options else {}
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue().to_pybytes()


def post(client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    return client.post("/predict", content=body, headers={"content-type": KIND, **headers})


def read(*columns: Any, kind: FieldType = "double", required: bool = True) -> list[Any]:
    """The checked values of one column."""
    rows = from_stream(stream(pa.table({"a": pa.chunked_array(list(columns))})), 100, MAX_BYTES)
    return validated(rows, Signature((Field("a", kind, required),)))["a"]


def refused(*columns: Any, kind: FieldType = "double", required: bool = True) -> str:
    with pytest.raises(RequestError) as caught:
        read(*columns, kind=kind, required=required)
    return caught.value.sentence


@pytest.mark.parametrize("form", ["pandas", "polars", "lz4", "zstd", "dictionary"])
def test_bulk_is_answered_in_json_and_in_arrow(
    client: httpx.Client, pipeline: Pipeline, form: str
) -> None:
    frame = flights(40)
    table = pa.Table.from_pandas(frame)
    if form == "dictionary":
        table = table.set_column(2, "carrier", table["carrier"].dictionary_encode())
    if form == "polars":
        sink = io.BytesIO()
        pl.from_pandas(frame).write_ipc_stream(sink)
        body = sink.getvalue()
    else:
        body = stream(table, compression=form if form in ("lz4", "zstd") else None)
    said = post(client, body)
    assert said.status_code == 200, said.text
    expected = pipeline.predict_proba(frame)[:, 1].tolist()
    assert [one["probability"] for one in said.json()["predictions"]] == expected
    answer = post(client, body, accept=KIND)
    assert answer.headers["content-type"] == KIND
    found = pa.ipc.open_stream(answer.content).read_all()
    assert found.column_names == ["prediction", "probability", "prediction_id"]
    assert found["probability"].to_pylist() == expected
    assert found["prediction"].to_pylist() == pipeline.predict(frame).tolist()
    assert found.schema.metadata[b"model_version"] == b"7"
    own = found.schema.metadata[b"prediction_id"].decode()
    assert found["prediction_id"].to_pylist()[3] == f"{own}-3"
    assert answer.headers["x-prediction-id"] == own


def test_json_in_arrow_out(client: httpx.Client, row: dict[str, Any]) -> None:
    answer = client.post("/predict", json=row, headers={"accept": f"{KIND}, application/json"})
    assert pa.ipc.open_stream(answer.content).read_all().num_rows == 1


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([1, 2], "int8"), "double", [1.0, 2.0]),
        (pa.array([1.5, 2], "float32"), "double", [1.5, 2.0]),
        (pa.array([1.5], "float16"), "double", [1.5]),
        (pa.array([1, 2]).cast(pa.decimal128(30, 2)), "double", [1.0, 2.0]),
        (pa.array([3, 2**62], "uint64"), "long", [3, 2**62]),
        (pa.array([3.0]), "integer", [3]),
        (pa.array([True, False]), "boolean", [True, False]),
        (pa.array(["x"], "large_string"), "string", ["x"]),
        (pa.array(["x"]).dictionary_encode(), "string", ["x"]),
        (pa.array(["x"], pa.string_view()), "string", ["x"]),
        (pa.array([b"x"], pa.binary(1)), "binary", [b"x"]),
        (pa.array([0], pa.timestamp("ns", "Europe/Paris")), "datetime", [datetime(1970, 1, 1)]),
        (pa.array([1], pa.date32()), "datetime", [datetime(1970, 1, 2)]),
        (pa.array(["1970-01-01"]), "datetime", [datetime(1970, 1, 1)]),
        (pa.array(["x"]), "any", ["x"]),
    ],
    ids=str,
)
def test_types_are_cast_where_no_value_changes(values: Any, kind: Any, expected: Any) -> None:
    found = read(values, kind=kind)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]
    nothing = pa.nulls(1, values.type)
    assert read(values, nothing, kind=kind, required=False) == [*expected, None]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (pa.array([1.0, np.inf]), "double", "a: must be finite, not inf (row 1)"),
        (pa.array([1e300]), "float", "a: must be finite as a 32-bit number"),
        (pa.array([1, 2**40]), "integer", "a: must be a whole number of 32 bits"),
        (pa.array([2**63], "uint64"), "long", "a: must be a whole number of 64 bits"),
        (pa.array([1.0, 1.5]), "long", "a: must be a whole number, not 1.5 (row 1)"),
        (pa.array([True]), "double", "a: must be a number, not true"),
        (pa.array([1]), "boolean", "a: must be true or false, not 1"),
        (pa.array(["1"]), "double", "a: must be a number, not '1'"),
        (pa.array([1]), "string", "a: must be text, not 1"),
        (pa.array(["x"]), "binary", "a: must be bytes, not 'x'"),
        (pa.array([1.0, np.nan]), "double", "a: must not be null (row 1)"),
        (pa.array([1, None]), "long", "a: must not be null (row 1)"),
        (pa.nulls(1), "double", "a: must not be null (row 0)"),
        (pa.array([[1]]), "double", "a: a column can't be of type list"),
        (pa.array([1], pa.duration("s")), "long", "a: must be a whole number"),
    ],
    ids=str,
)
def test_other_values_are_refused(values: Any, kind: Any, message: str) -> None:
    assert message in refused(values, kind=kind)


def test_nan_is_null_where_null_may_be() -> None:
    assert read(pa.array([1.0, np.nan]), required=False) == [1.0, None]


@pytest.mark.parametrize("cut", [0, 1, 4, 60, 200, -20])
def test_a_stream_that_is_cut_off_is_refused(client: httpx.Client, cut: int) -> None:
    body = stream(flights(3))
    answer = post(client, body[:cut])
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] in ("invalid_rows", "no_rows")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_would_grow_too_large_is_refused_before_it_does(compression: str) -> None:
    body = stream(pa.table({"a": ["x" * 2**25]}), compression=compression)
    assert len(body) < MAX_BYTES
    with pytest.raises(RequestError) as caught:
        from_stream(body, 100, MAX_BYTES)
    assert caught.value.status == 413


@pytest.mark.parametrize("kind", ["dictionary", "view"])
def test_values_that_many_rows_share_are_counted_for_each(kind: str) -> None:
    once = pa.array(["x" * 2**19])
    if kind == "dictionary":
        column = pa.DictionaryArray.from_arrays(pa.array([0] * 90, "int8"), once)
    else:
        # each view: its length, its first four bytes, the buffer and the place in it
        views = struct.pack("<i4sii", 2**19, b"xxxx", 0, 0) * 90
        buffers = [None, pa.py_buffer(views), pa.py_buffer(b"x" * 2**19)]
        column = pa.Array.from_buffers(pa.string_view(), 90, buffers)
    with pytest.raises(RequestError) as caught:
        from_stream(stream(pa.table({"a": column})), 100, MAX_BYTES)
    assert caught.value.status == 413


def test_too_many_rows_are_refused_even_if_they_take_no_space(client: httpx.Client) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": pa.nulls(1_000_000)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = post(client, sink.getvalue().to_pybytes())
    assert answer.status_code == 413
    assert "more than the 50" in answer.json()["error"]["message"]


def test_columns_of_the_same_name_are_refused(client: httpx.Client) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert "different names" in post(client, stream(table)).json()["error"]["message"]


def test_a_name_that_is_no_text_is_refused(client: httpx.Client) -> None:
    body = stream(flights(3)).replace(b"distance", b"dist\xffnce")
    assert post(client, body).json()["error"]["code"] == "invalid_rows"


def test_a_moment_that_python_does_not_have_is_refused(client: httpx.Client) -> None:
    table = pa.table({"a": pa.array([2**62], pa.timestamp("us", "UTC"))})
    assert post(client, stream(table)).json()["error"]["code"] == "invalid_rows"
