"""Features: point-in-time joins see only what was known, and the spine keeps its rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.runs import write_project

START = datetime(2013, 1, 1)
SPINE = [
    {"id": 1, "at": START + timedelta(hours=5), "place": "EWR"},
    {"id": 2, "at": START + timedelta(hours=9), "place": "EWR"},
    {"id": 3, "at": START + timedelta(hours=9), "place": "JFK"},
]
WEATHER = [
    {"place": "EWR", "seen": START + timedelta(hours=4), "temp": 4.0},
    {"place": "EWR", "seen": START + timedelta(hours=5), "temp": 5.0},
    {"place": "EWR", "seen": START + timedelta(hours=6), "temp": 6.0},
    {"place": "LGA", "seen": START, "temp": 0.0},
]
PLACES = [{"place": "EWR", "at": 9, "gates": 3}, {"place": "JFK", "at": 8, "gates": 5}]


def feature(join: dict[str, Any], **more: Any) -> Project:
    weather = {"dataset": "weather", "fetch": {"file": "w.csv"}, "timestamp": "seen"}
    return Project.of(
        "p",
        datasets=[
            weather,
            {"dataset": "flights", "fetch": {"file": "f.csv"}},
            {"dataset": "places", "fetch": {"file": "p.csv"}},
        ],
        features=[{"feature": "f", "from": {"flights": {}, **join}, "entity": "id", **more}],
    )


def built(join: dict[str, Any], rows: Any = None, **more: Any) -> list[dict[str, Any]]:
    name = next(iter(join))
    inputs = {"flights": SPINE, name: rows or {"weather": WEATHER, "places": PLACES}[name]}
    table = la.steps.build_features(feature(join, **more), "f", inputs)
    result: list[dict[str, Any]] = table.to("arrow").sort_by("id").to_pylist()
    return result


AS_OF: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "newest that was known": ({}, [5.0, 6.0, None]),
    "known later than seen": ({"lag": "1h"}, [4.0, 6.0, None]),
    "known much later": ({"lag": "4h"}, [None, 5.0, None]),
    "not too old": ({"within": "1h"}, [5.0, None, None]),
    "just not too old": ({"within": "3h"}, [5.0, 6.0, None]),
    "late and not too old": ({"within": "2h", "lag": "1h"}, [4.0, None, None]),
}


@pytest.mark.parametrize(("options", "temps"), AS_OF.values(), ids=AS_OF)
def test_a_row_is_joined_with_the_newest_known_at_its_moment(
    options: dict[str, Any], temps: list[Any]
) -> None:
    rows = built({"weather": {"as_of": "at", "by": "place", **options}})
    assert [row["temp"] for row in rows] == temps


def test_an_inner_join_drops_rows_of_which_nothing_is_known() -> None:
    join = {"as_of": "at", "by": "place", "within": "1h", "how": "inner"}
    assert [row["id"] for row in built({"weather": join})] == [1]


def test_joined_columns_may_be_chosen_and_named() -> None:
    join = {"as_of": "at", "by": {"place": "place"}, "prefix": "w_", "columns": ["temp"]}
    assert list(built({"weather": join})[0]) == ["id", "at", "place", "w_temp"]


def test_without_a_choice_the_columns_that_are_new_are_taken() -> None:
    assert list(built({"places": {"on": "place"}})[0]) == ["id", "at", "place", "gates"]
    rows = built({"places": {"on": "place", "prefix": "p_"}})
    assert list(rows[0]) == ["id", "at", "place", "p_at", "p_gates"]
    assert [row["p_gates"] for row in rows] == [3, 3, 5]


def test_names_of_keys_may_differ() -> None:
    rows = [{"code": "JFK", "gates": 5}]
    found = built({"places": {"on": {"place": "code"}}}, rows)
    assert [row["gates"] for row in found] == [None, None, 5]


def test_of_two_rows_of_one_moment_the_last_is_taken_every_time() -> None:
    twice = [*WEATHER, {**WEATHER[2], "temp": 66.0}]
    for _ in range(5):
        rows = built({"weather": {"as_of": "at", "by": "place"}}, twice)
        assert [row["temp"] for row in rows] == [5.0, 66.0, None]


def test_a_key_that_repeats_would_multiply_rows_and_is_an_error(tmp_path: Path) -> None:
    yaml = """
name: p
datasets:
  - {dataset: flights, fetch: {file: f.csv}}
  - {dataset: places, fetch: {file: p.csv}}
features:
  - feature: f
    from: {flights: {}, places: {on: place}}
    entity: id
"""
    project = write_project(tmp_path, yaml)
    inputs = {"flights": SPINE, "places": [*PLACES, PLACES[0]]}
    with pytest.raises(
        la.StepError, match=r"places has several rows .*place = EWR \(2 rows\)"
    ) as e:
        la.steps.build_features(project, "f", inputs)
    assert e.value.location is not None
    assert (e.value.location.line, e.value.location.column) == (8, 38)


def test_rows_come_in_the_order_of_moment_and_entity() -> None:
    project = feature({"places": {"on": "place"}}, timestamp="at")
    table = la.steps.build_features(project, "f", {"flights": SPINE[::-1], "places": PLACES})
    assert table.to("pandas")["id"].tolist() == [1, 2, 3]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "as of": ({"as_of": "att", "by": "place"}, "flights has no column 'att'.*did you mean 'at'"),
    "by of the spine": ({"as_of": "at", "by": {"plac": "place"}}, "flights has no column 'plac'"),
    "by of the input": ({"as_of": "at", "by": {"place": "plac"}}, "weather has no column 'plac'"),
    "timestamp": ({"as_of": "at", "timestamp": "sen"}, "weather has no column 'sen'.*'seen'"),
    "columns": ({"as_of": "at", "columns": ["tmp"]}, "weather has no column 'tmp'.*'temp'"),
    "name taken": ({"as_of": "at", "columns": ["place"]}, "the column 'place' .* there already"),
    "no moment": ({"as_of": "id"}, "'id' of flights is BIGINT, not a moment"),
    "input's is no moment": ({"as_of": "at", "timestamp": "temp"}, "'temp' of weather is DOUBLE"),
}


@pytest.mark.parametrize(("join", "message"), WRONG.values(), ids=WRONG)
def test_a_join_that_cannot_work_is_told(join: dict[str, Any], message: str) -> None:
    with pytest.raises(la.StepError, match=message):
        built({"weather": join})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"entity": "idd"}, "no entity column 'idd'.*did you mean 'id'"),
        ({"timestamp": "att"}, "no timestamp column 'att'.*did you mean 'at'"),
    ],
    ids=["entity", "timestamp"],
)
def test_rows_must_have_their_entity_and_timestamp(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(la.StepError, match=message):
        built({"places": {"on": "place"}}, **keys)


def test_sql_and_functions_see_the_joined_spine_and_inputs_that_are_not_joined(
    tmp_path: Path,
) -> None:
    yaml = """
name: p
datasets:
  - {dataset: flights, fetch: {file: f.csv}}
  - {dataset: places, fetch: {file: p.csv}}
  - {dataset: weather, fetch: {file: w.csv}, timestamp: seen}
features:
  - feature: f
    from: {flights: {}, weather: {as_of: at, by: place}, places: {}}
    entity: id
    WAY
"""
    inputs = {"flights": SPINE, "weather": WEATHER, "places": PLACES}
    expected = [{"id": 1, "warm": 8.0}, {"id": 2, "warm": 9.0}, {"id": 3, "warm": None}]
    sql = "sql: SELECT id, temp + gates AS warm FROM flights JOIN places USING (place) ORDER BY id"
    project = write_project(tmp_path, yaml.replace("WAY", sql))
    assert la.steps.build_features(project, "f", inputs).to("arrow").to_pylist() == expected
    code = """
import polars as pl


def build(places: pl.DataFrame, flights: pl.DataFrame) -> pl.DataFrame:
    rows = flights.join(places, on="place").sort("id")
    return rows.select("id", warm=pl.col("temp") + pl.col("gates"))
"""
    project = write_project(tmp_path, yaml.replace("WAY", "python: 'code_of:build'"), code_of=code)
    assert la.steps.build_features(project, "f", inputs).to("arrow").to_pylist() == expected


moments = st.integers(0, 30).map(lambda hours: START + timedelta(hours=hours))
rows_of = st.lists(st.tuples(st.sampled_from("ab"), moments), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(
    spine=rows_of,
    known=st.lists(st.tuples(st.sampled_from("abc"), moments), min_size=1, unique=True),
    within=st.none() | st.integers(1, 9),
    lag=st.none() | st.integers(1, 5),
    how=st.sampled_from(["left", "inner"]),
)
def test_joins_agree_with_a_search_through_all_rows(
    spine: list[tuple[str, datetime]],
    known: list[tuple[str, datetime]],
    within: int | None,
    lag: int | None,
    how: str,
) -> None:
    left = pd.DataFrame(spine, columns=["place", "at"]).assign(id=range(len(spine)))
    right = pd.DataFrame(known, columns=["place", "seen"]).assign(temp=range(len(known)))
    join: dict[str, Any] = {"as_of": "at", "by": "place", "how": how}
    join |= {"within": f"{within}h"} if within else {}
    join |= {"lag": f"{lag}h"} if lag else {}
    project = feature({"weather": join})
    table = la.steps.build_features(project, "f", {"flights": left, "weather": right})
    found = {row["id"]: row["temp"] for row in table.to("arrow").to_pylist()}

    expected = {}
    for row in left.itertuples():
        candidates = right[
            (right.place == row.place) & (right.seen + timedelta(hours=lag or 0) <= row.at)
        ].sort_values("seen")
        newest = candidates.iloc[-1] if len(candidates) else None
        if newest is not None and within and row.at - newest.seen > timedelta(hours=within):
            newest = None
        if newest is not None or how == "left":
            expected[row.id] = None if newest is None else newest.temp
    assert found == expected


MONTHLY = """
name: p
datasets:
  - dataset: flights
    fetch: {file: f.csv}
    partitions: {every: month, start: '2013-01-01'}
  - dataset: weather
    fetch: {file: w.csv}
    timestamp: seen
    partitions: {every: day, start: '2013-01-01'}
features:
  - feature: f
    from: {flights: {}, weather: {as_of: at WITHIN}}
    entity: id
"""


def monthly(folder: Path, within: str = "") -> Project:
    project = write_project(folder, MONTHLY.replace("WITHIN", within))
    store = TableStore(project)
    store.write("flights", "2013-02", [{"id": 1, "at": datetime(2013, 2, 1, 1)}])
    for day in ("2013-01-05", "2013-01-31", "2013-02-28", "2013-03-01"):
        row = {"seen": datetime.fromisoformat(day), "temp": int(day[-2:])}
        store.write("weather", day, [row])
    return project


def test_a_partition_sees_what_was_known_before_it(tmp_path: Path) -> None:
    (row,) = (
        la.steps.build_features(monthly(tmp_path), "f", partition="2013-02").to("arrow").to_pylist()
    )
    assert row["temp"] == 31


def test_a_partition_of_which_nothing_was_known_yet_has_nulls(tmp_path: Path) -> None:
    project = monthly(tmp_path, ", within: 2h")
    store = TableStore(project)
    for day in store.partitions("weather")[:2]:
        store.delete("weather", day)
    (row,) = la.steps.build_features(project, "f", partition="2013-02").to("arrow").to_pylist()
    assert row["temp"] is None
