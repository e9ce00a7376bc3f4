"""The rows that a monitor looks at: served windows, versions, references."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.windows import watched_rows
from liminal_assets.storage import journal
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


DAILY = """
  - monitor: api_watch
    deployment: returned_api
    partitions: {every: day, start: '2024-05-01', timezone: Europe/Rome}
    min_rows: 20
    quality: {rows: [0.5, 2]}
    drift: {threshold: 0.5}
"""
MIDNIGHT = datetime(2024, 5, 14, 22, tzinfo=timezone.utc)
"""In Rome 15 May begins."""


@pytest.fixture
def daily(tmp_path: Path) -> Project:
    project = project_in(tmp_path, DAILY, "")
    write_reference(project, 1)
    write_reference(project, 2, seed=200)
    return project


def decided(project: Project, name: str, at: datetime, champion: int, *, action: str) -> None:
    """A decision of the past."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return at

    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(journal, "datetime", Clock)
        Journal(project, name).append(action, version=champion, champion=champion)


def test_a_partition_is_its_rows_wherever_now_is(daily: Project) -> None:
    log(daily, 240, days=10, version=1, until=MIDNIGHT + timedelta(days=2))
    watched = watched_rows(daily, monitor(daily), "2024-05-14")
    assert watched.rows.rows == 24
    assert watched.usual_rows == 24
    assert (watched.window.until, watched.window.partition) == (MIDNIGHT, "2024-05-14")
    # the first day of the log has nothing to be held against, and none of before
    assert watched_rows(daily, monitor(daily), "2024-05-06").usual_rows is None
    assert watched_rows(daily, monitor(daily), "2024-05-01").rows.rows == 0
    newest = watched_rows(daily, monitor(daily), now=MIDNIGHT + timedelta(hours=3))
    assert newest.window == watched.window


def test_a_partition_is_judged_by_the_version_that_was_in_use_when_it_ended(
    daily: Project,
) -> None:
    log(daily, 300, days=6, version=1, until=MIDNIGHT + timedelta(days=1))
    log(daily, 300, days=6, version=2, until=MIDNIGHT + timedelta(days=1))
    found = {}
    for at, name, champion, action in (
        (MIDNIGHT - timedelta(days=9), "returned", 1, "promote"),
        (MIDNIGHT - timedelta(days=9), "returned_api", 1, "deploy"),
        (MIDNIGHT - timedelta(days=2, hours=9), "returned", 2, "promote"),
        # the server tries it until the next day
        (MIDNIGHT - timedelta(days=1, hours=9), "returned_api", 2, "deploy"),
        (MIDNIGHT + timedelta(days=99), "returned_api", 1, "deploy"),
    ):
        decided(daily, name, at, champion, action=action)
    for day in (12, 13, 14):
        watched = watched_rows(daily, monitor(daily), f"2024-05-{day}")
        found[day] = (watched.model_version, watched.reference_name, watched.rows.rows)
    assert found == {
        12: ("1", "the training rows of v1", 50),
        13: ("2", "the training rows of v2", 50),
        14: ("2", "the training rows of v2", 50),
    }


def test_the_partition_that_ended_before_is_the_reference_of_one(tmp_path: Path) -> None:
    text = DAILY.replace("threshold: 0.5", "reference: previous")
    project = project_in(tmp_path, f"{text}    window: 2d\n", "")
    log(project, 40, days=4, version=1, until=MIDNIGHT)
    watched = watched_rows(project, monitor(project), "2024-05-14")
    assert watched.rows.rows == 20
    assert watched.reference_name == "the rows of 2024-05-12"
    assert watched.reference is not None
    assert watched.reference.rows == 20
    first = watched_rows(project, monitor(project), "2024-05-11")
    assert first.reference_name == "there is no window before this one"


def test_a_partition_in_which_nobody_asked_is_a_finding_if_somebody_did_before(
    daily: Project,
) -> None:
    log(daily, 100, days=5, version=1, until=MIDNIGHT - timedelta(days=1))
    silent = la.steps.monitor(daily, "api_watch", "2024-05-14")
    assert [(c.check, c.subject) for c in silent.causes] == [("quality", "rows")]
    before_the_log = la.steps.monitor(daily, "api_watch", "2024-05-02")
    assert (before_the_log.judged, before_the_log.breach) == (False, False)
