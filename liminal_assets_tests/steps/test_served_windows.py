"""When windows of served rows begin and end."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.served_windows import served_window, sliding_window, window_before

NOW = datetime(2024, 5, 15, 12, tzinfo=timezone.utc)
"""A Wednesday."""


def monitor(every: str | None, window: str | None = None, **cut: Any) -> Monitor:
    said: dict[str, Any] = {"monitor": "m", "deployment": "d", "drift": {}, "window": window}
    if every:
        said["partitions"] = {"every": every, "start": "2024-01-01", **cut}
    return Monitor.model_validate(said)


def window(block: Monitor, key: str | None, now: datetime = NOW) -> Any:
    return served_window(Project.of("p", check=False, monitors=[block]), block, key, now)


def test_a_window_without_partitions_slides_and_is_named_by_the_period_in_which_it_ends() -> None:
    block = monitor(None, "7d")
    found = sliding_window(block, NOW)
    assert (found.since, found.until) == (NOW - timedelta(days=7), NOW)
    assert found.key == "2024-05-13..2024-05-20"
    assert found.partition is None
    assert sliding_window(block, NOW + timedelta(days=4)).key == found.key
    assert sliding_window(block, NOW + timedelta(days=5)).key == "2024-05-20..2024-05-27"


@pytest.mark.parametrize(
    ("every", "reach", "cut", "key", "since", "until"),
    [
        ("day", None, {}, "2024-05-14", "2024-05-14T00:00", "2024-05-15T00:00"),
        ("day", "7d", {}, "2024-05-14", "2024-05-08T00:00", "2024-05-15T00:00"),
        (
            "day",
            None,
            {"start": "2024-01-01T06:00"},
            "2024-05-14",
            "2024-05-14T06",
            "2024-05-15T06",
        ),
        ("hour", "36h", {}, "2024-05-15-11:00", "2024-05-14T00:00", "2024-05-15T12:00"),
        ("month", None, {}, "2024-02", "2024-02-01T00:00", "2024-03-01T00:00"),
        # from the Sunday on which clocks go forward: that day has 23 hours
        (
            "day",
            "7d",
            {"timezone": "Europe/Rome"},
            "2024-04-01",
            "2024-03-25T23:00",
            "2024-04-01T22",
        ),
        (
            "day",
            "1d",
            {"timezone": "Europe/Rome"},
            "2024-03-31",
            "2024-03-30T23:00",
            "2024-03-31T22",
        ),
    ],
)
def test_a_window_ends_with_its_partition_and_reaches_back_from_there(
    every: str, reach: str | None, cut: dict[str, str], key: str, since: str, until: str
) -> None:
    found = window(monitor(every, reach, **cut), key)
    assert (found.key, found.partition) == (key, key)
    moments = [f"{moment:%Y-%m-%dT%H:%M}" for moment in (found.since, found.until)]
    assert [m.startswith(t) for m, t in zip(moments, (since, until), strict=True)] == [True] * 2


def test_without_a_key_it_is_the_newest_that_is_complete() -> None:
    assert window(monitor("day"), None).key == "2024-05-14"
    assert window(monitor("day"), None, NOW + timedelta(hours=12)).key == "2024-05-15"
    assert window(monitor("week"), None).key == "2024-05-06"
    assert window(monitor("month", end="2024-03-01"), None).key == "2024-02"


@pytest.mark.parametrize(
    ("block", "key", "message", "hint"),
    [
        (
            monitor("day"),
            "2024-05-15",
            "can't be judged before it ends, at 2024-05-16 00:00",
            "05-14",
        ),
        (monitor("day"), "2023-12-31", "no partition '2023-12-31'", "complete is 2024-05-14"),
        (monitor("day"), "2024-5-1", "no partition '2024-5-1'", "complete is 2024-05-14"),
        (monitor("week"), "2024-05-07", "no partition '2024-05-07'", "complete is 2024-05-06"),
        (monitor("day", end="2024-05-01"), "2024-05-02", "no partition", "complete is 2024-04-30"),
        (monitor("day", start="2025-01-01"), None, "is complete yet", "they begin at 2025-01-01"),
        (monitor(None), "2024-05-14", "have no partitions", "or say 'partitions: {every: day"),
    ],
    ids=["not over", "too early", "not its key", "no week", "after the end", "none yet", "slides"],
)
def test_a_partition_that_there_is_not_or_not_yet_is_told(
    block: Monitor, key: str | None, message: str, hint: str
) -> None:
    with pytest.raises(StepError) as caught:
        window(block, key)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_the_window_before_shares_no_rows_and_may_lie_before_the_first_partition() -> None:
    for block, key, before in (
        (monitor("day"), "2024-05-14", "2024-05-13"),
        (monitor("day", "7d"), "2024-05-14", "2024-05-07"),
        # a window of 36 hours begins at noon, and the newest that had ended then did so at midnight
        (monitor("day", "36h"), "2024-05-14", "2024-05-12"),
        (monitor("month"), "2024-01", "2023-12"),
    ):
        found = window(block, key)
        earlier = window_before(block, found)
        assert earlier.key == before
        assert earlier.until is not None
        assert earlier.until <= found.since
    slides = sliding_window(monitor(None, "7d"), NOW)
    assert window_before(monitor(None, "7d"), slides).until == slides.since
