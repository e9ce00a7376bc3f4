"""What a pipeline says about its runs, and what is wrong in it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.apache.settings import PipelineSettings, check_settings, settings_of
from liminal_assets.language.source import LocatedDict, read_document


def pipeline(text: str) -> LocatedDict:
    document, mistakes = read_document(Path("liminal.yml"), text=text, yaml_1_1=True)
    assert mistakes == []
    return document


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("schedule: '@daily'", "cron", "0 0 * * *"),
        ("schedule_interval: 0 3 * * 5#2", "cron", "0 3 * * 5#2"),
        ("{schedule: '@daily', schedule_interval: '@hourly'}", "cron", "0 * * * *"),
        ("schedule: None", "cron", None),
        ("schedule: '@once'", "once", True),
        ("start_date: 2020-03-01", "start", moment(2020, 3, 1)),
        ("start_date: '2020-03-01T02:00:00+02:00'", "start", moment(2020, 3, 1)),
        ("end_date: 2020-03-01 05:00:00", "end", moment(2020, 3, 1, 5)),
        ("timeout_minutes: '45'", "timeout", timedelta(minutes=45)),
        ("execution_timeout: 90", "task_timeout", timedelta(seconds=90)),
        ("wait_for_downstream: true", "depends_on_past", True),
        ("retries: 3", "retry_delay", timedelta(minutes=5)),
        ("trigger_rule: all_done", "after_failure", True),
        ("pool: default_pool", "pool", None),
        ("{default_arg: 1, tasks: []}", "arguments", {"default_arg": 1}),
    ],
)
def test_settings_mean_what_airflow_took_them_for(text: str, name: str, value: Any) -> None:
    found = pipeline(text)
    assert getattr(settings_of(found, {}), name) == value
    assert list(check_settings(found)) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("schedule: '0 25 * * *'", "'25' is no hour"),
        ("schedule: '@dayly'", "'@dayly' is no schedule"),
        ("schedule: '0 0 31 2 *'", "no month of '2' has a day '31'"),
        ("start_date: soon", "'soon' is no date"),
        ("end_date: 20", "20 is no date"),
        ("timeout_minutes: 0", "it must be above 0"),
        ("timeout_minutes: long", "it must be a number, not 'long'"),
        ("retries: -1", "it must be at least 0"),
        ("depends_on_past: maybe", "it must be true or false"),
        ("trigger_rule: one_failed", "tasks in sequence know no rule 'one_failed'"),
    ],
)
def test_a_wrong_setting_is_a_mistake_at_its_line(line: str, message: str) -> None:
    found = pipeline(f"pipeline: p\n{line}\n")
    (mistake,) = check_settings(found)
    key = line.partition(": ")[0]
    assert mistake.message.startswith(f"{key}: {message}")
    assert (mistake.code, mistake.location.line) == ("invalid-value", 2)
    assert mistake.location.column == len(key) + 3


def test_a_hint_names_the_schedule_that_was_meant() -> None:
    (mistake,) = check_settings(pipeline("schedule: '@dayly'"))
    assert mistake.hint == "did you mean '@daily'?"


@pytest.mark.parametrize(
    ("settings", "kind", "runs"),
    [
        (PipelineSettings(), "job_end", False),
        (PipelineSettings(always_run=True), "job_end", True),
        (PipelineSettings(always_run=True), "python", False),
        (PipelineSettings(after_failure=True), "python", True),
        (PipelineSettings(after_failure=True), "job_end", False),
        (PipelineSettings(), "delete_cloudformation_stack", True),
    ],
)
def test_which_tasks_run_after_a_failure_is_as_it_was_there(
    settings: PipelineSettings, kind: str, runs: bool
) -> None:
    assert settings.runs_after_failure(kind) is runs
