"""When pipelines run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus

import liminal_assets as la
from liminal_assets_tests.pipelines import pipeline_project

NOTE = {"task": "a", "type": "note"}
NOW = datetime.now(timezone.utc)
TOMORROW = NOW.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def ticked(
    folder: Path, moment: datetime, instance: dg.DagsterInstance | None = None, **keys: Any
) -> Any:
    """What the schedule of a pipeline asks for at a moment; or why it asks for nothing."""
    pipeline = {"pipeline": "p", "schedule": "@daily", "tasks": [NOTE], **keys}
    definitions = la.build_definitions(pipeline_project(folder, pipeline))
    repository = definitions.get_repository_def()
    context = dg.build_schedule_context(
        instance=instance or dg.DagsterInstance.ephemeral(),
        scheduled_execution_time=moment,
        repository_def=repository,
    )
    seen = repository.get_schedule_def("notes__p").evaluate_tick(context)
    return seen.run_requests[0] if seen.run_requests else seen.skip_message


def day(moment: datetime) -> str:
    return moment.date().isoformat()


def test_a_run_belongs_to_the_interval_that_ends_when_it_starts(tmp_path: Path) -> None:
    request = ticked(tmp_path, TOMORROW)
    begins = TOMORROW - timedelta(days=1)
    assert request.tags["liminal/execution_date"] == begins.isoformat()


def test_the_first_run_is_at_the_end_of_the_interval_that_begins_at_start_date(
    tmp_path: Path,
) -> None:
    first = ticked(tmp_path, TOMORROW, start_date=day(TOMORROW - timedelta(days=1)))
    assert isinstance(first, dg.RunRequest)
    assert "before start_date" in ticked(tmp_path, TOMORROW, start_date=day(TOMORROW))


def test_no_interval_begins_after_end_date(tmp_path: Path) -> None:
    end = day(TOMORROW - timedelta(days=2))
    assert "after end_date" in ticked(tmp_path, TOMORROW, end_date=end)


def test_a_moment_that_was_missed_is_not_caught_up(tmp_path: Path) -> None:
    assert "nothing is caught up" in ticked(tmp_path, TOMORROW - timedelta(days=3))


@pytest.mark.parametrize(
    ("status", "asks"),
    [
        (None, True),
        (DagsterRunStatus.SUCCESS, True),
        (DagsterRunStatus.STARTED, True),
        (DagsterRunStatus.FAILURE, False),
        (DagsterRunStatus.CANCELED, False),
    ],
    ids=str,
)
def test_a_pipeline_that_depends_on_its_past_runs_unless_that_failed(
    tmp_path: Path, status: DagsterRunStatus | None, asks: bool
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        if status is not None:
            tags = {"liminal/project": "notes", "liminal/pipeline": "p"}
            instance.add_run(dg.DagsterRun(job_name="p", status=status, tags=tags))
        found = ticked(tmp_path, TOMORROW, instance, depends_on_past=True)
    assert isinstance(found, dg.RunRequest) is asks
    assert asks or "liminal run --pipeline p" in found


@pytest.mark.parametrize(
    ("written", "cron"),
    [
        ("@quarterly", "0 0 1 */3 *"),
        ("0 2 * * MON-FRI", "0 2 * * MON-FRI"),
        ("0 0 L * *", "0 0 L * *"),
    ],
)
def test_schedules_are_cron_or_airflows_words_in_utc(
    tmp_path: Path, written: str, cron: str
) -> None:
    pipeline = {"pipeline": "p", "schedule_interval": written, "tasks": [NOTE]}
    repository = la.build_definitions(pipeline_project(tmp_path, pipeline)).get_repository_def()
    (schedule,) = repository.schedule_defs
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "UTC")


def test_once_is_one_run(tmp_path: Path) -> None:
    pipeline = {"pipeline": "p", "schedule": "@once", "tasks": [NOTE]}
    repository = la.build_definitions(pipeline_project(tmp_path, pipeline)).get_repository_def()
    (sensor,) = repository.sensor_defs
    with dg.DagsterInstance.ephemeral() as instance:
        first = sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository))
        second = sensor.evaluate_tick(
            dg.build_sensor_context(instance, cursor=first.cursor, repository_def=repository)
        )
    assert (len(first.run_requests), len(second.run_requests)) == (1, 0)


def test_a_pipeline_without_a_schedule_has_none(tmp_path: Path) -> None:
    pipeline = {"pipeline": "p", "schedule": None, "tasks": [NOTE]}
    repository = la.build_definitions(pipeline_project(tmp_path, pipeline)).get_repository_def()
    assert repository.schedule_defs == []
