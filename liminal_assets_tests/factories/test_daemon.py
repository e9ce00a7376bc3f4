"""Sensors and schedules as Dagster's own daemon evaluates them: code server, ticks, queued runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._time import get_current_datetime

from liminal_assets.language.loading import Project
from liminal_assets.storage.instance import open_instance
from liminal_assets_tests.factories.test_retraining import watch
from liminal_assets_tests.receivers import http_receiver
from liminal_assets_tests.watching import WATCH, project_in, write_reference, write_scores

pytestmark = pytest.mark.slow
LOG = logging.getLogger("daemon")

MIXED = """
name: mixed
datasets:
  - dataset: daily
    fetch: {file: a.csv}
    partitions: {every: day, start: '2024-01-01'}
  - dataset: monthly
    clean: {from: daily, sql: SELECT * FROM daily}
    partitions: {every: month, start: '2024-01-01'}
schedules:
  - {schedule: often, cron: '* * * * *', refresh: monthly}
"""


@contextmanager
def daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The instance of a project's folder and the daemon's view of its code location."""
    monkeypatch.setenv("LIMINAL_PROJECT", str(folder))
    monkeypatch.setenv("LIMINAL_HOME", str(folder))
    target = ModuleTarget("liminal_assets.definitions", None, str(folder), "liminal")
    with (
        open_instance(folder) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        yield instance, workspace


def _drain(iterator: Any) -> None:
    for problem in iterator:
        assert problem is None, problem


def sensors(workspace: Any) -> None:
    """One iteration of the daemon over all sensors, the pause between two left out."""
    instance = workspace.instance
    for state in instance.all_instigator_state():
        instance.update_instigator_state(
            state.with_data(
                state.instigator_data._replace(
                    last_tick_timestamp=None, last_tick_start_timestamp=None
                )
            )
        )
    _drain(execute_sensor_iteration(workspace, LOG, None, None))


def test_the_daemon_launches_one_retraining_and_tells_of_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as inbox:
        alerts = f"alerts: [{{alert: ops, webhook: '{inbox.url}'}}]"
        project: Project = project_in(tmp_path, WATCH, alerts)
        write_reference(project)
        write_scores(project, "2024-07", seed=1, shift=2)
        for _ in range(2):
            with daemon(tmp_path, monkeypatch) as (instance, workspace):
                if not instance.get_runs():
                    watch(project, instance, "2024-07")
                sensors(workspace)
                sensors(workspace)
                asked = instance.get_runs(dg.RunsFilter(tags={"liminal/monitor": "returned_watch"}))
                states = {state.name: state for state in instance.all_instigator_state()}
    (run,) = asked
    assert run.status == dg.DagsterRunStatus.QUEUED
    assert run.tags["liminal/until"] == "2024-07"
    assert {key.path[-1] for key in run.asset_selection} == {
        "returned",
        "returned__evaluation",
        "returned__champion",
        "returned_api",
    }
    assert [body["kind"] for body in inbox.bodies] == ["breach"]
    assert states["shop__returned_watch__retraining"].instigator_data.cursor


def test_the_daemon_queues_a_mixed_schedules_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "liminal.yml").write_text(MIXED)
    (tmp_path / "a.csv").write_text("x\n1\n")
    with daemon(tmp_path, monkeypatch) as (instance, workspace):
        now = get_current_datetime()
        times: dict[str, Any] = {}
        _drain(launch_scheduled_runs(workspace, LOG, now, times))
        later = datetime.fromtimestamp(now.timestamp() + 61, timezone.utc)
        _drain(launch_scheduled_runs(workspace, LOG, later, times))
        runs = instance.get_runs()
    made = {
        next(iter(run.asset_selection)).path[-1]: (
            run.tags["dagster/partition"],
            run.tags["dagster/priority"],
            run.status,
        )
        for run in runs
    }
    assert len(runs) == 2
    assert made["daily"][1:] == ("1", dg.DagsterRunStatus.QUEUED)
    assert made["monthly"][1:] == ("0", dg.DagsterRunStatus.QUEUED)
    assert made["daily"][0] > made["monthly"][0]
    assert os.environ["LIMINAL_PROJECT"] == str(tmp_path)
