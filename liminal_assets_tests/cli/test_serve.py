"""``liminal serve``: the champion in the foreground, whichever that is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import tritonclient.grpc as triton
from sklearn.base import clone

from liminal_assets.serving.control.evidence import read_report
from liminal_assets.serving.port import bound_socket
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.steps.score import Scorer
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tracking import tracking_client
from liminal_assets_tests.champions import INPUTS, Shop, fitted, flights
from liminal_assets_tests.cli.test_predict import run


@contextmanager
def serving(served: Shop, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "liminal_assets.cli.main", "serve", "late_api", *options]
    with subprocess.Popen(
        command,
        cwd=served.project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        try:
            assert process.stdout
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert found
            with httpx.Client(base_url=found[0], timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def until(done: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_promotion_swaps_the_version_under_load_and_every_answer_is_logged(served: Shop) -> None:
    rows = flights(8, seed=4)
    asked = rows[[*INPUTS, "flight_id"]].astype(object)
    records = asked.where(asked.notna(), None).to_dict("records")
    expected = {}
    for version in (served.registry.champion("late"), served.register(promote=False)):
        assert version
        scores = Scorer(served.pipeline(version))(rows[INPUTS])
        expected[str(version.version)] = scores.probabilities["probability"].tolist()
    seen: list[httpx.Response] = []
    over = threading.Event()
    with serving(served) as (process, client):
        until(lambda: client.get("/readyz").status_code == 200)

        def ask() -> None:
            while not over.is_set():
                seen.append(client.post("/predict", json=records))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(seen) > 20)
        served.registry.promote("late", 2)
        until(lambda: seen[-1].headers["x-model-version"] == "2")
        # and back again
        served.registry.rollback("late")
        until(lambda: seen[-1].headers["x-model-version"] == "1")
        over.set()
        for thread in threads:
            thread.join()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    ids = set()
    for response in seen:
        assert response.status_code == 200
        said = response.json()
        answered = [row["probability"] for row in said["predictions"]]
        # what the certificate of a compiled form allows
        assert answered == pytest.approx(expected[said["model_version"]], abs=1e-9)
        ids |= {row["prediction_id"] for row in said["predictions"]}
    logged = PredictionLog(served.project, "late_api").read().to("arrow")
    assert set(logged["prediction_id"].to_pylist()) == ids
    assert set(logged["model_version"].to_pylist()) == {"1", "2"}
    assert set(logged["flight_id"].to_pylist()) == set(rows["flight_id"])


@pytest.mark.slow
def test_without_a_champion_it_starts_and_says_what_is_missing(served: Shop) -> None:
    tracking_client(served.project).delete_registered_model_alias("shop.late", "champion")
    with serving(served, "--workers", "2", "--grpc-port", "0") as (process, client):
        until(lambda: _problem(client).startswith("late has no champion yet"))
        assert client.get("/readyz").status_code == 503
        assert process.stdout
        address = process.stdout.readline().removeprefix("gRPC at ").strip()
        with triton.InferenceServerClient(address) as grpc:
            assert grpc.is_server_live()
            assert not grpc.is_model_ready("shop.late")
            served.registry.promote("late", 1)
            until(lambda: client.get("/readyz").status_code == 200)
            # its connection may lead to the other worker
            until(lambda: grpc.is_model_ready("shop.late", "1"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_labels_by_feedback_take_back_a_shadow_that_is_worse_by_its_metric(served: Shop) -> None:
    shadow = "{strategy: shadow, min_requests: 20, min_labels: 40, "
    shadow += "rollback_on: {metric: accuracy, worse_by: 0.02}}"
    shop = served.rewritten(
        "serve: {port: 0, reload_every: 200ms}",
        f"serve: {{port: 0, reload_every: 200ms, log_predictions: {{rotate: 200ms}}}}\n"
        f"    rollout: {shadow}",
    )
    rows = flights(60, seed=4)
    contrary = clone(fitted()).fit(rows[INPUTS], 1 - rows["late"])
    asked = rows[INPUTS].astype(object)
    records = asked.where(asked.notna(), None).to_dict("records")
    journal = Journal(shop.project, "late_api")
    folders = ServingFolders.of(shop.project.state, "late_api")
    with serving(shop) as (process, client):
        until(lambda: client.get("/readyz").status_code == 200)
        shop.register(contrary)
        # what is asked before the controller has seen that the worker has it doesn't count
        until(lambda: read_report(folders))
        answer = client.post("/predict", json=records)
        # nobody is answered by a shadow
        assert answer.headers["x-model-version"] == "1"
        ids = [one["prediction_id"] for one in answer.json()["predictions"]]
        labels = [
            {"prediction_id": own, "label": int(late)}
            for own, late in zip(ids, rows["late"], strict=True)
        ]
        assert client.post("/feedback", json=labels).json()["accepted"] == 60
        until(lambda: (last := journal.last()) and last.action == "rollback")
        assert client.post("/predict", json=records[0]).headers["x-model-version"] == "1"
        assert client.get("/info").json()["candidate"] is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    last = journal.last()
    assert last
    assert (last.version, last.champion) == (2, 1)
    assert last.reason.startswith("accuracy ")
    assert "worse by" in last.reason
    labelled = last.evidence["labelled"]
    assert labelled["labels"] == 60
    assert labelled["stable"] > labelled["candidate"]
    champion = shop.registry.champion("late")
    assert champion
    assert champion.version == 1


def _problem(client: httpx.Client) -> str:
    return str(client.get("/readyz").json()["problem"] or "")


def test_a_taken_port_ends_with_one_message(
    served: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    with bound_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        code = run("serve", "late_api", "--project", served.project.root, "--port", port)
    assert code == 1
    said = capfd.readouterr().err
    assert f"port {port} of 127.0.0.1 is taken by" in said
    assert f"kill {os.getpid()}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["late_scores"], "late_scores is no server: it scores in batches"),
        (["late_apy"], "did you mean 'late_api'?"),
        (["late_api", "--port", "8123", "--grpc-port", "8123"], "can't both have port 8123"),
    ],
)
def test_what_cannot_be_served_is_a_wrong_argument(
    served: Shop, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run("serve", *arguments, "--project", served.project.root) == 2
    assert message in " ".join(capfd.readouterr().err.split())
