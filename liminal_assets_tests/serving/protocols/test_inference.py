"""The Open Inference Protocol over HTTP, asked by Triton's client and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from tritonclient.utils import InferenceServerException

from liminal_assets.serving import create_app
from liminal_assets_tests.serving.conftest import flights, running

MODEL = "shop.late"
URL = f"/v2/models/{MODEL}"
DATATYPES = {"distance": "FP64", "stops": "INT64", "carrier": "BYTES", "weekend": "BOOL"}
DATATYPES["wind"] = "FP32"
ARRAYS = {"FP64": "float64", "FP32": "float32", "INT64": "int64", "BOOL": "bool"}


def inputs(
    module: Any, frame: pd.DataFrame, shape: tuple[int, ...] = (-1,), **options: Any
) -> list[Any]:
    """A tensor per column, in the classes of one of Triton's clients."""
    made = []
    for name, datatype in DATATYPES.items():
        values = frame[name].to_numpy(dtype=ARRAYS.get(datatype, "object")).reshape(shape)
        tensor = module.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **options)
        made.append(tensor)
    return made


@pytest.fixture(scope="module")
def asking(client: httpx.Client) -> Iterator[Any]:
    url = f"{client.base_url.host}:{client.base_url.port}"
    with triton.InferenceServerClient(url) as asking:
        yield asking


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frame = flights(20)
    # what the tensor can hold
    frame["wind"] = frame["wind"].astype("float32").astype("float64")
    return frame


def test_the_server_and_its_model_tell_what_they_are(asking: Any) -> None:
    assert asking.is_server_live()
    assert asking.is_server_ready()
    assert asking.is_model_ready(MODEL)
    assert asking.is_model_ready(MODEL, "7")
    assert not asking.is_model_ready(MODEL, "8")
    assert not asking.is_model_ready("other")
    assert "binary_tensor_data" in asking.get_server_metadata()["extensions"]
    said = asking.get_model_metadata(MODEL, "7")
    assert (said["name"], said["versions"]) == (MODEL, ["7"])
    assert {one["name"]: one["datatype"] for one in said["inputs"]} == {**DATATYPES, "wind": "FP64"}
    assert said["outputs"] == [
        {"name": "prediction", "datatype": "INT64", "shape": [-1]},
        {"name": "probability", "datatype": "FP64", "shape": [-1]},
    ]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["rows", "rows by 1"])
@pytest.mark.parametrize("out", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary in", "JSON in"])
def test_tensors_are_answered_as_the_pipeline_does(
    asking: Any, pipeline: Pipeline, rows: pd.DataFrame, shape: Any, out: bool, binary: bool
) -> None:
    some = rows if binary else rows.dropna()
    wanted = [
        triton.InferRequestedOutput(name, binary_data=out) for name in ("probability", "prediction")
    ]
    result = asking.infer(
        MODEL,
        inputs(triton, some, shape, binary_data=binary),
        outputs=wanted,
        request_id="own",
        model_version="7",
    )
    assert result.as_numpy("prediction").tolist() == pipeline.predict(some).tolist()
    expected = pipeline.predict_proba(some)[:, 1].tolist()
    assert result.as_numpy("probability").tolist() == expected
    said = result.get_response()
    assert (said["id"], said["model_name"], said["model_version"]) == ("own", MODEL, "7")
    assert [output["name"] for output in said["outputs"]] == ["probability", "prediction"]


def test_without_requested_outputs_all_come(asking: Any, rows: pd.DataFrame) -> None:
    result = asking.infer(MODEL, inputs(triton, rows))
    assert len(result.as_numpy("prediction")) == len(result.as_numpy("probability")) == len(rows)
    said = result.get_response()
    assert said["id"] == said["parameters"]["prediction_id"]


def test_a_wrong_request_is_an_error_of_the_client(asking: Any, rows: pd.DataFrame) -> None:
    with pytest.raises(InferenceServerException, match=r"distance: is missing \(row 0\)"):
        asking.infer(MODEL, inputs(triton, rows)[1:])
    wanted = [triton.InferRequestedOutput("other")]
    with pytest.raises(InferenceServerException, match="there is no output 'other'"):
        asking.infer(MODEL, inputs(triton, rows), outputs=wanted)
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        asking.infer("other", inputs(triton, rows))


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_a_matrix_of_numbers_is_rows_of_a_model_of_numbers(nested: bool) -> None:
    learned = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 3.0, 2.0]})
    data: list[Any] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    tensor = {"name": "x", "datatype": "FP64", "shape": [3, 2], "data": data}
    if not nested:
        tensor["data"] = [value for row in data for value in row]
    model = LinearRegression().fit(learned, [1.0, 2.0, 3.0])
    with running(create_app(model, learned, name="m")) as client:
        said = client.post("/v2/models/m/infer", json={"inputs": [tensor]}).json()
        wrong = client.post(
            "/v2/models/m/infer", json={"inputs": [{**tensor, "shape": [2, 3]}]}
        ).json()
    expected = model.predict(pd.DataFrame(data, columns=["a", "b"]))
    assert said["outputs"][0]["data"] == expected.tolist()
    assert wrong == {"error": "x: 3 columns, and the model takes 2"}


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "distance", "datatype": "FP64", "shape": [1], "data": [1.0], **changes}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "missing required field `inputs`"),
        ([], "Expected `object`"),
        ({"inputs": []}, "there are no rows"),
        ({"inputs": [tensor(datatype="FP65")]}, "unknown datatype 'FP65'"),
        ({"inputs": [tensor(shape=[2])]}, "needs 2 values, not 1"),
        ({"inputs": [tensor(shape=[])]}, "its shape must be"),
        ({"inputs": [tensor(shape=[-1])]}, "its shape must be"),
        ({"inputs": [tensor(shape=[1, 2], data=[1, 2])]}, "its shape must be"),
        ({"inputs": [tensor(data=None)]}, "neither 'data' nor binary"),
        ({"inputs": [tensor(), tensor()]}, "different names"),
        ({"inputs": [tensor(), tensor(name="wind", shape=[2], data=[1, 2])]}, "same number"),
        ({"inputs": [tensor(parameters={"binary_data_size": 8})]}, "larger than the binary data"),
        ({"inputs": [tensor(data=["far"])]}, "must be a number, not 'far'"),
    ],
)
def test_wrong_tensors_are_refused(client: httpx.Client, said: Any, message: str) -> None:
    refused = client.post(f"{URL}/infer", json=said)
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert message in refused.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "9" * 30])
def test_a_wrong_length_of_the_header_is_refused(client: httpx.Client, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    refused = client.post(f"{URL}/infer", content=b"{}", headers=headers)
    assert refused.status_code == 400
    assert "Inference-Header-Content-Length" in refused.json()["error"]


@pytest.mark.parametrize("raw", [b"1234567", b"\xff\xff\xff\xff", b"\x01\x00\x00\x00\xff"])
def test_wrong_binary_data_is_refused(client: httpx.Client, raw: bytes) -> None:
    for name, datatype in DATATYPES.items():
        one = {"name": name, "datatype": datatype, "shape": [1]}
        one["parameters"] = {"binary_data_size": len(raw)}
        head = json.dumps({"inputs": [one]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        assert client.post(f"{URL}/infer", content=head + raw, headers=headers).status_code == 400
    # lengths may lie
    headers = {"Inference-Header-Content-Length": str(len(head) - 1)}
    assert client.post(f"{URL}/infer", content=head + raw, headers=headers).status_code == 400


def test_unknown_paths_below_v2_are_refused_in_its_form(client: httpx.Client) -> None:
    refused = client.get("/v2/models/other/stats")
    assert refused.status_code == 404
    assert list(refused.json()) == ["error"]


def test_a_missing_number_is_nan(client: httpx.Client, asking: Any, rows: pd.DataFrame) -> None:
    some = rows.head(1).assign(wind=np.nan)
    result = asking.infer(MODEL, inputs(triton, some))
    row = {**some.to_dict("records")[0], "wind": None}
    one = client.post("/predict", json=row).json()["predictions"][0]
    assert result.as_numpy("probability").tolist() == [one["probability"]]
