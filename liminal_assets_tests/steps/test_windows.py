"""The rows that a monitor looks at: served windows, versions, references."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.windows import served_window, watched_rows
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.watching import project_in, served, write_reference

API = """
  - monitor: api_watch
    deployment: returned_api
    window: 7d
    min_rows: 20
    drift: {threshold: 0.5}
"""
NOW = datetime(2024, 5, 15, 12, tzinfo=timezone.utc)
"""A Wednesday."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = project_in(tmp_path, API, "")
    write_reference(project, 1)
    write_reference(project, 2, seed=200)
    return project


def monitor(project: Project) -> Monitor:
    block = project.block("api_watch")
    assert isinstance(block, Monitor)
    return block


def log(project: Project, count: int, *, days: float, version: int, until: datetime = NOW) -> None:
    rows = served(count, until=until, days=days, version=version, seed=version)
    PredictionLog(project, "returned_api").append(rows)


def test_a_served_window_slides_and_is_named_by_the_period_in_which_it_ends() -> None:
    block = Monitor.model_validate({"monitor": "m", "deployment": "d", "drift": {}, "window": "7d"})
    window = served_window(block, NOW)
    assert (window.since, window.until) == (NOW - timedelta(days=7), NOW)
    assert window.key == "2024-05-13..2024-05-20"
    assert served_window(block, NOW + timedelta(days=4)).key == window.key
    assert served_window(block, NOW + timedelta(days=5)).key == "2024-05-20..2024-05-27"


def test_only_rows_of_the_window_are_seen(project: Project) -> None:
    log(project, 100, days=20, version=1)
    watched = watched_rows(project, monitor(project), now=NOW)
    assert watched.rows.rows == 35
    assert watched.model_version == "1"
    assert watched.reference_name == "the training rows of v1"


def test_during_a_rollout_the_version_that_is_live_is_judged(project: Project) -> None:
    log(project, 60, days=6, version=1)
    log(project, 40, days=1, version=2)
    Journal(project, "returned").append("promote", version=2, champion=2, previous=1)
    deployment = Journal(project, "returned_api")
    deployment.append("canary", version=2, champion=1, previous=1)
    watched = watched_rows(project, monitor(project), now=NOW)
    assert (watched.model_version, watched.reference_name) == ("1", "the training rows of v1")
    deployment.append("deploy", version=2, champion=2, previous=1)
    assert watched_rows(project, monitor(project), now=NOW).model_version == "2"


def test_after_a_promotion_only_the_champions_rows_are_judged(project: Project) -> None:
    log(project, 50, days=6, version=1, until=NOW - timedelta(hours=1))
    log(project, 10, days=0.03, version=2)
    watched = watched_rows(project, monitor(project), now=NOW)
    assert (watched.model_version, watched.rows.rows, watched.others) == ("2", 10, 50)
    Journal(project, "returned").append("rollback", version=1, champion=1)
    watched = watched_rows(project, monitor(project), now=NOW)
    assert (watched.model_version, watched.rows.rows, watched.others) == ("1", 50, 10)


def test_an_empty_window_has_no_rows_and_is_not_judged(project: Project) -> None:
    log(project, 30, days=5, version=1, until=NOW - timedelta(days=60))
    judgement = la.steps.monitor(project, "api_watch", now=NOW)
    assert (judgement.rows, judgement.judged, judgement.breach) == (0, False, False)


def test_a_window_of_served_rows_is_judged(project: Project) -> None:
    log(project, 200, days=6, version=1)
    assert not la.steps.monitor(project, "api_watch", now=NOW).breach
    rows = served(200, until=NOW, days=0.5, version=2, seed=5, shift=3)
    PredictionLog(project, "returned_api").append(rows)
    judgement = la.steps.monitor(project, "api_watch", now=NOW)
    assert [cause.subject for cause in judgement.causes] == ["price"]
    assert judgement.key == "api_watch:2024-05-13..2024-05-20:v2"


def test_the_window_before_may_be_the_reference_of_served_rows(tmp_path: Path) -> None:
    project = project_in(tmp_path, API.replace("threshold: 0.5", "reference: previous"), "")
    log(project, 100, days=6, version=1)
    first = watched_rows(project, monitor(project), now=NOW)
    assert first.reference is None
    assert first.reference_name == "there is no window before this one"
    log(project, 80, days=6, version=1, until=NOW - timedelta(days=7))
    second = watched_rows(project, monitor(project), now=NOW)
    assert second.reference is not None
    assert second.reference.rows == 80


def test_a_clock_that_jumped_back_leaves_an_empty_window(project: Project) -> None:
    log(project, 30, days=5, version=1)
    judgement = la.steps.monitor(project, "api_watch", now=NOW - timedelta(days=365))
    assert not judgement.judged


def test_rows_that_a_clock_put_into_the_future_count_when_their_time_has_come(
    project: Project,
) -> None:
    log(project, 35, days=7, version=1)
    ahead = served(20, until=NOW + timedelta(days=9), days=1, version=1, seed=9)
    PredictionLog(project, "returned_api").append(ahead)
    assert watched_rows(project, monitor(project), now=NOW).rows.rows == 35
    later = watched_rows(project, monitor(project), now=NOW + timedelta(days=9))
    assert later.rows.rows == 20


def test_without_any_predictions_there_is_nothing_to_judge(project: Project) -> None:
    judgement = la.steps.monitor(project, "api_watch", now=NOW)
    assert not judgement.judged
