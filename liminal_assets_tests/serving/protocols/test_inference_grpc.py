"""The Open Inference Protocol over gRPC, asked by Triton's client and with messages of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from liminal_assets.serving import create_app
from liminal_assets.serving.config import Grpc
from liminal_assets.serving.protocols.inference_messages import MESSAGES, SERVICE, messages
from liminal_assets_tests.serving.conftest import SIGNATURE, flights, running
from liminal_assets_tests.serving.protocols.test_inference import DATATYPES, MODEL, inputs

OURS = messages()


@pytest.fixture(scope="module")
def server(pipeline: Pipeline) -> Iterator[tuple[httpx.Client, str]]:
    """The HTTP client and the address of gRPC."""
    app = create_app(
        pipeline, SIGNATURE, name=MODEL, version="7", max_rows=50, max_body_mb=0.1, grpc=Grpc()
    )
    with running(app) as client:
        assert app.grpc is not None
        yield client, f"127.0.0.1:{app.grpc.port}"


@pytest.fixture(scope="module")
def asking(server: tuple[httpx.Client, str]) -> Iterator[Any]:
    with triton.InferenceServerClient(server[1]) as asking:
        yield asking


@pytest.fixture(scope="module")
def call(server: tuple[httpx.Client, str]) -> Iterator[Any]:
    """Calls a method with bytes."""
    with grpc.insecure_channel(server[1]) as channel:
        yield lambda method, body: channel.unary_unary(f"/{SERVICE}/{method}")(body, timeout=10)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frame = flights(20)
    frame["wind"] = frame["wind"].astype("float32").astype("float64")
    return frame


def test_the_messages_are_those_of_the_published_protocol() -> None:
    published = {}

    def collect(outer: str, message: Any) -> None:
        published[outer + message.name] = message
        for inner in message.nested_type:
            collect(f"{outer}{message.name}.", inner)

    file = descriptor_pb2.FileDescriptorProto.FromString(service_pb2.DESCRIPTOR.serialized_pb)
    for message in file.message_type:
        collect("", message)
    for name in MESSAGES:
        own = descriptor_pb2.DescriptorProto()
        OURS[name].DESCRIPTOR.CopyToProto(own)
        told = [
            sorted(
                (field.number, field.name, field.type, field.label, field.type_name)
                for field in one.field
            )
            for one in (own, published[name])
        ]
        assert told[0] == told[1]


def test_the_server_and_its_model_tell_what_they_are(asking: Any) -> None:
    assert asking.is_server_live()
    assert asking.is_server_ready()
    assert asking.is_model_ready(MODEL)
    assert asking.is_model_ready(MODEL, "7")
    assert not asking.is_model_ready(MODEL, "8")
    assert "binary_tensor_data" in asking.get_server_metadata().extensions
    said = asking.get_model_metadata(MODEL)
    assert (said.name, list(said.versions)) == (MODEL, ["7"])
    assert {one.name: one.datatype for one in said.inputs} == {**DATATYPES, "wind": "FP64"}
    assert [one.name for one in said.outputs] == ["prediction", "probability"]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["rows", "rows by 1"])
def test_tensors_are_answered_as_the_pipeline_does(
    asking: Any, pipeline: Pipeline, rows: pd.DataFrame, shape: Any
) -> None:
    result = asking.infer(MODEL, inputs(triton, rows, shape), request_id="own", model_version="7")
    assert result.as_numpy("prediction").tolist() == pipeline.predict(rows).tolist()
    expected = pipeline.predict_proba(rows)[:, 1].tolist()
    # a compiled form may differ in the last bit
    assert result.as_numpy("probability").tolist() == pytest.approx(expected, abs=1e-12)
    said = result.get_response()
    assert (said.id, said.model_name, said.model_version) == ("own", MODEL, "7")


def test_typed_contents_are_answered_with_typed_contents(
    call: Any, pipeline: Pipeline, rows: pd.DataFrame
) -> None:
    contents = {
        "distance": {"fp64_contents": rows["distance"].tolist()},
        "stops": {"int64_contents": rows["stops"].tolist()},
        "carrier": {"bytes_contents": [text.encode() for text in rows["carrier"]]},
        "weekend": {"bool_contents": rows["weekend"].tolist()},
        "wind": {"fp32_contents": rows["wind"].tolist()},
    }
    request = OURS["ModelInferRequest"](
        model_name=MODEL,
        inputs=[
            {"name": name, "datatype": DATATYPES[name], "shape": [len(rows)], "contents": said}
            for name, said in contents.items()
        ],
        outputs=[{"name": "probability"}],
    )
    said = OURS["ModelInferResponse"].FromString(call("ModelInfer", request.SerializeToString()))
    (output,) = said.outputs
    expected = pipeline.predict_proba(rows)[:, 1].tolist()
    assert list(output.contents.fp64_contents) == pytest.approx(expected, abs=1e-12)
    assert said.id == said.parameters["prediction_id"].string_param


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model_name": "other"}, "NOT_FOUND", "there is no model 'other'"),
        ({"model_version": "8"}, "NOT_FOUND", "version '8' doesn't answer"),
        ({"inputs": []}, "INVALID_ARGUMENT", "there are no rows"),
        ({"raw_input_contents": [b""] * 2}, "INVALID_ARGUMENT", "2 raw_input_contents"),
        ({"outputs": [{"name": "other"}]}, "INVALID_ARGUMENT", "is missing"),
    ],
)
def test_a_wrong_call_has_a_status_and_a_sentence(
    call: Any, change: dict[str, Any], status: str, message: str
) -> None:
    one = {"name": "distance", "datatype": "FP64", "shape": [1]}
    one["contents"] = {"fp64_contents": [1.0]}
    request = OURS["ModelInferRequest"](**{"model_name": MODEL, "inputs": [one], **change})
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelInfer", request.SerializeToString())
    assert caught.value.code().name == status
    assert message in caught.value.details()


def test_a_client_is_told_what_is_wrong(asking: Any, rows: pd.DataFrame) -> None:
    with pytest.raises(InferenceServerException, match=r"distance: is missing \(row 0\)"):
        asking.infer(MODEL, inputs(triton, rows)[1:])


def test_messages_have_the_limit_of_bodies(asking: Any, rows: pd.DataFrame) -> None:
    many = triton.InferInput("distance", [20_000], "FP64")
    many.set_data_from_numpy(np.zeros(20_000))
    with pytest.raises(InferenceServerException, match="RESOURCE_EXHAUSTED"):
        asking.infer(MODEL, [many])
    assert asking.is_server_live()


tensors = st.builds(
    dict,
    name=st.sampled_from([*SIGNATURE.known, "other", ""]),
    datatype=st.sampled_from(["FP64", "INT64", "BOOL", "BYTES", "FP16", "INT8", "UINT64", "x"]),
    shape=st.lists(st.sampled_from([-1, 0, 1, 2, 2**40]), max_size=3),
    contents=st.builds(
        dict,
        fp64_contents=st.lists(st.floats(), max_size=2),
        bytes_contents=st.lists(st.binary(max_size=3), max_size=2),
        int64_contents=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2),
        bool_contents=st.lists(st.booleans(), max_size=2),
    ),
)
requests = st.builds(
    lambda **said: OURS["ModelInferRequest"](model_name=MODEL, **said).SerializeToString(),
    inputs=st.lists(tensors, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=16), max_size=3),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(["ModelInfer", "ModelReady", "ModelMetadata"]), st.binary(max_size=60))
def test_any_bytes_are_answered_or_refused(call: Any, method: str, body: bytes) -> None:
    try:
        call(method, body)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)  # type: ignore[attr-defined]  # noqa: PT017


@settings(max_examples=150, deadline=None, derandomize=True)
@given(requests)
def test_any_tensors_are_answered_or_refused(call: Any, body: bytes) -> None:
    try:
        call("ModelInfer", body)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]  # noqa: PT017
        assert error.details()  # type: ignore[attr-defined]  # noqa: PT017
