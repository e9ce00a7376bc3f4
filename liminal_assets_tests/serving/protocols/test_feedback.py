"""Labels that come later: by prediction id, by entity, typed, durable, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline

from liminal_assets.language.loading import Project
from liminal_assets.serving import create_app
from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, digest
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.drain import Drain
from liminal_assets.serving.log.records import Recording
from liminal_assets.serving.log.spool import Spool, SpoolSettings
from liminal_assets.storage.ids import new_id
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.serving.conftest import SIGNATURE, running

ENTITY = SpoolSettings(entity=("flight_id",))


class Served:
    """A server with a log, and what the log holds once it is merged."""

    def __init__(self, pipeline: Pipeline, folder: Path, settings: SpoolSettings = ENTITY) -> None:
        self.spool = Spool(folder / "spool", settings)
        self.log = PredictionLog(Project.of("shop", folder), "api")
        self.app = create_app(
            pipeline, SIGNATURE, name="shop.late", max_rows=50, max_body_mb=0.1, log=self.spool
        )
        self.client: httpx.Client

    def predict(self, row: dict[str, Any], rows: int = 1) -> list[str]:
        answer = self.client.post("/predict", json=[row] * rows).json()
        return [found["prediction_id"] for found in answer["predictions"]]

    def send(self, body: Any, status: int = 200) -> dict[str, Any]:
        response = self.client.post("/feedback", json=body)
        assert response.status_code == status, response.text
        said: dict[str, Any] = response.json()
        return said

    def merged(self) -> PredictionLog:
        assert self.spool.flush()
        self.spool.close()
        assert Drain(self.spool.folder, self.log, self.log.feedback()).merge()
        return self.log

    def labels(self) -> dict[str, str]:
        found = self.merged().labels().to("arrow").to_pylist()
        return {label["prediction_id"]: label["label"] for label in found}


@pytest.fixture
def served(pipeline: Pipeline, tmp_path: Path) -> Iterator[Served]:
    served = Served(pipeline, tmp_path)
    with running(served.app) as served.client:
        yield served


def problems(said: dict[str, Any]) -> dict[str, str]:
    return {found["field"]: found["message"] for found in said["error"]["problems"]}


def test_labels_come_by_the_id_of_a_prediction_or_of_a_row(
    served: Served, row: dict[str, Any]
) -> None:
    (one,), several = served.predict(row), served.predict(row, 3)
    assert served.send({"prediction_id": one, "label": 1})["accepted"] == 1
    said = served.send(
        [{"prediction_id": several[0], "label": 0}, {"prediction_id": several[2], "label": 1}]
    )
    assert said["accepted"] == 2
    assert len(set(said["feedback_ids"])) == 2
    assert served.labels() == {one: "1", several[0]: "0", several[2]: "1"}


def test_labels_come_by_the_entity_and_with_a_time_by_the_prediction_before_it(
    served: Served, row: dict[str, Any]
) -> None:
    (first,) = served.predict({**row, "flight_id": "F1"})
    between = datetime.now(timezone.utc).isoformat()
    (second,) = served.predict({**row, "flight_id": "F1"})
    (other,) = served.predict({**row, "flight_id": "F2"})
    served.send({"records": [{"flight_id": "F2", "label": 0}]})
    served.send({"columns": {"flight_id": ["F1"], "label": [1], "at": [between]}})
    assert served.labels() == {other: "0", first: "1"}
    assert second not in served.log.labels().to("arrow")["prediction_id"].to_pylist()


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        pytest.param({"label": 1}, "flight_id", "is missing", id="about nothing"),
        pytest.param({"prediction_id": "p"}, "label", "is missing", id="no label"),
        pytest.param({"prediction_id": "p", "label": None}, "label", "must not be", id="null"),
        pytest.param({"prediction_id": "p", "label": "1"}, "label", "must be a whole", id="text"),
        pytest.param({"prediction_id": "p", "label": True}, "label", "must be a whole", id="bool"),
        pytest.param({"prediction_id": 3, "label": 1}, "prediction_id", "must be text", id="id"),
        pytest.param({"prediction_id": "", "label": 1}, "prediction_id", "must not be", id="empty"),
        pytest.param(
            {"prediction_id": " ", "label": 1}, "prediction_id", "must not be", id="blank"
        ),
        pytest.param(
            {"prediction_id": "p", "flight_id": "F1", "label": 1},
            "flight_id",
            "is about prediction p already",
            id="about both",
        ),
        pytest.param(
            {"prediction_id": "p", "at": "2026-01-01", "label": 1},
            "at",
            "goes with an entity",
            id="a time with an id",
        ),
        pytest.param(
            {"prediction_id": "p", "labelled_at": "2999-01-01T00:00:00", "label": 1},
            "labelled_at",
            "is in the future",
            id="a clock that is ahead",
        ),
        pytest.param(
            {"prediction_id": "p", "lable": 1, "label": 1}, "lable", "", id="an unknown field"
        ),
    ],
)
def test_a_wrong_label_is_refused_with_a_message_for_its_field(
    served: Served, body: dict[str, Any], field: str, message: str
) -> None:
    found = problems(served.send([{"prediction_id": "p", "label": 0}, body], 422))
    assert list(found) == [field]
    assert found[field].startswith(message)
    # nothing of a request that was refused is kept
    assert served.merged().feedback().read().rows == 0


def test_the_same_label_twice_is_one_and_a_correction_wins_by_its_time(
    served: Served, row: dict[str, Any]
) -> None:
    (one,) = served.predict(row)
    for _ in range(3):
        served.send({"prediction_id": one, "label": 0, "labelled_at": "2026-01-01T10:00:00"})
    served.send({"prediction_id": one, "label": 1, "labelled_at": "2026-01-01T12:00:00"})
    # what is repeated late is older all the same
    served.send({"prediction_id": one, "label": 0, "labelled_at": "2026-01-01T10:00:00"})
    assert served.labels() == {one: "1"}
    history = served.log.feedback().read().to("arrow").to_pylist()
    assert [(found["label"], found["labelled_at"].hour) for found in history] == [
        ("0", 10),
        ("1", 12),
    ]


def test_labels_of_unknown_predictions_are_kept(served: Served, row: dict[str, Any]) -> None:
    (one,) = served.predict(row)
    unknown = new_id()
    served.send([{"prediction_id": i, "label": 1} for i in (one, unknown, "whatever")])
    served.send({"flight_id": "nobody", "label": 0})
    log = served.merged()
    unmatched = log.unmatched_feedback().to("arrow").to_pylist()
    assert {u["prediction_id"] or u["flight_id"] for u in unmatched} == {
        unknown,
        "whatever",
        "nobody",
    }


def test_labels_have_the_limits_and_counts_of_the_server_and_no_version(
    served: Served,
) -> None:
    many = [{"prediction_id": "p", "label": 1}] * 51
    assert served.send(many, 413)["error"]["code"] == "too_many_rows"
    assert served.client.post("/feedback", content=b"x" * 200_000).status_code == 413
    assert served.client.post("/feedback", content=b"no json").status_code == 400
    assert served.client.get("/feedback").status_code == 405
    served.send({"prediction_id": "p", "label": "x"}, 422)
    served.send({"prediction_id": "p", "label": 1})
    metrics = served.client.get("/metrics").text
    assert "liminal_labels_total 1.0" in metrics
    assert 'liminal_refusals_total{code="invalid_values"} 1.0' in metrics
    # a rollout isn't judged by mistakes in labels
    assert 'outcome="client_error",version="1"} 1.0' not in metrics


def test_an_acknowledged_label_is_on_the_disk(
    pipeline: Pipeline, tmp_path: Path, row: dict[str, Any]
) -> None:
    served = Served(pipeline, tmp_path, SpoolSettings(durable=True, entity=("flight_id",)))
    with running(served.app) as served.client:
        served.send({"prediction_id": "p", "label": 1})
        on_disk = b"".join(path.read_bytes() for path in served.spool.folder.glob("*.segment"))
        assert b"feedback" in on_disk
        served.spool.settings = SpoolSettings(durable=True, max_mb=0)
        said = served.send({"prediction_id": "p", "label": 1}, 503)
        assert said["error"]["code"] == "log_unavailable"
        # there is room again
        served.spool.settings = ENTITY


def test_a_masked_entity_finds_its_predictions(
    pipeline: Pipeline, tmp_path: Path, row: dict[str, Any]
) -> None:
    recording = Recording(mask={"flight_id": "hash"}, salts={"flight_id": "pepper"})
    served = Served(pipeline, tmp_path, SpoolSettings(recording=recording, entity=("flight_id",)))
    with running(served.app) as served.client:
        (one,) = served.predict({**row, "flight_id": "F1"})
        served.send({"flight_id": "F1", "label": 1})
    assert served.labels() == {one: "1"}
    assert b"F1" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_an_entity_that_the_log_leaves_out_is_no_field(pipeline: Pipeline, tmp_path: Path) -> None:
    recording = Recording(mask={"flight_id": "drop"})
    served = Served(pipeline, tmp_path, SpoolSettings(recording=recording, entity=("flight_id",)))
    with running(served.app) as served.client:
        found = problems(served.send({"flight_id": "F1", "label": 1}, 422))
    assert "flight_id" in found


def test_a_server_without_a_log_takes_no_labels(client: httpx.Client) -> None:
    response = client.post("/feedback", json={"prediction_id": "p", "label": 1})
    assert response.status_code == 404


def test_before_there_is_a_model_no_label_has_a_type(tmp_path: Path) -> None:
    from liminal_assets.serving.app import ServingApp

    app = ServingApp(LiveModel(State(problem="soon")), log=Spool(tmp_path), guard=Guard())
    with running(app) as client:
        response = client.post("/feedback", json={"prediction_id": "p", "label": 1})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_FIELDS = st.sampled_from(["prediction_id", "flight_id", "label", "at", "labelled_at", "other"])


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.lists(st.dictionaries(_FIELDS, _VALUES, max_size=4), max_size=3) | _VALUES)
def test_whatever_is_sent_is_taken_or_refused(served: Served, body: Any) -> None:
    import json

    response = served.client.post("/feedback", content=json.dumps(body))
    assert response.status_code in (200, 400, 413, 422), response.text
    if response.status_code == 200:
        assert response.json()["accepted"] == len(response.json()["feedback_ids"])


def test_labels_need_a_key_and_room_as_predictions_do(pipeline: Pipeline, tmp_path: Path) -> None:
    served = Served(pipeline, tmp_path)
    key = "a-key-that-is-long-enough"
    keys = Authenticator(AuthConfig(keys={"billing": digest(key.encode())}))
    label = {"prediction_id": "p", "label": 1}
    with running(served.app) as served.client:
        served.app.guard.authenticator = keys
        assert served.send(label, 401)["error"]["code"] == "unauthenticated"
        served.client.headers["x-api-key"] = key
        served.send(label)
        served.app.guard.limits = msgspec.structs.replace(served.app.guard.limits, under_way=0)
        assert served.send(label, 503)["error"]["code"] == "overloaded"
    assert served.merged().feedback().read().rows == 1
