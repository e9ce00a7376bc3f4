"""Whatever comes over HTTP is answered, or refused in the protocol's own form."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.serving.app import ServingApp
from liminal_assets_tests.serving.conftest import SIGNATURE, flights
from liminal_assets_tests.serving.protocols.test_arrow import stream

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
INFER = "/v2/models/shop.late/infer"
FUZZ = settings(max_examples=120, deadline=None, derandomize=True)


def parquet() -> bytes:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(flights(3)), sink)
    return bytes(sink.getvalue().to_pybytes())


GOOD = {
    ("/predict", ARROW): stream(flights(3)),
    ("/predict", f"{ARROW};lz4"): stream(flights(3), compression="lz4"),
    ("/invocations", PARQUET): parquet(),
    ("/invocations", "text/csv"): flights(3).to_csv().encode(),
}


def ask(app: ServingApp, path: str, body: bytes, **headers: str) -> httpx.Response:
    """One request in process."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(asked())


def well_formed(path: str, response: httpx.Response) -> None:
    assert response.status_code in (200, 400, 404, 413, 415, 422), response.text
    if response.status_code == 200:
        return
    if response.status_code == 415:
        assert response.text
        return
    said = json.loads(response.content, parse_constant=lambda name: pytest.fail(name))
    if path == "/predict":
        assert said["error"]["code"]
        assert said["error"]["message"]
    elif path == "/invocations":
        assert said["error_code"]
        assert said["message"]
    else:
        assert list(said) == ["error"]


@FUZZ
@given(
    st.sampled_from(
        [
            ("/predict", "application/json"),
            ("/invocations", "application/json"),
            (INFER, "application/json"),
            *GOOD,
        ]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_are_refused(app: ServingApp, to: tuple[str, str], body: bytes) -> None:
    path, kind = to
    response = ask(app, path, body, **{"content-type": kind})
    well_formed(path, response)
    assert response.status_code != 200


@FUZZ
@given(st.sampled_from(list(GOOD)), st.data())
def test_a_good_body_with_wrong_bytes_is_answered_or_refused(
    app: ServingApp, to: tuple[str, str], data: st.DataObject
) -> None:
    path, kind = to
    body = bytearray(GOOD[to])
    places = st.integers(0, len(body) - 1)
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        body[at] = byte
    well_formed(path, ask(app, path, bytes(body), **{"content-type": kind}))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
names = st.sampled_from([*SIGNATURE.known, "other"])
record = st.dictionaries(names, scalars, max_size=6)
values: Any = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
mlflow = st.dictionaries(
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params"]),
    st.lists(record, max_size=3)
    | record
    | st.dictionaries(names, st.lists(scalars, max_size=2), max_size=6)
    | st.fixed_dictionaries(
        {"columns": st.lists(names, max_size=3), "data": st.lists(values, max_size=2)}
    )
    | values,
    max_size=2,
)
tensor = st.fixed_dictionaries(
    {
        "name": names,
        "datatype": st.sampled_from(["FP64", "INT64", "BOOL", "BYTES", "FP16", "x"]),
        "shape": st.lists(st.sampled_from([-1, 0, 1, 2, 2**40]), max_size=3),
    },
    optional={
        "data": values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20)}),
    },
)
infer = st.fixed_dictionaries(
    {"inputs": st.lists(tensor, max_size=3)},
    optional={
        "id": st.text(max_size=3),
        "outputs": st.lists(st.fixed_dictionaries({"name": names})),
        "parameters": st.dictionaries(st.just("binary_data_output"), scalars),
    },
)


@FUZZ
@given(mlflow)
def test_mlflows_forms_are_answered_or_refused(app: ServingApp, said: Any) -> None:
    kind = {"content-type": "application/json"}
    well_formed("/invocations", ask(app, "/invocations", json.dumps(said).encode(), **kind))


@FUZZ
@given(infer, st.binary(max_size=24))
def test_tensors_are_answered_or_refused(app: ServingApp, said: Any, raw: bytes) -> None:
    head = json.dumps(said).encode()
    length = {"inference-header-content-length": str(len(head))}
    well_formed(INFER, ask(app, INFER, head + raw, **length))


FIXED = [
    *(pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("ns"), pa.duration("us"), pa.null()),
    *(pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.timestamp("us", "+05:45")),
    *(pa.decimal128(38, 10), pa.decimal256(76, -3), pa.binary(3), pa.month_day_nano_interval()),
]
"""Types whose values are so many bytes, whatever these are."""
OTHERS = [
    pa.array(["a", None]),
    pa.array([b"\xff", b""], pa.large_binary()),
    pa.array(["x", "y"], pa.string_view()),
    pa.array([True, None]),
    pa.array([[1.0], []]),
    pa.array([{"a": 1}, None]),
    pa.array(["x", "x"]).dictionary_encode(),
    pa.array([1.5, None]).dictionary_encode(),
    pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([7.0])),
    pa.array([[(1, 2)], None], pa.map_(pa.int8(), pa.int8())),
]


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """Two values of some type."""
    kind = draw(st.sampled_from([*FIXED, None]))
    if kind is None:
        return draw(st.sampled_from(OTHERS))
    if pa.types.is_null(kind):
        return pa.nulls(2)
    size = 2 * kind.bit_width // 8
    zeros, odd = st.just(bytes(size)), st.binary(min_size=size, max_size=size)
    nulls = draw(st.sampled_from([None, pa.py_buffer(b"\x01")]))
    return pa.Array.from_buffers(kind, 2, [nulls, pa.py_buffer(draw(zeros | odd))])


@FUZZ
@given(st.dictionaries(names, columns(), min_size=1), st.booleans())
def test_columns_of_any_type_are_answered_or_refused(
    app: ServingApp, said: dict[str, pa.Array], whole: bool
) -> None:
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(flights(2), preserve_index=False) if whole else None
    for name, column in said.items():
        if table is None:
            table = pa.table({name: column})
        elif name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    well_formed("/predict", ask(app, "/predict", stream(table), **{"content-type": ARROW}))
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(table, sink)
    except (pa.ArrowException, OSError, ValueError):
        # what Parquet can't hold
        return
    body = sink.getvalue().to_pybytes()
    well_formed("/invocations", ask(app, "/invocations", body, **{"content-type": PARQUET}))
