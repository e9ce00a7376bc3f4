"""Runs of pipelines: sequence, time, tries, what runs after a failure, what needs the past."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus

from liminal_assets_tests.pipelines import executed, pipeline_project, told


def note(name: str, **keys: Any) -> dict[str, Any]:
    return {"task": name, "type": "note", **keys}


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of each task that the run made, by its name."""
    made = [event.materialization for event in result.get_asset_materialization_events()]
    return {found.asset_key.path[-1]: found.metadata for found in made}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step told."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    told_by = event.step_failure_data.user_failure_data
    assert told_by is not None
    return str(told_by.description)


def test_results_and_last_lines_are_metadata(tmp_path: Path) -> None:
    project = pipeline_project(tmp_path, {"pipeline": "p", "tasks": [note("a"), note("b")]})
    made = materialized(executed(project, "p"))
    assert list(made) == ["start", "a", "b", "end"]
    assert made["a"]["answer"].value == 42
    assert "a speaks" in made["a"]["output"].value


def test_a_failure_names_the_task_and_its_line_and_ends_the_sequence(tmp_path: Path) -> None:
    tasks = [note("a", fail=True), note("b")]
    project = pipeline_project(tmp_path, {"pipeline": "p", "tasks": tasks})
    result = executed(project, "p")
    assert told(project) == ["p/a"]
    assert failure(result).startswith("notes/p/a: told to fail\n  at ")
    assert set(materialized(result)) == {"start"}


def test_always_run_reports_the_end_after_a_failure_and_runs_no_other_task(
    tmp_path: Path,
) -> None:
    tasks = [note("a", fail=True), note("b")]
    project = pipeline_project(tmp_path, {"pipeline": "p", "tasks": tasks}, always_run=True)
    result = executed(project, "p")
    made = materialized(result)
    assert (result.success, told(project), set(made)) == (False, ["p/a"], {"start", "end"})
    assert made["end"]["JobResult"].value == 0
    assert made["end"]["ran_after_failure_of"].value == "a"


def test_with_trigger_rule_all_done_every_task_runs_and_knows_what_failed(tmp_path: Path) -> None:
    tasks = [note("a", fail=True), note("b"), note("c", fail=True), note("d")]
    pipeline = {"pipeline": "p", "trigger_rule": "all_done", "tasks": tasks}
    project = pipeline_project(tmp_path, pipeline)
    result = executed(project, "p")
    assert told(project) == ["p/a", "p/b a", "p/c a", "p/d a c"]
    assert not result.success
    assert "notes/p/c: told to fail" in failure(result)


@pytest.mark.parametrize(
    ("key", "seconds"), [("timeout_minutes", 0.02), ("execution_timeout", 1.2)], ids=str
)
def test_a_task_is_ended_when_its_time_is_over(tmp_path: Path, key: str, seconds: float) -> None:
    pipeline = {"pipeline": "p", key: seconds, "tasks": [note("a", sleep=60)]}
    begun = time.monotonic()
    result = executed(pipeline_project(tmp_path, pipeline), "p")
    assert time.monotonic() - begun < 30
    assert f"are over ({key})" in failure(result)


def test_a_task_is_not_begun_after_the_time_of_the_run(tmp_path: Path) -> None:
    tasks = [note("a", sleep=1), note("b")]
    pipeline = {"pipeline": "p", "timeout_minutes": 0.016, "tasks": tasks}
    project = pipeline_project(tmp_path, pipeline)
    assert not executed(project, "p").success
    assert told(project) == ["p/a"]


def test_a_failed_task_is_tried_again_and_what_always_runs_waits_for_the_last_try(
    tmp_path: Path,
) -> None:
    pipeline = {"pipeline": "p", "retries": 1, "retry_delay": 0.01, "trigger_rule": "all_done"}
    tasks = [note("a", fail=True), note("b")]
    project = pipeline_project(tmp_path, {**pipeline, "tasks": tasks})
    executed(project, "p")
    assert told(project) == ["p/a", "p/a", "p/b a"]


@pytest.mark.parametrize(
    ("before", "tags", "runs"),
    [
        pytest.param("FAILURE", {"dagster/schedule_name": "s"}, False, id="scheduled"),
        pytest.param("SUCCESS", {"dagster/schedule_name": "s"}, True, id="after success"),
        pytest.param("FAILURE", {}, True, id="by hand"),
    ],
)
def test_a_scheduled_run_that_depends_on_its_past_needs_its_success(
    tmp_path: Path, before: str, tags: dict[str, str], runs: bool
) -> None:
    pipeline = {"pipeline": "p", "depends_on_past": True, "tasks": [note("a")]}
    project = pipeline_project(tmp_path, pipeline)
    with dg.DagsterInstance.ephemeral() as instance:
        own = {"liminal/project": "notes", "liminal/pipeline": "p"}
        status = DagsterRunStatus(before)
        instance.add_run(dg.DagsterRun(job_name="p", status=status, tags=own))
        result = executed(project, "p", instance, **tags)
    assert result.success is runs
    assert runs or "liminal run --pipeline p" in failure(result)


def test_many_lines_go_to_the_steps_output_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liminal_assets.factories.task_steps._LOGGED_LINES", 1)
    project = pipeline_project(tmp_path, {"pipeline": "p", "tasks": [note("a")]})
    with dg.DagsterInstance.ephemeral() as instance:
        result = executed(project, "p", instance)
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "a speaks" in logged
    assert "further lines are in the step's output (stdout) only" in logged
