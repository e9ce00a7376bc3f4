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
from dagster._core.definitions import freshness_evaluator
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.freshness import FreshnessDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._time import get_current_datetime, get_current_timestamp
from dagster._utils.error import SerializableErrorInfo

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
STALE = """
name: shop
datasets:
  - dataset: orders
    fetch: {{file: a.csv}}
    freshness: {{within: 30m}}
alerts:
  - {{alert: ops, webhook: '{url}'}}
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


def test_the_daemon_tells_of_what_is_not_fresh_any_more_and_of_sensors_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as inbox:
        (tmp_path / "a.csv").write_text("x\n1\n")
        (tmp_path / "liminal.yml").write_text(STALE.format(url=inbox.url))
        key = dg.AssetKey(["shop", "orders"])
        with daemon(tmp_path, monkeypatch) as (instance, workspace):
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
            freshness(workspace)
            monkeypatch.setattr(freshness_evaluator, "get_current_timestamp", _in_an_hour)
            freshness(workspace)
            sensors(workspace)
            (alert,) = [
                state
                for state in instance.all_instigator_state()
                if state.instigator_name == "shop__ops__alert"
            ]
            for _ in range(2):
                instance.create_tick(
                    TickData(
                        alert.instigator_origin_id,
                        alert.instigator_name,
                        InstigatorType.SENSOR,
                        TickStatus.FAILURE,
                        get_current_timestamp(),
                        selector_id=alert.selector_id,
                        error=SerializableErrorInfo("Timeout: no answer\n", [], "Timeout"),
                    )
                )
            sensors(workspace)
            sensors(workspace)
    stale, failing = inbox.bodies
    assert stale["title"] == "shop/orders: not fresh any more"
    assert stale["evidence"] == ["it is older than the 30m that 'freshness' allows"]
    assert stale["location"] == "liminal.yml:4:5"
    assert stale["link"] == "http://127.0.0.1:3000/assets/shop/orders"
    assert failing["kind"] == "sensor_failure"
    assert failing["evidence"] == ["sensor shop__ops__alert: Timeout: no answer"]


def freshness(workspace: Any) -> None:
    """One iteration of the daemon that judges freshness."""
    _drain(FreshnessDaemon().run_iteration(workspace))


def _in_an_hour() -> float:
    return get_current_timestamp() + 3600
