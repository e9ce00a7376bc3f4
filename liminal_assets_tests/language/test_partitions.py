"""Windows of partitions are Dagster's own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liminal_assets.factories.partitions import partitions_definition
from liminal_assets.language.datasets import Dataset, Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import moments_of, newest_key, overlapping, window_of

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"]


def definition(partitions: Partitions) -> dg.TimeWindowPartitionsDefinition:
    dataset = Dataset(dataset="d", fetch={"file": "x.csv"}, partitions=partitions)
    project = Project.of("p", datasets=[dataset])
    found = partitions_definition(project, dataset)
    assert isinstance(found, dg.TimeWindowPartitionsDefinition)
    return found


@st.composite
def cut_by_time(draw: st.DrawFn) -> Partitions:
    every = draw(st.sampled_from(["hour", "day", "week", "month"]))
    first = draw(st.datetimes(datetime(2012, 1, 1), datetime(2014, 1, 1)))
    first = first.replace(second=0, microsecond=0)
    if every == "month":
        first = first.replace(day=min(first.day, 28))
    length = {"hour": 30, "day": 24 * 20, "week": 24 * 60, "month": 24 * 200}[every]
    return Partitions(
        every=every,
        start=first.isoformat(),
        end=(first + timedelta(hours=length)).isoformat(),
        timezone=draw(st.sampled_from(ZONES)),
    )


@settings(max_examples=60, deadline=None)
@given(cut_by_time())
@example(
    # 01:30 happens twice on 3 November
    Partitions(every="day", start="2013-11-01T01:30", end="2013-11-06", timezone="America/New_York")
)
def test_moments_of_a_partition_are_those_of_dagster(partitions: Partitions) -> None:
    theirs = definition(partitions)
    for key in theirs.get_partition_keys():
        window = theirs.time_window_for_partition_key(key)
        assert moments_of(partitions, key) == (
            window.start.astimezone(timezone.utc),
            window.end.astimezone(timezone.utc),
        ), key


@settings(max_examples=40, deadline=None)
@given(cut_by_time(), st.lists(st.integers(-40 * 60, 210 * 24 * 60), max_size=3))
@example(
    Partitions(every="hour", start="2013-11-02", end="2013-11-05", timezone="America/New_York"),
    list(range(24 * 60, 31 * 60, 30)),
)
def test_the_newest_complete_partition_is_that_of_dagster(
    partitions: Partitions, minutes: list[int]
) -> None:
    theirs = definition(partitions)
    moments = [theirs.start + timedelta(minutes=count) for count in minutes]
    ends = [moments_of(partitions, key)[1] for key in theirs.get_partition_keys()[-3:]]
    for moment in [*moments, *ends]:
        with dg.partition_loading_context(moment):
            assert newest_key(partitions, moment) == theirs.get_last_partition_key(), moment


def test_the_hour_that_daylight_saving_repeats_is_two_partitions() -> None:
    partitions = Partitions(
        every="hour", start="2013-11-03", end="2013-11-03T04:00", timezone="America/New_York"
    )
    keys = definition(partitions).get_partition_keys()
    assert "2013-11-03-01:00-0500" in keys
    hours = [moments_of(partitions, key) for key in keys]
    assert all(end - start == timedelta(hours=1) for start, end in hours)
    assert [end for _, end in hours[:-1]] == [start for start, _ in hours[1:]]


@pytest.mark.parametrize(
    ("partitions", "key", "window"),
    [
        ({"every": "month", "start": "2013-01-01"}, "2013-12", ("2013-12-01", "2014-01-01")),
        ({"every": "week", "start": "2013-01-01"}, "2013-01-08", ("2013-01-08", "2013-01-15")),
        (
            {"every": "day", "start": "2013-01-01T06:00"},
            "2013-02-28",
            ("2013-02-28 06", "2013-03-01 06"),
        ),
        (
            {"every": "day", "start": "2013-01-01", "timezone": "America/New_York"},
            "2013-03-10",
            ("2013-03-10", "2013-03-11"),
        ),
        ({"values": ["EU", "US"]}, "EU", ("EU", "EU")),
    ],
    ids=["month", "week", "day from six", "day of daylight saving", "listed value"],
)
def test_a_window_is_wall_clock_time_of_the_time_zone(
    partitions: dict[str, object], key: str, window: tuple[str, str]
) -> None:
    found = window_of(Partitions.model_validate(partitions), key)
    assert all(text.startswith(start) for text, start in zip(found, window, strict=True)), found


@pytest.mark.parametrize(
    ("partitions", "key"),
    [
        ({"values": ["EU"]}, "US"),
        ({"every": "day", "start": "2013-01-01"}, "2013-01-01'; DROP"),
        ({"every": "week", "start": "2013-01-01"}, "2013-01-09"),
    ],
    ids=["a value not listed", "no date", "a day at which no week begins"],
)
def test_a_key_that_is_none_is_refused(partitions: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match="'"):
        window_of(Partitions.model_validate(partitions), key)


def test_partitions_of_another_cut_overlap_by_their_moments() -> None:
    days = Partitions(every="day", start="2013-01-01")
    keys = [f"2013-01-{day:02}" for day in range(1, 32)]
    week = moments_of(Partitions(every="week", start="2013-01-01"), "2013-01-08")
    assert overlapping(days, keys, *week) == [f"2013-01-{day:02}" for day in range(8, 15)]
    assert overlapping(days, keys, None, week[0]) == keys[:7]
