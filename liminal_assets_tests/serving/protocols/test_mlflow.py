"""``/invocations`` beside MLflow's own scoring server, with the same model in the same process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from liminal_assets_tests.serving.conftest import flights

ROW = {"distance": 1800.0, "stops": 1, "carrier": "AA", "weekend": False, "wind": 12.5}
NAMES, VALUES = list(ROW), list(ROW.values())
JSON = "application/json"
HEAD = b"distance,stops,carrier,weekend,wind\n"


@pytest.fixture(scope="module")
def mlflow(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """MLflow's server around the pipeline."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import scoring_server
    from mlflow.types import ColSpec, Schema
    from starlette.testclient import TestClient

    inputs = [
        ColSpec("double", "distance"),
        ColSpec("long", "stops"),
        ColSpec("string", "carrier"),
        ColSpec("boolean", "weekend"),
        ColSpec("double", "wind", required=False),
    ]
    path = Path(tmp_path_factory.mktemp("mlflow"), "model")
    mlflow.sklearn.save_model(
        pipeline,
        str(path),
        signature=ModelSignature(Schema(inputs)),  # type: ignore[arg-type]
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
    with pytest.MonkeyPatch.context() as patch:
        # it sets this for its process
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        app = scoring_server.init(mlflow.pyfunc.load_model(str(path)))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client


def changed(**values: Any) -> dict[str, Any]:
    row = {name: value for name, value in {**ROW, **values}.items() if value is not ...}
    return {"dataframe_records": [row]}


def as_csv(frame: pd.DataFrame, **options: Any) -> bytes:
    return frame.to_csv(**options).encode()


def as_parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


ANSWERED = {
    "records": {"dataframe_records": [ROW, ROW]},
    "split": {"dataframe_split": {"columns": NAMES, "data": [VALUES], "index": ["a"]}},
    "instances": {"instances": [ROW]},
    "instances by name": {"instances": {name: [value] * 2 for name, value in ROW.items()}},
    "inputs by name": {"inputs": {name: [value] for name, value in ROW.items()}},
    "inputs": {"inputs": [ROW]},
    "inputs of one row": {"inputs": ROW},
    "more columns": changed(other=1),
    "parameters": {**changed(), "params": {"a": 1}},
    "another key": {**changed(), "other": 5},
    "null": changed(wind=None),
    "a whole float": changed(stops=1.0),
}
REFUSED = {
    "a missing column": changed(distance=...),
    "text for a number": changed(distance="far"),
    "two forms": {**changed(), "instances": [ROW]},
    "no form": {"records": [ROW]},
    "a list": [ROW],
    "a number": 5,
    "a record": {"dataframe_records": ROW},
    "a split list": {"dataframe_split": [ROW]},
    "a split without data": {"dataframe_split": {"columns": NAMES}},
    "no rows": {"dataframe_records": []},
    "values without names": {"instances": [1, 2]},
    "records without names": {"dataframe_records": [VALUES]},
    "a split without names": {"dataframe_split": {"data": [VALUES]}},
    "names without rows": {"dataframe_split": {"columns": NAMES, "data": []}},
    "messages": {"messages": [{"role": "user", "content": "Hello"}]},
    "a prompt besides": {"prompt": "Hello", **changed()},
}


def asked(client: Any, body: bytes, kind: str = JSON) -> Any:
    return client.post("/invocations", content=body, headers={"content-type": kind})


def same(ours: Any, theirs: Any) -> None:
    assert ours.content == theirs.content
    assert ours.status_code == theirs.status_code
    assert ours.headers["content-type"] == theirs.headers["content-type"]


@pytest.mark.parametrize("said", ANSWERED.values(), ids=ANSWERED)
def test_answers_are_mlflows_byte_for_byte(client: httpx.Client, mlflow: Any, said: Any) -> None:
    body = json.dumps(said).encode()
    same(asked(client, body), asked(mlflow, body))
    assert asked(client, body).status_code == 200


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
def test_refusals_have_mlflows_form(client: httpx.Client, mlflow: Any, said: Any) -> None:
    body = json.dumps(said).encode()
    ours, theirs = asked(client, body), asked(mlflow, body)
    assert ours.status_code == theirs.status_code == 400
    shown = {key: text for key, text in theirs.json().items() if key != "stack_trace"}
    assert {**ours.json(), "message": ""} == {**shown, "message": ""}
    assert ours.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        as_csv(flights(20), index=False),
        as_csv(flights(20)),
        b"wind,distance,stops,carrier,weekend\nNA,1, 2,007,true\n\n3.5,2.5,1.0,AA,FALSE\n",
        b"\xef\xbb\xbf" + as_csv(flights(20), index=False),
    ],
    ids=["as pandas", "with an index", "by hand", "with a mark of UTF-8"],
)
def test_csv_is_read_as_mlflow_reads_it(client: httpx.Client, mlflow: Any, body: bytes) -> None:
    for kind in ("text/csv", "text/csv; charset=utf-8"):
        same(asked(client, body, kind), asked(mlflow, body, kind))


@pytest.mark.parametrize("body", [b"", b"\xff", b"distance\nx\n", b"a,b\n1,2,3\n", HEAD])
def test_other_csv_is_refused_as_by_mlflow(client: httpx.Client, mlflow: Any, body: bytes) -> None:
    ours, theirs = asked(client, body, "text/csv"), asked(mlflow, body, "text/csv")
    assert ours.status_code == theirs.status_code == 400
    # nobody but us needs to see our stack
    assert ours.json().keys() == theirs.json().keys() - {"stack_trace"}


def test_parquet_is_read_as_mlflow_reads_it(client: httpx.Client, mlflow: Any) -> None:
    kind = "application/vnd.apache.parquet"
    body = as_parquet(flights(20))
    same(asked(client, body, kind), asked(mlflow, body, kind))
    assert asked(client, b"PAR1", kind).status_code == asked(mlflow, b"PAR1", kind).status_code


@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "APPLICATION/JSON", f"{JSON};charset=latin-1", f"{JSON}; charset=UTF-8"),
        *(f"{JSON}; boundary=x", f"{JSON};"),
    ],
)
def test_content_types_are_mlflows(client: httpx.Client, mlflow: Any, kind: str) -> None:
    body = json.dumps(changed()).encode()
    same(asked(client, body, kind), asked(mlflow, body, kind))


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_the_other_paths_are_mlflows(client: httpx.Client, mlflow: Any, path: str) -> None:
    same(client.get(path), mlflow.get(path))


def test_a_wrong_method_is_told_as_by_mlflow(client: httpx.Client, mlflow: Any) -> None:
    same(client.get("/invocations"), mlflow.get("/invocations"))


@pytest.mark.parametrize("values", [{"stops": 1.7}, {"distance": "12"}, {"distance": None}])
def test_values_that_mlflow_would_change_are_refused(
    client: httpx.Client, mlflow: Any, values: dict[str, Any]
) -> None:
    body = json.dumps(changed(**values)).encode()
    assert asked(mlflow, body).status_code == 200
    refused = asked(client, body)
    assert refused.status_code == 400
    assert refused.json()["message"].count(next(iter(values))) == 1
