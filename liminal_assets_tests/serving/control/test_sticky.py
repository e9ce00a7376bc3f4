"""Which version a request gets while two answer: by header, by metadata, by entity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import Grpc
from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.engine import Sticky
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.conftest import running

CARRIED = (Field("customer", "long", required=False), Field("shop", "string", required=False))


def version(number: str, *inputs: str) -> ServedModel:
    """A version whose answer is its number."""

    def predict(columns: Any, rows: int) -> Scores:
        return Scores(np.full(rows, float(number)), {})

    signature = Signature(tuple(Field(name, "double") for name in inputs), CARRIED)
    return ServedModel("shop.late", number, signature, predict)


def app_of(sticky: Sticky, *, share: float = 50.0, **more: Any) -> ServingApp:
    state = State(version("1", "a"), "2", candidate=version("2", "a"), share=share)
    return ServingApp(LiveModel(state), sticky=sticky, **more)


@pytest.fixture(scope="module")
def by_entity() -> Iterator[httpx.Client]:
    with running(app_of(Sticky(entity=("customer", "shop")))) as client:
        yield client


def answers(client: httpx.Client, rows: Sequence[dict[str, Any]]) -> str:
    response = client.post("/predict", json=list(rows))
    said = response.json()
    versions = {str(int(row["prediction"])) for row in said["predictions"]}
    # one version answers a request whole, and says so
    assert versions == {said["model_version"], response.headers["x-model-version"]}
    return str(said["model_version"])


def test_the_same_entity_gets_the_same_version_however_it_is_written(
    by_entity: httpx.Client,
) -> None:
    seen = {}
    for customer in range(60):
        row = {"a": 1.0, "customer": customer, "shop": "x"}
        seen[customer] = answers(by_entity, [row])
        split = {"columns": list(row), "data": [list(row.values())]}
        again = [
            by_entity.post("/predict", json=split),
            by_entity.post("/invocations", json={"dataframe_split": split}),
        ]
        for response in again:
            assert response.headers["x-model-version"] == seen[customer]
    assert 15 < list(seen.values()).count("2") < 45


def test_a_request_of_several_rows_goes_by_its_first(by_entity: httpx.Client) -> None:
    rows = [{"a": 1.0, "customer": customer, "shop": "x"} for customer in range(30)]
    one = [answers(by_entity, [row]) for row in rows]
    assert [answers(by_entity, [row, *rows]) for row in rows[:5]] == one[:5]


def test_without_an_entity_each_request_is_drawn(by_entity: httpx.Client) -> None:
    assert {answers(by_entity, [{"a": 1.0}]) for _ in range(40)} == {"1", "2"}


def test_the_order_of_entities_is_another_for_every_candidate() -> None:
    rows = [{"a": 1.0, "customer": customer} for customer in range(40)]
    seen = []
    for number in ("2", "3"):
        state = State(version("1", "a"), number, candidate=version(number, "a"), share=50.0)
        app = ServingApp(LiveModel(state), sticky=Sticky(entity=("customer",)))
        with running(app) as client:
            seen.append([answers(client, [row]) == number for row in rows])
    assert seen[0] != seen[1]


def test_what_the_candidate_needs_besides_is_checked_by_its_own_signature() -> None:
    state = State(version("1", "a"), "2", candidate=version("2", "b"), share=100.0)
    app = ServingApp(LiveModel(state), sticky=Sticky(entity=("customer",)))
    with running(app) as client:
        response = client.post("/predict", json=[{"a": 1.0, "customer": 3}])
    assert response.status_code == 422
    wrong = {problem["field"] for problem in response.json()["error"]["problems"]}
    assert wrong == {"a", "b"}


def test_metadata_of_a_call_is_what_headers_are_of_a_request() -> None:
    app = app_of(Sticky.of("X-Caller"), grpc=Grpc())
    with running(app) as client:
        assert app.grpc is not None
        tensor = triton.InferInput("a", [1], "FP64")
        tensor.set_data_from_numpy(np.array([1.0]))
        with triton.InferenceServerClient(f"127.0.0.1:{app.grpc.port}") as asking:
            for caller in map(str, range(20)):
                over_http = client.post("/predict", json=[{"a": 1.0}], headers={"X-Caller": caller})
                over_grpc = asking.infer("shop.late", [tensor], headers={"x-caller": caller})
                version = over_grpc.get_response().model_version
                assert version == over_http.headers["x-model-version"]


def test_a_request_that_names_its_version_gets_it(by_entity: httpx.Client) -> None:
    customers = range(8)
    for version in ("1", "2"):
        for customer in customers:
            inputs = [
                {"name": "a", "datatype": "FP64", "shape": [1], "data": [1.0]},
                {"name": "customer", "datatype": "INT64", "shape": [1], "data": [customer]},
            ]
            path = f"/v2/models/shop.late/versions/{version}/infer"
            response = by_entity.post(path, json={"inputs": inputs})
            assert response.status_code == 200
            assert response.headers["x-model-version"] == version
