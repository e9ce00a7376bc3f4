"""The retraining sensor: exactly one run per cause, across restarts, with the cause in its tags."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

import liminal_assets as la
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.language.loading import Project, load_project
from liminal_assets.language.monitors import Monitor
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.watching import (
    WATCH,
    project_in,
    write_labels,
    write_reference,
    write_scores,
)

SENSOR = "shop__returned_watch__retraining"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = project_in(tmp_path)
    write_reference(project)
    return project


def watch(
    project: Project, instance: dg.DagsterInstance, first: str, last: str | None = None
) -> None:
    """Materialises the monitor, as a run of a partition or of a range."""
    block = project.block("returned_watch")
    assert isinstance(block, Monitor)
    job = dg.Definitions(assets=[monitor_asset(block, project=project)])
    tags = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last or first,
    }
    done = job.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key=None if last else first, tags=tags if last else {}
    )
    assert done.success


def look(
    project: Project, instance: dg.DagsterInstance, cursor: str | None = None
) -> SensorExecutionData:
    """What the daemon does after a restart: loads everything anew and evaluates once."""
    definitions = la.build_definitions(load_project(project.root))
    repository = definitions.get_repository_def()
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository, sensor_name=SENSOR
    )
    return repository.get_sensor_def(SENSOR).evaluate_tick(context)


def launch(
    instance: dg.DagsterInstance, tags: Mapping[str, str], status: dg.DagsterRunStatus
) -> None:
    """A run as the daemon records it."""
    run_id = str(uuid.uuid4())
    instance.add_run(dg.DagsterRun("__ASSET_JOB", run_id, tags=dict(tags), status=status))


def test_a_breach_asks_for_one_run_of_the_model_and_its_servers(
    project: Project, instance: dg.DagsterInstance
) -> None:
    write_scores(project, "2024-07", seed=1, shift=2)
    watch(project, instance, "2024-07")
    (request,) = look(project, instance).run_requests or []
    assert request.run_key == "returned:returned_watch:2024-07:v1"
    assert {key.path[-1] for key in request.asset_selection or ()} == {
        "returned",
        "returned__evaluation",
        "returned__champion",
        "returned_api",
    }
    said = {key: value for key, value in request.tags.items() if key.startswith("liminal/")}
    assert said["liminal/monitor"] == "returned_watch"
    assert said["liminal/window"] == "2024-07"
    assert said["liminal/until"] == "2024-07"
    assert said["liminal/model"] == "shop.returned"
    assert "2024-07: drift: price: " in said["liminal/cause"]
    assert said["liminal/evidence"].startswith("_journal/returned_watch cause ")
    (breach, asked) = Journal(project, "returned_watch").decisions()
    assert (breach.action, asked.action) == ("breach", "retrain")
    assert asked.evidence["causes"] == [breach.evidence["cause"]]


def test_restarts_ask_nothing_twice_and_lose_nothing(
    project: Project, instance: dg.DagsterInstance
) -> None:
    first = look(project, instance)
    assert first.skip_message == "no window was judged since the last look"
    write_scores(project, "2024-07", seed=1, shift=2)
    watch(project, instance, "2024-07")
    asked = look(project, instance, first.cursor)
    assert len(asked.run_requests or []) == 1
    again = look(project, instance, asked.cursor)
    assert (again.run_requests or [], again.skip_message) == (
        [],
        "no window was judged since the last look",
    )
    watch(project, instance, "2024-07")
    rejudged = look(project, instance, again.cursor)
    assert not rejudged.run_requests
    assert rejudged.skip_message == "nothing to do: 2024-07 is a breach already answered"
    write_scores(project, "2024-08", seed=2, shift=2)
    watch(project, instance, "2024-08")
    (request,) = look(project, instance, rejudged.cursor).run_requests or []
    assert request.run_key == "returned:returned_watch:2024-08:v1"


def test_a_lost_cursor_asks_nothing_twice(project: Project, instance: dg.DagsterInstance) -> None:
    write_scores(project, "2024-07", seed=1, shift=2)
    watch(project, instance, "2024-07")
    (request,) = look(project, instance).run_requests or []
    launch(instance, request.tags, dg.DagsterRunStatus.SUCCESS)
    again = look(project, instance, cursor=None)
    assert not again.run_requests
    assert "already answered" in (again.skip_message or "")
    assert len(Journal(project, "returned_watch").decisions()) == 2


def test_a_backfill_of_breaches_is_one_retraining_with_all_causes(
    project: Project, instance: dg.DagsterInstance
) -> None:
    for month, shift in (("06", 2), ("07", 0), ("08", 2), ("09", 3)):
        write_scores(project, f"2024-{month}", seed=1, shift=shift)
    watch(project, instance, "2024-06", "2024-09")
    (request,) = look(project, instance).run_requests or []
    assert request.tags["liminal/until"] == "2024-09"
    cause = request.tags["liminal/cause"]
    assert [month for month in ("06", "07", "08", "09") if f"2024-{month}: drift" in cause] == [
        "06",
        "08",
        "09",
    ]


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED], ids=lambda s: s.value
)
def test_it_waits_while_the_model_is_queued_or_trained_and_then_asks(
    project: Project, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    launch(instance, {"liminal/model": "shop.returned"}, status)
    write_scores(project, "2024-07", seed=1, shift=2)
    watch(project, instance, "2024-07")
    waiting = look(project, instance)
    assert not waiting.run_requests
    assert "the breach in 2024-07 waits: run " in (waiting.skip_message or "")
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[status]))
    instance.report_run_canceled(run)
    (request,) = look(project, instance, waiting.cursor).run_requests or []
    assert request.tags["liminal/window"] == "2024-07"


def test_a_run_that_someone_else_started_counts_as_training(
    project: Project, instance: dg.DagsterInstance
) -> None:
    run = dg.DagsterRun(
        "__ASSET_JOB",
        str(uuid.uuid4()),
        asset_selection=frozenset({dg.AssetKey(["shop", "returned"])}),
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.add_run(run)
    write_scores(project, "2024-07", seed=1, shift=2)
    watch(project, instance, "2024-07")
    assert "is training returned (started)" in (look(project, instance).skip_message or "")


def test_the_cooldown_is_counted_in_the_time_of_the_data(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    project = project_in(
        tmp_path, WATCH.replace("retrain: returned,", "retrain: returned, cooldown: 50d,")
    )
    write_reference(project)
    cursor, asked = None, []
    for month in ("06", "07", "08", "09"):
        write_scores(project, f"2024-{month}", seed=1, shift=2)
        watch(project, instance, f"2024-{month}")
        seen = look(project, instance, cursor)
        cursor = seen.cursor
        asked.append(len(seen.run_requests or []))
    assert asked == [1, 0, 1, 0]


def test_a_breach_in_data_that_the_model_learned_from_asks_for_nothing(
    project: Project, instance: dg.DagsterInstance
) -> None:
    trained = {"version": 1, "trained_until": "2024-07"}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(dg.AssetKey(["shop", "returned"]), metadata=trained)
    )
    for month in ("07", "08"):
        write_scores(project, f"2024-{month}", seed=1, shift=2)
    watch(project, instance, "2024-07")
    seen = look(project, instance)
    assert not seen.run_requests
    assert seen.skip_message == (
        "nothing to do: 2024-07 is a breach in data that was already learned from"
    )
    watch(project, instance, "2024-08")
    (request,) = look(project, instance, seen.cursor).run_requests or []
    assert request.tags["liminal/windows"] == "2024-08:v1"


def test_a_good_window_leads_to_nothing_and_says_so(
    project: Project, instance: dg.DagsterInstance
) -> None:
    write_scores(project, "2024-07", seed=1)
    watch(project, instance, "2024-07")
    seen = look(project, instance)
    assert not seen.run_requests
    assert seen.skip_message == "nothing to do: 2024-07 is within bounds"


def test_tags_stay_short_however_many_causes_there_are(
    project: Project, instance: dg.DagsterInstance
) -> None:
    for month in range(1, 13):
        write_scores(project, f"2024-{month:02}", count=60, seed=1, shift=3)
    watch(project, instance, "2024-01", "2024-12")
    (request,) = look(project, instance).run_requests or []
    assert max(len(value.encode()) for value in request.tags.values()) < 2000
    assert request.tags["liminal/windows"].split(" · ")[-1] == "2024-12:v1"


def policy_of(text: str) -> str:
    """The monitor with a policy in place of the short form."""
    return WATCH.replace("retrain: returned, ", "") + f"    retrain: {{model: returned, {text}}}\n"


def trained(instance: dg.DagsterInstance, version: int, until: str) -> None:
    """A version that some run has trained."""
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            dg.AssetKey(["shop", "returned"]),
            metadata={"version": version, "trained_until": until},
        )
    )


def months_of_scores(project: Project, *months: str) -> None:
    """Scores within bounds, their truth, and the feature's rows that they are of."""
    store, truths = TableStore(project), []
    for number, month in enumerate(months):
        scores = write_scores(project, month, seed=number + 1, start=number * 1000)
        store.write("order_features", month, scores[["order_id"]])
        truths.append(scores)
    write_labels(project, pd.concat(truths))


TRIGGERS = {
    "labels: 700": "labels: 800 new ones since 2024-07-01 00:00",
    "every: month": "every month: the model last learned up to",
    "fresh: 2": "fresh: 2024-07, 2024-08 are new partitions",
}


@pytest.fixture(params=TRIGGERS)
def trigger(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A trigger and the beginning of its cause."""
    return request.param, TRIGGERS[request.param]


@pytest.fixture
def due(tmp_path: Path, instance: dg.DagsterInstance, trigger: tuple[str, str]) -> Project:
    """A project whose trigger asks for a retraining, and in which no window is a breach."""
    project = project_in(tmp_path, policy_of(f"when: {{{trigger[0]}}}"))
    write_reference(project)
    trained(instance, 1, "2024-06")
    months_of_scores(project, "2024-07", "2024-08")
    watch(project, instance, "2024-07", "2024-08")
    return project


def test_a_trigger_asks_once_whatever_is_lost(
    due: Project, instance: dg.DagsterInstance, trigger: tuple[str, str]
) -> None:
    (request,) = look(due, instance).run_requests or []
    kind = trigger[0].split(":")[0]
    assert request.tags["liminal/cause"].startswith(trigger[1])
    assert request.tags["liminal/triggers"] == kind
    assert request.tags["liminal/window"] == request.tags["liminal/until"] == "2024-08"
    assert request.tags["liminal/evidence"] == (
        f"_journal/returned_watch returned_watch:{kind}:2024-07-01T00:00:00+00:00"
    )
    (asked,) = Journal(due, "returned_watch").decisions()
    assert asked.action == "retrain"
    assert list(asked.evidence["reasons"]) == [kind]
    # killed before the run was launched and the cursor saved: the same run key, which Dagster
    # honours once, and one decision in the journal
    (again,) = look(due, instance, cursor=None).run_requests or []
    assert again.run_key == request.run_key
    assert len(Journal(due, "returned_watch").decisions()) == 1
    # killed after it was launched and before the cursor was saved
    launch(instance, request.tags, dg.DagsterRunStatus.SUCCESS)
    assert not look(due, instance, cursor=None).run_requests
    # and once the version is there, with the runs long gone
    trained(instance, 2, "2024-08")
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    assert not look(due, instance, cursor=None).run_requests


def test_a_trigger_waits_for_a_training_and_asks_anew_after_it(
    due: Project, instance: dg.DagsterInstance, trigger: tuple[str, str]
) -> None:
    launch(instance, {"liminal/model": "shop.returned"}, dg.DagsterRunStatus.STARTED)
    waiting = look(due, instance)
    assert not waiting.run_requests
    assert f"the retraining ({trigger[1]}" in (waiting.skip_message or "")
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    instance.report_run_canceled(run)
    (request,) = look(due, instance, waiting.cursor).run_requests or []
    # the next months are another cause
    asked = look(due, instance, waiting.cursor)
    months_of_scores(due, "2024-07", "2024-08", "2024-09", "2024-10")
    watch(due, instance, "2024-09", "2024-10")
    (later,) = look(due, instance, asked.cursor).run_requests or []
    assert later.run_key != request.run_key
    assert later.tags["liminal/until"] == "2024-10"


def test_breaches_in_a_row_are_counted_across_restarts(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    project = project_in(tmp_path, policy_of("consecutive: 2, at_most: 1 per year"))
    write_reference(project)
    cursor, said = None, []
    for month in ("06", "07", "08", "09"):
        write_scores(project, f"2024-{month}", seed=1, shift=2)
        watch(project, instance, f"2024-{month}")
        seen = look(project, instance, cursor)
        # of every second evaluation the cursor is lost
        cursor = seen.cursor if cursor is None else None
        for request in seen.run_requests or []:
            launch(instance, request.tags, dg.DagsterRunStatus.SUCCESS)
        said.append(
            [request.tags["liminal/windows"] for request in seen.run_requests or []]
            or seen.skip_message
        )
    assert said[0] == "the breach in 2024-06 waits: 1 of 2 windows in a row"
    assert said[1] == ["2024-06:v1 · 2024-07:v1"]
    assert said[2] == "the breach in 2024-08 waits: 1 of 2 windows in a row"
    assert "at most 1 per year are allowed" in str(said[3])


def test_it_works_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keywords: dict[str, Any] = {
        "monitor": "watch",
        "deployment": "api",
        "drift": {},
        "on_breach": {"retrain": "churn"},
        "project": "team",
    }
    sensor = la.retraining_sensor(**keywords)
    assert sensor.name == "team__watch__retraining"
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with pytest.raises(ValueError, match="doesn't say which model"):
        la.retraining_sensor(**{**keywords, "on_breach": {}})


def test_blocks_with_automation_are_refreshed_by_a_sensor_that_runs(tmp_path: Path) -> None:
    text = "  - {dataset: raw, fetch: {file: a.csv}, automation: eager}\n"
    (tmp_path / "liminal.yml").write_text(f"name: auto\ndatasets:\n{text}")
    (sensor,) = la.build_definitions(tmp_path).get_repository_def().sensor_defs
    assert sensor.name == "auto__automation"
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
