"""``liminal ui``: Dagster and MLflow on the project's state, stopped as a whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from liminal_assets.cli.servers import mlflow_server
from liminal_assets.language.loading import Project
from liminal_assets_tests.cli.conftest import Liminal


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def asked(url: str, query: str | None = None) -> str:
    data = json.dumps({"query": query}).encode() if query else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
def test_it_serves_the_state_of_run_and_stops_all_of_it(liminal: Liminal, shop: Path) -> None:
    assert liminal("run", "--select", "stores").code == 0
    port, mlflow_port = free_port(), free_port()
    arguments = ["ui", "--port", str(port), "--mlflow-port", str(mlflow_port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "liminal_assets.cli.main", *arguments],
        cwd=shop,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            shown = [process.stdout.readline() for _ in range(3)]
            assert shown == [
                f"Dagster: http://127.0.0.1:{port}\n",
                f"MLflow: http://127.0.0.1:{mlflow_port}\n",
                "Ctrl-C stops them\n",
            ], process.stderr
            query = (
                "{assetsOrError{...on AssetConnection"
                "{nodes{key{path} assetMaterializations(limit:1){runId}}}}}"
            )
            nodes = json.loads(asked(f"http://127.0.0.1:{port}/graphql", query))
            made = {
                "/".join(node["key"]["path"])
                for node in nodes["data"]["assetsOrError"]["nodes"]
                if node["assetMaterializations"]
            }
            assert made == {"shop/stores"}
            assert asked(f"http://127.0.0.1:{mlflow_port}/health") == "OK"
            wrong = liminal("ui", "--port", port, "--mlflow-port", mlflow_port)
            assert wrong.code == 2
            assert f"port {port} for Dagster can't be used" in wrong.err
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    deadline = time.monotonic() + 10
    for number in (port, mlflow_port):
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", number)) != 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [pytest.param(None, "false", id="unset"), pytest.param("true", "true", id="chosen")],
)
def test_mlflow_runs_no_jobs_unless_told_to(
    chosen: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", raising=False)
    if chosen:
        monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", chosen)
    server = mlflow_server(Project.of("shop", tmp_path), free_port())
    assert server is not None
    assert server.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == told


def test_projects_that_share_no_state_can_not_be_shown_together(
    liminal: Liminal, shop: Path
) -> None:
    other = shop.parent / "other"
    other.mkdir()
    (other / "liminal.yml").write_text("name: other\n")
    done = liminal("ui", "--project", shop.parent)
    assert done.code == 2
    assert "keep their state in 2 folders" in done.err
