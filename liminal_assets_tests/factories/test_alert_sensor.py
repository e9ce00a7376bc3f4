"""The alert sensor: failed runs, failed checks and breaches, each told once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

import liminal_assets as la
from liminal_assets.factories import alerting
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.language.loading import Project, load_project
from liminal_assets.language.monitors import Monitor
from liminal_assets_tests.receivers import Inbox, http_receiver
from liminal_assets_tests.watching import WATCH, project_in, write_reference, write_scores

SENSOR = "shop__ops__alert"
MORE = """
alerts:
  - {{alert: ops, webhook: '{url}'{more}}}
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with http_receiver() as inbox:
        yield inbox


@pytest.fixture
def project(tmp_path: Path, inbox: Inbox) -> Project:
    return make(tmp_path, inbox)


def make(folder: Path, inbox: Inbox, more: str = "", monitors: str = WATCH) -> Project:
    project = project_in(folder, monitors, MORE.format(url=inbox.url, more=more))
    write_reference(project)
    return project


def look(
    project: Project, instance: dg.DagsterInstance, cursor: str | None = None
) -> SensorExecutionData:
    """What the daemon does after a restart: loads everything anew and evaluates once."""
    repository = la.build_definitions(load_project(project.root)).get_repository_def()
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository, sensor_name=SENSOR
    )
    return repository.get_sensor_def(SENSOR).evaluate_tick(context)


def run(instance: dg.DagsterInstance, assets: list[Any], **options: Any) -> str:
    """Runs assets; whether they fail is theirs."""
    job = dg.Definitions(assets=assets).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=False, **options).run_id


def asset_with_check(
    *, passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetsDefinition:
    """The dataset ``orders`` with a check that says something."""
    key = dg.AssetKey(["shop", "orders"])

    @dg.multi_asset(
        name="shop__orders",
        specs=[dg.AssetSpec(key)],
        check_specs=[dg.AssetCheckSpec("not_null", asset=key)],
    )
    def orders() -> Iterator[Any]:
        check = dg.AssetCheckResult(
            passed=passed, severity=severity, description="3 nulls in price"
        )
        yield dg.MaterializeResult(asset_key=key, check_results=[check])

    return orders


def failing_asset(project: str = "shop", said: str = "no such file") -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"{project}__orders", specs=[dg.AssetSpec(dg.AssetKey([project, "orders"]))]
    )
    def orders() -> None:
        raise dg.Failure(said)

    return orders


def breach(
    project: Project, instance: dg.DagsterInstance, partition: str = "2024-07", shift: float = 2
) -> str:
    write_scores(project, partition, seed=1, shift=shift)
    block = project.block("returned_watch")
    assert isinstance(block, Monitor)
    asset = monitor_asset(block, project=project)
    return run(instance, [asset], partition_key=partition)


def test_a_failed_check_is_told_though_its_run_succeeded(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run_id = run(instance, [asset_with_check(passed=False)])
    seen = look(project, instance)
    assert seen.skip_message == "told ops of 1 event"
    (body,) = inbox.bodies
    assert (body["kind"], body["block"]) == ("check_failure", "orders")
    assert body["title"] == "shop/orders: 1 check failed"
    assert body["evidence"] == ["orders: not_null: 3 nulls in price"]
    assert body["location"] == "liminal.yml:4:5"
    assert body["link"] == f"http://127.0.0.1:3000/runs/{run_id}"


def test_a_failed_run_is_told_with_what_its_step_said(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run(instance, [failing_asset()])
    look(project, instance)
    (body,) = inbox.bodies
    assert (body["kind"], body["block"]) == ("run_failure", "orders")
    assert body["title"] == "shop/orders: the run failed"
    assert body["evidence"] == ["no such file"]


def test_a_breach_is_told_by_the_alerts_that_its_monitor_names(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    breach(project, instance)
    look(project, instance)
    (body,) = inbox.bodies
    assert (body["kind"], body["block"]) == ("breach", "returned_watch")
    assert body["title"] == "shop/returned_watch: breach in 2024-07"
    assert body["evidence"][0].startswith("2024-07: drift: price: ")
    assert body["evidence"][-1].startswith("report: ")
    assert Path(body["details"]["events"][0]["report"]).is_file()


def test_a_breach_of_a_monitor_that_names_no_alert_is_not_told(
    tmp_path: Path, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    project = make(tmp_path, inbox, monitors=WATCH.replace(", alert: ops", ""))
    breach(project, instance)
    assert look(project, instance).skip_message == "nothing failed since the last look"
    assert inbox.bodies == []


def test_other_projects_and_checks_that_pass_are_not_told(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run(instance, [failing_asset("another")])
    run(instance, [asset_with_check(passed=True)])
    look(project, instance)
    assert inbox.bodies == []


def test_restarts_tell_nothing_twice_and_lose_nothing(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run(instance, [asset_with_check(passed=False)])
    first = look(project, instance)
    assert (
        look(project, instance, first.cursor).skip_message == "nothing failed since the last look"
    )
    run(instance, [failing_asset()])
    breach(project, instance)
    second = look(project, instance, first.cursor)
    assert look(project, instance, second.cursor).skip_message == (
        "nothing failed since the last look"
    )
    assert [body["kind"] for body in inbox.bodies] == ["check_failure", "run_failure", "breach"]
    assert len({body["id"] for body in inbox.bodies}) == 3


def test_the_same_breach_judged_again_is_no_news(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    breach(project, instance)
    cursor = look(project, instance).cursor
    breach(project, instance)
    look(project, instance, cursor)
    assert len(inbox.bodies) == 1


def test_a_later_window_within_bounds_ends_a_breach_once(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    breach(project, instance, "2024-07")
    cursor = look(project, instance).cursor
    for partition in ("2024-06", "2024-08", "2024-09"):
        breach(project, instance, partition, shift=0)
        cursor = look(project, instance, cursor).cursor
    _, ended = inbox.bodies
    assert (ended["kind"], ended["block"]) == ("recovery", "returned_watch")
    assert ended["title"] == "shop/returned_watch: well again"
    assert ended["evidence"] == ["2024-08: within bounds"]
    assert ended["details"]["events"][0]["of"] == "breach"


def test_what_cannot_be_delivered_is_shown_and_told_later_without_repeats(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with http_receiver([200, 404, 404]) as inbox:
        project = make(tmp_path, inbox)
        for _ in range(2):
            run(instance, [asset_with_check(passed=False)])
        run(instance, [failing_asset()])
        failed = look(project, instance)
        assert failed.skip_message == (
            "could not deliver to alert ops: the receiver answered 404 Not Found; "
            "2 wait, and it tries again"
        )
        still = look(project, instance, failed.cursor)
        assert "2 wait" in (still.skip_message or "")
        done = look(project, instance, still.cursor)
        assert done.skip_message == "told ops of 2 events"
        assert json.loads(done.cursor or "{}")["told"] == []
        ids = [body["id"] for body in inbox.bodies]
    assert len(ids) == 5
    assert ids[1] == ids[2] == ids[3]
    assert len({ids[0], ids[1], ids[4]}) == 3
    assert "SECRET" not in str((failed.skip_message, failed.cursor))


def test_a_failed_run_and_its_failed_checks_are_one_message(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    checked = asset_with_check(passed=False)

    @dg.multi_asset(
        name="shop__order_features",
        specs=[dg.AssetSpec(dg.AssetKey(["shop", "order_features"]), deps=[checked])],
    )
    def features() -> None:
        raise dg.Failure("no such column")

    run(instance, [checked, features])
    look(project, instance)
    (body,) = inbox.bodies
    assert body["kind"] == "run_failure"
    assert body["evidence"] == ["orders: not_null: 3 nulls in price", "no such column"]


def test_an_alert_may_be_for_some_events_only(
    tmp_path: Path, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    project = make(tmp_path, inbox, more=", events: [check_warning]")
    run(instance, [failing_asset()])
    run(instance, [asset_with_check(passed=False)])
    run(instance, [asset_with_check(passed=False, severity=dg.AssetCheckSeverity.WARN)])
    breach(project, instance)
    look(project, instance)
    assert [body["title"] for body in inbox.bodies] == ["shop/orders: 1 check gave a warning"]


def test_secrets_in_error_messages_are_taken_out(
    project: Project, instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run(instance, [failing_asset(said=f"cannot open postgresql://u:pw@db/x or {inbox.url}")])
    look(project, instance)
    assert inbox.bodies[0]["evidence"] == ["cannot open postgresql://***@db/x or ***"]


def test_a_new_alert_does_not_tell_of_long_ago(
    project: Project,
    instance: dg.DagsterInstance,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(instance, [failing_asset()])
    time.sleep(0.02)
    monkeypatch.setattr(alerting, "_FIRST_LOOK", timedelta(seconds=0.01))
    look(project, instance)
    assert inbox.bodies == []


def test_it_works_alone(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    sensor = la.alert_sensor(alert="ops", slack=inbox.url, project="another")
    assert sensor.name == "another__ops__alert"
    run(instance, [failing_asset("another", "gone")])
    sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert inbox.bodies[0]["text"] == "another: the run failed"


@pytest.mark.parametrize("channel", ["webhook", "slack"])
def test_an_alert_whose_url_is_empty_is_off(
    channel: str, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run(instance, [asset_with_check(passed=False)])
    off = {"alert": "ops", channel: ""}
    project = Project.of("shop", tmp_path, alerts=[off])
    sensor = la.alert_sensor(project.spec.alerts[0], project=project)
    context = dg.build_sensor_context(instance=instance, sensor_name=SENSOR)
    told = sensor.evaluate_tick(context)
    assert told.skip_message == "ops is off: its URL is empty"
    assert not told.run_requests
