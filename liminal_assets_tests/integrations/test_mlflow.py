"""MLflow runs belong to Dagster runs and end with their true status."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.integrations.mlflow import (
    DagsterRun,
    active_run,
    experiment_of,
    git_commit,
    run_url,
)
from liminal_assets.language.loading import Project
from liminal_assets.storage.tracking import import_mlflow, tracking_client


@pytest.fixture
def project(tmp_path: Path, with_mlflow: Callable[[Path], Path]) -> Project:
    return Project.of("shop", with_mlflow(tmp_path))


class InterruptedError_(BaseException):  # noqa: N801
    """What Dagster raises in a run that is stopped."""


def dagster(
    run_id: str = "run-1", alive: Callable[[str], bool] = lambda run_id: True
) -> DagsterRun:
    log = logging.getLogger("test")
    interrupted = (KeyboardInterrupt, InterruptedError_)
    return DagsterRun(run_id, f"http://dagster/runs/{run_id}", log, alive, interrupted)


def status(project: Project, run_id: str) -> str:
    return str(tracking_client(project).get_run(run_id).info.status)


def test_a_step_that_ends_well_ends_the_run_as_finished(project: Project) -> None:
    with active_run(project, "m", dagster(), {"why": "test"}) as run:
        assert status(project, run.run_id) == "RUNNING"
        assert import_mlflow().active_run().info.run_id == run.run_id
    assert status(project, run.run_id) == "FINISHED"
    tags = tracking_client(project).get_run(run.run_id).data.tags
    assert tags["dagster.run_id"] == tags["dagster_run_id"] == "run-1"
    assert tags["why"] == "test"


def test_a_later_step_of_the_same_dagster_run_goes_on_with_it(project: Project) -> None:
    with active_run(project, "m", dagster()) as first:
        pass
    with active_run(project, "m", dagster()) as second:
        assert status(project, second.run_id) == "RUNNING"
    with active_run(project, "m", dagster("run-2")) as other:
        pass
    assert first.run_id == second.run_id != other.run_id


def test_models_of_one_dagster_run_have_a_run_each(project: Project) -> None:
    with active_run(project, "m", dagster()) as one:
        pass
    with active_run(project, "n", dagster()) as other:
        pass
    assert one.run_id != other.run_id


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), "FAILED"),
        (la.StepError("wrong"), "FAILED"),
        (SystemExit(1), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (InterruptedError_(), "KILLED"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_what_stops_a_step_is_the_status_of_its_run(
    project: Project, error: BaseException, expected: str
) -> None:
    with pytest.raises(type(error)), active_run(project, "m", dagster()) as run:
        raise error
    assert status(project, run.run_id) == expected
    assert import_mlflow().active_run() is None


def test_a_step_can_say_that_it_failed(project: Project) -> None:
    with active_run(project, "m", dagster()) as run:
        run.status = "FAILED"
    assert status(project, run.run_id) == "FAILED"


def leave_running(project: Project, **tags: str) -> str:
    client = tracking_client(project)
    run = client.create_run(experiment_of(project, "m"), tags=tags)
    return str(run.info.run_id)


def dead_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


@pytest.mark.parametrize(
    ("tags", "alive", "expected"),
    [
        ({"dagster_run_id": "old", "liminal.pid": "dead", "liminal.host": "here"}, True, "KILLED"),
        ({"dagster_run_id": "old", "liminal.pid": "own", "liminal.host": "here"}, True, "RUNNING"),
        ({"dagster_run_id": "old", "liminal.pid": "own", "liminal.host": "here"}, False, "KILLED"),
        ({"dagster_run_id": "old", "liminal.pid": "dead", "liminal.host": "far"}, True, "RUNNING"),
        ({"dagster_run_id": "old", "liminal.host": "far"}, False, "KILLED"),
        ({"owner": "somebody else's"}, False, "RUNNING"),
    ],
    ids=[
        "dead process",
        "live process",
        "dead Dagster run",
        "elsewhere",
        "elsewhere ended",
        "not ours",
    ],
)
def test_runs_that_were_killed_are_ended_by_the_next(
    project: Project, tags: dict[str, str], alive: bool, expected: str
) -> None:
    process = {"dead": dead_process(), "own": str(os.getpid())}
    written: dict[str, Any] = dict(tags)
    if "liminal.pid" in written:
        written["liminal.pid"] = process[written["liminal.pid"]]
    if written.get("liminal.host") == "here":
        written["liminal.host"] = socket.gethostname()
    left = leave_running(project, **written)
    with active_run(project, "m", dagster("new", lambda run_id: alive)):
        assert status(project, left) == expected


def test_a_run_of_somebody_else_is_not_written_to(project: Project) -> None:
    mlflow = import_mlflow()
    tracking_client(project)
    mlflow.set_tracking_uri(f"sqlite:///{project.state}/mlflow/mlflow.db")
    mlflow.set_experiment(experiment_id=experiment_of(project, "m"))
    with (
        mlflow.start_run() as own,
        pytest.raises(la.StepError, match="another MLflow run is active"),
        active_run(project, "m", dagster()),
    ):
        pass
    assert "dagster_run_id" not in tracking_client(project).get_run(own.info.run_id).data.tags


def test_the_tracking_uri_of_the_process_stays_what_it_was(project: Project) -> None:
    mlflow = import_mlflow()
    before = mlflow.get_tracking_uri()
    with active_run(project, "m", dagster()):
        assert mlflow.get_tracking_uri() != before
    assert mlflow.get_tracking_uri() == before


def test_a_runs_page_is_the_servers_or_that_of_liminal_ui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Project.of("shop", tmp_path)
    assert run_url(local, "1", "abc") == "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    monkeypatch.setenv("LIMINAL_MLFLOW_URL", "https://mlflow.example")
    assert run_url(local, "1", "abc").startswith("https://mlflow.example/#/")
    server = Project.of("shop", tmp_path, storage={"mlflow": "https://server.example/"})
    assert run_url(server, "1", "abc") == "https://server.example/#/experiments/1/runs/abc"


def test_the_commit_of_the_project_is_known(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    run = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*run, "init", "-q"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*run, "add", "a"], check=True)
    subprocess.run([*run, "commit", "-qm", "first"], check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"
