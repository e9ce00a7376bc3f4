"""Labels are measured beside the controller: it never waits, and sees what was found last."""

from __future__ import annotations

import threading
from datetime import datetime, timezone

import liminal_assets as la
from liminal_assets.serving.control.labels import LabelWatch
from liminal_assets.steps.side_by_side import Measured, SideBySide
from liminal_assets_tests.serving.shelf import until

FOUND = SideBySide("roc_auc", Measured(50, 0.8, 0.7, 0.1, 0.01))


def test_it_answers_at_once_and_with_what_was_found_last() -> None:
    asked: list[tuple[str, str, datetime]] = []
    may_end = threading.Event()

    def measure(stable: str, candidate: str, since: datetime) -> SideBySide | None:
        asked.append((stable, candidate, since))
        may_end.wait()
        return FOUND

    watch = LabelWatch(measure, every=0.0)
    assert [watch("1", "2", 60.0) for _ in range(3)] == [None] * 3
    may_end.set()
    until(lambda: watch("1", "2", 60.0) == FOUND)
    # one at a time
    assert asked[0] == ("1", "2", datetime(1970, 1, 1, 0, 1, tzinfo=timezone.utc))
    # another rollout has labels of its own
    assert watch("1", "3", 90.0) is None
    until(lambda: watch("1", "3", 90.0) == FOUND)


def test_it_is_measured_no_more_often_than_it_may() -> None:
    asked: list[str] = []
    watch = LabelWatch(lambda stable, *_: asked.append(stable), every=3600.0)
    until(lambda: watch("1", "2", 0.0) is None and asked)
    assert [watch("1", "2", 0.0) for _ in range(50)] == [None] * 50
    until(lambda: watch._thread is not None and not watch._thread.is_alive())
    assert [watch("1", "2", 0.0) for _ in range(50)] == [None] * 50
    assert asked == ["1"]


def test_labels_that_cannot_be_read_leave_what_was_known() -> None:
    tries: list[str] = []

    def measure(stable: str, *_: object) -> SideBySide | None:
        tries.append(stable)
        if len(tries) > 1:
            raise la.StepError("the warehouse is down")
        return FOUND

    watch = LabelWatch(measure, every=0.0)
    until(lambda: watch("1", "2", 0.0) == FOUND)
    until(lambda: watch("1", "2", 0.0) == FOUND and len(tries) > 3)
