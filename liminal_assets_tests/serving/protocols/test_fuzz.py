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
