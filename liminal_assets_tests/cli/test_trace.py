"""``liminal trace``: from a prediction's id to everything that it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from liminal_assets.language.deployments import Deployment
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.log.recording import drain_of, spool_settings
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.steps.batch import score_batch
from liminal_assets.storage.ids import sampled
from liminal_assets.storage.tracking import tracking_client
from liminal_assets_tests.champions import PARTITIONS, Shop
from liminal_assets_tests.cli.conftest import Liminal
from liminal_assets_tests.serving.conftest import running

ROW = {
    "flight_id": "F1",
    "departs_at": "2026-01-05T10:00:00",
    "distance": 900.0,
    "stops": 1,
    "carrier": "AA",
    "wind": None,
}


@contextmanager
def server(served: Shop, *, drained: bool = True) -> Iterator[httpx.Client]:
    """The deployment's server in this process, its log merged at the end."""
    project = served.project
    block = project.blocks["late_api"]
    assert isinstance(block, Deployment)
    release = prepare_release(project, block, 1)
    spool = Spool(
        ServingFolders.of(project.state, "late_api").spool,
        spool_settings(project, block),
        drain=drain_of(project, block) if drained else None,
    )
    app = ServingApp(LiveModel.fixed(ServedModel.from_release(release)), log=spool)
    with running(app) as client:
        yield client


def predicted(client: httpx.Client, *rows: dict[str, Any]) -> list[str]:
    answer = client.post("/predict", json=list(rows)).json()
    return [row["prediction_id"] for row in answer["predictions"]]


def traced(liminal: Liminal, served: Shop, own: str) -> Any:
    done = liminal("trace", own, "--json", "--project", served.project.root)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_served_prediction_is_traced_by_its_own_id_or_its_rows(
    liminal: Liminal, served: Shop
) -> None:
    with server(served) as client:
        (one,) = predicted(client, ROW)
        two = predicted(client, ROW, {**ROW, "flight_id": "F2", "distance": 2000.0})
        (third,) = predicted(client, {**ROW, "flight_id": "F3"})
        assert client.post("/feedback", json={"flight_id": "F3", "label": 1}).status_code == 200
        client.post("/feedback", json={"prediction_id": two[1], "label": 0})
        client.post("/feedback", json={"prediction_id": two[1], "label": 1})
    found = traced(liminal, served, one)
    assert (found["deployment"], found["kind"], found["label"]) == ("late_api", "served", None)
    assert found["about"] == {"flight_id": "F1", "departs_at": "2026-01-05 10:00:00"}
    assert found["inputs"] == {"distance": 900.0, "stops": 1, "carrier": "AA", "wind": None}
    assert set(found["answer"]) == {"prediction", "probability"}
    lineage = found["lineage"]
    assert (lineage["model"], lineage["version"]) == ("shop.late", "1")
    assert lineage["mlflow_run"] == served.registry.version("late", 1).run_id
    row = traced(liminal, served, two[1])
    assert row["inputs"]["distance"] == 2000.0
    assert row["label"]["label"] == 1
    assert [label["label"] for label in row["labels"]] == [0, 1]
    assert traced(liminal, served, third)["label"]["label"] == 1
    rows = traced(liminal, served, two[0].removesuffix("-0"))
    assert [found["prediction_id"] for found in rows] == two
    said = liminal("trace", two[1], "--project", served.project.root).out
    for part in ("shop.late version 1", "F2", "2000", "MLflow run", "truth", "feedback"):
        assert part in said


def test_a_prediction_on_its_way_to_the_log_is_found(liminal: Liminal, served: Shop) -> None:
    with server(served, drained=False) as client:
        (one,) = predicted(client, ROW)
    found = traced(liminal, served, one)
    assert found["waiting"] is True
    assert found["inputs"]["distance"] == 900.0


def test_a_batch_score_is_traced_with_its_partition(liminal: Liminal, served: Shop) -> None:
    for partition in PARTITIONS:
        score_batch(served.project, "late_scores", partition, chunk_rows=64)
    scores = served.store.read("late_scores", [PARTITIONS[1]]).to("pandas")
    assert scores["prediction_id"].is_unique
    row = scores.iloc[130]
    found = traced(liminal, served, row["prediction_id"])
    assert (found["kind"], found["partition"]) == ("batch", PARTITIONS[1])
    assert found["about"]["flight_id"] == row["flight_id"]
    assert found["answer"]["probability"] == row["probability"]
    assert found["lineage"]["version"] == "1"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        pytest.param("nonsense", "an id has 32 hexadecimal digits", id="no id"),
        pytest.param(
            "01a20fa76bc6e154f164075511f7aeb5", "by its id it was made at 20", id="no row"
        ),
        pytest.param("f" * 32, "no moment has this id", id="of no time"),
        pytest.param("x' OR 'a'='a", "no prediction", id="no SQL"),
    ],
)
def test_an_unknown_id_is_wrong_input(liminal: Liminal, served: Shop, own: str, said: str) -> None:
    with server(served) as client:
        predicted(client, ROW)
    done = liminal("trace", own, "--project", served.project.root)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_log_of_a_share_says_so_and_masked_columns_are_shown_masked(
    liminal: Liminal, served: Shop
) -> None:
    served = served.rewritten(
        "serve: {port: 0,",
        "serve: {log_predictions: {sample: 0.5, mask: {carrier: hash, stops: drop, wind: 'null'}}, "
        "port: 0,",
    )
    with server(served) as client:
        ids = [predicted(client, {**ROW, "wind": 7.5})[0] for _ in range(24)]
    inside = next(own for own in ids if sampled(own, 0.5))
    outside = next(own for own in ids if not sampled(own, 0.5))
    found = traced(liminal, served, inside)
    assert found["sample_rate"] == 0.5
    assert found["masked"] == {"carrier": "hash", "stops": "drop", "wind": "null"}
    assert found["inputs"]["stops"] is None
    assert found["inputs"]["wind"] is None
    assert len(found["inputs"]["carrier"]) == 32
    said = liminal("trace", inside, "--project", served.project.root).out
    assert "0.5 of requests were logged" in said
    assert "masked (drop)" in said
    done = liminal("trace", outside, "--project", served.project.root)
    assert done.code == 2
    assert "logs 0.5 of its requests" in done.err


def test_what_was_logged_before_it_was_masked_is_hidden(liminal: Liminal, served: Shop) -> None:
    with server(served) as client:
        (one,) = predicted(client, ROW)
    served = served.rewritten(
        "serve: {port: 0,", "serve: {log_predictions: {mask: {carrier: hash}}, port: 0,"
    )
    assert traced(liminal, served, one)["inputs"]["carrier"] is None


def test_a_version_that_is_gone_leaves_the_rest(liminal: Liminal, served: Shop) -> None:
    with server(served) as client:
        (one,) = predicted(client, ROW)
    tracking_client(served.project).delete_model_version("shop.late", "1")
    found = traced(liminal, served, one)
    assert found["inputs"]["distance"] == 900.0
    assert "no version 1" in found["lineage"]["problem"]
