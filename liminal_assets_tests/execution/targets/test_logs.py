"""The prediction log of servers elsewhere: what they are told of it, and what they write."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import liminal_assets as la
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.log.destination import LogDestination
from liminal_assets.serving.port import bound_socket
from liminal_assets.steps.deploy import deploy, target_mistakes
from liminal_assets.steps.proof import Proof
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.champions import Shop
from liminal_assets_tests.serving.shelf import until
from liminal_assets_tests.stored_resources import Store

AtTarget = Callable[..., tuple[la.Project, Any]]
WAREHOUSE = "url: duckdb://warehouse.duckdb"
SERVER = ("port: 0,", "port: 0, log_predictions: {to: {table: asked}, mask: {wind: hash}},")
MONITOR = (
    "deployments:",
    "monitors:\n  - {monitor: watch, deployment: late_api, drift: {}}\ndeployments:",
)


@pytest.fixture
def ready(cluster: Store, answer_of: Callable[[int], Any]) -> Store:
    answer = answer_of(1)
    cluster.answer = lambda body: (200, answer)
    return cluster


def secret_of(cluster: Store) -> bytes:
    return base64.b64decode(cluster.resource("secrets")["data"]["serving.json"])


@pytest.mark.slow
def test_what_a_container_answers_is_in_the_projects_log(
    at_target: AtTarget, ready: Store, shop: Shop, tmp_path: Path
) -> None:
    """The manifest's own command line and environment, as a process of this machine."""
    shutil.copytree(shop.project.state / "data", tmp_path / "data")
    store = ("name: shop", f"name: shop\nstorage: {{data: 'local://{tmp_path}/data'}}")
    project, block = at_target("kubernetes", store)
    deploy(project, block)
    [container] = ready.resource("deployments")["spec"]["template"]["spec"]["containers"]
    said = tmp_path / "serving.json"
    said.write_bytes(secret_of(ready))
    with bound_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
    here = {
        "--config": str(said),
        "--folder": str(tmp_path / "scratch"),
        "--host": "127.0.0.1",
        "--port": str(port),
    }
    arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=True)) | here
    variables = {item["name"]: item["value"] for item in container["env"]}
    process = subprocess.Popen(
        [
            sys.executable,
            *container["command"][1:],
            *(x for pair in arguments.items() for x in pair),
        ],
        env={**_surroundings(), **variables, "HOME": str(tmp_path)},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            def is_ready() -> bool:
                assert process.poll() is None
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            until(is_ready)
            row = Proof.of(project, block, shop.registry.version("late", 1)).row
            answers = [
                client.post("/predict", json={"records": [row, row]}).json() for _ in range(3)
            ]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    logged = PredictionLog(project, "late_api").read().to("pandas")
    ids = [row["prediction_id"] for answer in answers for row in answer["predictions"]]
    assert sorted(logged.prediction_id) == sorted(ids)
    assert set(logged.model_version) == {"1"}
    assert logged.carrier.unique().tolist() == [row["carrier"]]


def _surroundings() -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_a_database_and_its_password_are_in_the_secret_alone(
    at_target: AtTarget, ready: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "a-very-secret-password")
    url = "url: 'postgres://me:{{ env.DB_PASSWORD }}@db/logs'"
    project, block = at_target("kubernetes", (WAREHOUSE, url), SERVER)
    assert list(target_mistakes(project)) == []
    deploy(project, block)
    config = WorkerConfig.from_json(secret_of(ready))
    assert config.log
    assert config.log.table == "asked"
    log, _ = config.log.as_project(project.root)
    assert log.connection("warehouse").url == "postgres://me:a-very-secret-password@db/logs"
    assert config.spool
    assert list(config.spool.recording.salts) == ["wind"]
    salt = config.spool.recording.salts["wind"]
    public = config.public.to_json().decode()
    elsewhere = json.dumps(ready.resource("deployments"))
    for secret in ("a-very-secret-password", salt):
        assert secret not in public
        assert secret not in elsewhere


def test_options_of_the_tables_are_not_public(at_target: AtTarget) -> None:
    options = "storage: {data: 's3://b/tables', data_options: {key: me, secret: hidden-key}}"
    project, block = at_target("kubernetes", ("name: shop", f"name: shop\n{options}"))
    found = LogDestination.of(project, block)
    assert found
    assert found.data_options == {"key": "me", "secret": "hidden-key"}
    assert found.public == LogDestination("shop", "late_api", "late", data="s3://b/tables")


def test_a_log_of_this_machine_is_not_kept_elsewhere(at_target: AtTarget, ready: Store) -> None:
    project, block = at_target("kubernetes")
    assert list(target_mistakes(project)) == []
    deploy(project, block)
    config = WorkerConfig.from_json(secret_of(ready))
    assert (config.spool, config.log) == (None, None)


@pytest.mark.parametrize(
    ("target", "changes", "severity", "message"),
    [
        ("kubernetes", [SERVER], "error", "can't write the prediction log of this machine"),
        ("kserve", [MONITOR], "warning", "watch has nothing to look at: a server at 'kserve'"),
        (
            "sagemaker",
            [SERVER, (WAREHOUSE, "url: postgres://db/logs"), (", mask: {wind: hash}", "")],
            "error",
            "has no password for a database",
        ),
        (
            "sagemaker",
            [
                ("name: shop", "name: shop\nstorage: {data: s3://b/tables}"),
                ("port: 0,", "port: 0, log_predictions: {mask: {wind: hash}},"),
            ],
            "error",
            "no key to hash wind with",
        ),
    ],
)
def test_a_log_that_can_not_be_written_is_told_at_its_line(
    at_target: AtTarget, target: str, changes: list[tuple[str, str]], severity: str, message: str
) -> None:
    project, _ = at_target(target, *changes)
    (mistake,) = target_mistakes(project)
    assert message in mistake.message
    assert mistake.severity == severity
    line = project.file.read_text().splitlines()[mistake.location.line - 1]
    assert "log_predictions" in line or "deployment: late_api" in line
