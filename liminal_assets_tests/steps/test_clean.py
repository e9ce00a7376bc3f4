"""Clean: SQL, functions and declarative steps over inputs by name."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import liminal_assets as la
from liminal_assets.language.cleaning import CleaningStep
from liminal_assets.language.loading import Project
from liminal_assets.steps.clean import clean_rows
from liminal_assets.steps.context import StepContext
from liminal_assets.storage.sessions import connect
from liminal_assets.storage.tables import Table, TableStore
from liminal_assets_tests.runs import write_project

N = None
ROWS = [
    {"id": 1, "name": " Ann ", "x": 1.5, "day": "02/01/2013"},
    {"id": 2, "name": "bob", "x": N, "day": "03/01/2013"},
    {"id": 2, "name": "bob", "x": 9.25, "day": "04/01/2013"},
    {"id": 3, "name": N, "x": -4.0, "day": "?"},
]


def cleaned(*steps: Any, rows: Any = ROWS) -> list[dict[str, Any]]:
    dataset = {"dataset": "c", "clean": {"from": "r", "steps": list(steps)}}
    project = Project.of("p", datasets=[dataset, {"dataset": "r", "fetch": {"file": "x.csv"}}])
    result: list[dict[str, Any]] = la.steps.clean(project, "c", {"r": rows}).to("arrow").to_pylist()
    return result


def column(name: str, *steps: Any) -> list[Any]:
    return [row[name] for row in cleaned(*steps)]


STEPS = {
    "select": ({"select": ["x", "id"]}, ["x", "id"]),
    "drop": ({"drop": "day"}, ["id", "name", "x"]),
    "rename": ({"rename": {"x": "y", "id": "key"}}, ["key", "name", "y", "day"]),
    "derive": ({"derive": {"x": "x * 2", "z": "id"}}, ["id", "name", "x", "day", "z"]),
}


@pytest.mark.parametrize(("step", "names"), STEPS.values(), ids=STEPS)
def test_a_step_keeps_columns_in_their_order(step: dict[str, Any], names: list[str]) -> None:
    assert list(cleaned(step)[0]) == names


VALUES = {
    "trim": ("name", {"trim": "name"}, ["Ann", "bob", "bob", N]),
    "lower": ("name", {"lower": ["name"]}, [" ann ", "bob", "bob", N]),
    "upper": ("name", {"upper": ["name"]}, [" ANN ", "BOB", "BOB", N]),
    "cast": ("id", {"cast": {"id": "string"}}, ["1", "2", "2", "3"]),
    "cast to null": ("day", {"cast": {"day": {"type": "integer", "invalid": "null"}}}, [N] * 4),
    "filter": ("id", {"filter": "x > 0 -- comment"}, [1, 2]),
    "derive": ("y", {"derive": {"y": "x + id"}}, [2.5, N, 11.25, -1.0]),
    "fill with a value": ("x", {"fill_null": {"x": 0}}, [1.5, 0.0, 9.25, -4.0]),
    "fill with text": ("name", {"fill_null": {"name": "?'"}}, [" Ann ", "bob", "bob", "?'"]),
    "fill with the mean": ("x", {"fill_null": {"x": {"method": "mean"}}}, [1.5, 2.25, 9.25, -4.0]),
    "fill with the median": (
        "x",
        {"fill_null": {"x": {"method": "median"}}},
        [1.5, 1.5, 9.25, -4.0],
    ),
    "fill within a group": (
        "x",
        {"fill_null": {"x": {"method": "max", "by": "id"}}},
        [1.5, 9.25, 9.25, -4.0],
    ),
    "fill with the most frequent": (
        "name",
        {"fill_null": {"name": {"method": "most_frequent"}}},
        [" Ann ", "bob", "bob", "bob"],
    ),
    "fill with the one before": (
        "x",
        {"fill_null": {"x": {"method": "previous", "order_by": "day"}}},
        [1.5, 1.5, 9.25, -4.0],
    ),
    "fill with the one after": (
        "x",
        {"fill_null": {"x": {"method": "next", "order_by": "day"}}},
        [1.5, 9.25, 9.25, -4.0],
    ),
    "null if": ("name", {"null_if": {"name": ["bob", "x"]}}, [" Ann ", N, N, N]),
    "null if one": ("id", {"null_if": {"id": 2}}, [1, N, N, 3]),
    "drop any null": ("id", {"drop_null": {}}, [1, 2]),
    "drop nulls of a column": ("id", "drop_null", [1, 2]),
    "drop where all are null": (
        "id",
        {"drop_null": {"columns": ["x", "name"], "how": "all"}},
        [1, 2, 2, 3],
    ),
    "drop duplicates, first": ("x", {"drop_duplicates": "id"}, [1.5, N, -4.0]),
    "drop duplicates, last": (
        "x",
        {"drop_duplicates": {"by": "id", "keep": "last"}},
        [1.5, 9.25, -4.0],
    ),
    "drop duplicates by order": (
        "x",
        {"drop_duplicates": {"by": "id", "order_by": "-day"}},
        [1.5, 9.25, -4.0],
    ),
    "drop all duplicates": ("id", {"drop_duplicates": {"by": "id", "keep": "none"}}, [1, 3]),
    "replace": ("id", {"replace": {"id": {"2": 20}}}, [1, 20, 20, 3]),
    "replace text": (
        "day",
        {"replace_text": {"day": {"pattern": r"(\d+)/(\d+)", "with": r"\2-\1"}}},
        ["01-02/2013", "01-03/2013", "01-04/2013", "?"],
    ),
    "clip": ("x", {"clip": {"x": {"at_least": 0, "at_most": 5}}}, [1.5, N, 5.0, 0.0]),
    "round": ("x", {"round": {"x": 1}}, [1.5, N, 9.3, -4.0]),
    "sort": ("x", {"sort": ["-x"]}, [9.25, 1.5, -4.0, N]),
    "sort by two": ("x", {"sort": ["-id", "x"]}, [-4.0, 9.25, N, 1.5]),
    "limit": ("id", {"limit": 2}, [1, 2]),
}


@pytest.mark.parametrize(("name", "step", "values"), VALUES.values(), ids=VALUES)
def test_a_step_makes_the_values_that_it_says(name: str, step: Any, values: list[Any]) -> None:
    found = column(name, step)
    ordered = "sort" in str(step)
    key = lambda value: (value is None, str(value))  # noqa: E731
    assert found == values if ordered else sorted(found, key=key) == sorted(values, key=key)


def test_times_of_a_zone_are_read_as_moments_in_utc() -> None:
    step = {
        "parse_timestamp": {
            "day": {
                "format": ["%d.%m.%Y", "%d/%m/%Y"],
                "timezone": "America/New_York",
                "invalid": N,
            }
        }
    }
    assert column("day", step, {"limit": 1}) == [datetime(2013, 1, 2, 5, tzinfo=timezone.utc)]
    assert column("day", step)[3] is None


def test_rows_that_are_alike_in_all_columns_are_kept_once() -> None:
    twice = [*ROWS, ROWS[0], ROWS[3]]
    assert sorted(map(str, cleaned("drop_duplicates", rows=twice))) == sorted(map(str, ROWS))


def test_steps_work_one_after_the_other() -> None:
    steps = [
        {"filter": "id < 3"},
        {"derive": {"big": "coalesce(x > 5, false)"}},
        {"rename": {"big": "large"}},
        {"drop_duplicates": {"by": "id", "order_by": "-large"}},
        {"select": ["id", "large"]},
        {"sort": "id"},
    ]
    assert cleaned(*steps) == [{"id": 1, "large": False}, {"id": 2, "large": True}]


MANY = [{"id": n, "group": n % 7, "x": None if n % 3 else float(n)} for n in range(150_000)]
PICKED = {
    "duplicates": ("drop_duplicates", [0, 1, 2]),
    "values filled": ({"fill_null": {"x": {"method": "mean", "by": "group"}}}, [0, 1, 2]),
    "a sort with ties": ({"sort": "-group"}, [6, 13, 20]),
}


@pytest.mark.parametrize(("step", "first"), PICKED.values(), ids=PICKED)
def test_the_rows_that_a_limit_takes_are_the_first_in_order_after(
    step: Any, first: list[int]
) -> None:
    found = cleaned(step, {"limit": 3}, rows=pa.Table.from_pylist(MANY))
    assert [row["id"] for row in found] == first


YAML = """
name: shop
datasets:
  - dataset: raw
    fetch: {file: raw.csv}
  - dataset: other
    fetch: {file: other.csv}
  - dataset: sales
    clean:
      from: FROM
      WAY
"""


def project_of(folder: Path, way: str, inputs: str = "raw", **files: str) -> Project:
    return write_project(folder, YAML.replace("FROM", inputs).replace("WAY", way), **files)


WRONG_STEPS = {
    "unknown column": ("trim: nme", "trim names a column 'nme' that isn't there", "'name'"),
    "wrong expression": ("derive: {z: 'nme + 1'}", '"nme" not found', None),
    "no such function": ("filter: 'foo(x) > 1'", "foo does not exist", None),
    "unclosed": ("filter: 'x > (1'", "compile the step filter", None),
    "name twice": ("rename: {x: id}", "makes two columns called 'id'", None),
    "nothing left": ("drop: [id, name, x, day]", "takes every column away", None),
    "order by nothing": ("drop_duplicates: {by: id, order_by: -dayy}", "a column 'dayy'", "'day'"),
}


@pytest.mark.parametrize(("step", "message", "hint"), WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_a_step_that_cannot_work_is_an_error_at_its_line(
    tmp_path: Path, step: str, message: str, hint: str | None
) -> None:
    project = project_of(tmp_path, f"steps:\n        - limit: 9\n        - {step}")
    with pytest.raises(la.StepError, match=message) as raised:
        la.steps.clean(project, "sales", {"raw": ROWS})
    assert raised.value.location is not None
    assert (raised.value.location.line, raised.value.location.column) == (13, 11)
    if hint:
        assert hint in str(raised.value.hint)


def test_a_value_that_is_none_of_the_type_is_told(tmp_path: Path) -> None:
    project = project_of(tmp_path, "steps: [cast: {day: integer}]")
    with pytest.raises(la.StepError, match=r"Could not convert string") as raised:
        la.steps.clean(project, "sales", {"raw": ROWS})
    assert raised.value.location is not None
    assert raised.value.location.line == 11


MISTAKES = {
    "unknown step": ("dropp_null: x", "unknown key 'dropp_null'", "drop_null"),
    "two in one": ("{select: x, drop: y}", "takes one of select, drop", None),
    "wrong type": ("cast: {x: flot}", "must be 'string'", "float"),
    "wrong option": ("drop_duplicates: {by: x, kep: last}", "unknown key 'kep'", "keep"),
    "order missing": ("fill_null: {x: {method: previous}}", "'order_by' goes with", None),
    "no bound": ("clip: {x: {}}", "needs 'at_least' or 'at_most'", None),
    "limit": ("limit: -1", "greater than or equal to 0", None),
}


@pytest.mark.parametrize(("step", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_step_is_a_validation_error_at_its_line(
    tmp_path: Path, step: str, message: str, hint: str | None
) -> None:
    with pytest.raises(la.InvalidProjectError) as raised:
        project_of(tmp_path, f"steps:\n        - limit: 9\n        - {step}")
    (mistake,) = raised.value.diagnostics
    assert message in mistake.message
    assert mistake.location.line == 13
    assert hint is None or hint in str(mistake.hint)


def test_every_step_of_the_language_is_tested_here() -> None:
    used = {
        key for _, step, _ in VALUES.values() for key in ([step] if isinstance(step, str) else step)
    }
    used |= {key for step, _ in STEPS.values() for key in step} | {"parse_timestamp"}
    assert used == set(CleaningStep.model_fields)


def test_steps_know_what_each_column_is_made_of() -> None:
    steps = [
        {"derive": {"total": "x * id + 1", "one": "1"}},
        {"rename": {"total": "sum"}},
        {"fill_null": {"sum": {"method": "mean", "by": "name"}}},
        {"drop": "x"},
    ]
    dataset = {"dataset": "c", "clean": {"from": "r", "steps": steps}}
    project = Project.of("p", datasets=[dataset, {"dataset": "r", "fetch": {"file": "x.csv"}}])
    context = StepContext(project, project.block("c"))
    made = clean_rows(context, {"r": Table.from_rows(ROWS)}, connect())
    assert made.lineage()["sum"] == (("r", "id"), ("r", "name"), ("r", "x"))
    assert made.lineage()["one"] == ()
    assert "x" not in made.lineage()


def test_sql_reads_its_inputs_by_name_and_knows_its_lineage(tmp_path: Path) -> None:
    sql = "sql: 'SELECT id, x + y AS z, count(*) OVER () AS n FROM raw JOIN other USING (id)'"
    project = project_of(tmp_path, sql, "[raw, other]")
    context = StepContext(project, project.block("sales"))
    tables = {
        "raw": Table.from_rows([{"id": 1, "x": 2}]),
        "other": Table.from_rows([{"id": 1, "y": 3}]),
    }
    made = clean_rows(context, tables, connect())
    assert made.rows.fetchall() == [(1, 5, 1)]
    assert made.lineage()["z"] == [("other", "y"), ("raw", "x")]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT idd FROM raw", '"idd" not found'),
        ("SELECT * FROM raws", "Table with name raws does not exist"),
        ("SELEC 1", "syntax error"),
    ],
    ids=["wrong column", "wrong table", "wrong syntax"],
)
def test_wrong_sql_is_an_error_at_its_line(tmp_path: Path, sql: str, message: str) -> None:
    project = project_of(tmp_path, f'sql: "{sql}"')
    with pytest.raises(la.StepError, match=message) as raised:
        la.steps.clean(project, "sales", {"raw": ROWS})
    assert raised.value.location is not None
    assert (raised.value.location.line, raised.value.location.column) == (11, 12)


FORMS = {
    "pandas.DataFrame": "raw.assign(kind=type(raw).__module__.split('.')[0])",
    "polars.DataFrame": "raw.with_columns(kind=polars.lit('polars'))",
    "polars.LazyFrame": "raw.with_columns(kind=polars.lit('polars'))",
    "pyarrow.Table": "raw.append_column('kind', [['pyarrow'] * len(raw)])",
    "duckdb.DuckDBPyRelation": "raw.project(\"*, 'duckdb' AS kind\")",
    "ibis.Table": "raw.mutate(kind=ibis.literal('ibis'))",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_function_gets_its_inputs_in_the_form_it_annotates(tmp_path: Path, form: str) -> None:
    library = form.partition(".")[0]
    code = f"import {library}\n\n\ndef clean(raw: {form}):\n    return {FORMS[form]}\n"
    project = project_of(tmp_path, "python: 'code:clean'", code=code)
    rows = la.steps.clean(project, "sales", {"raw": ROWS}).to("arrow").to_pylist()
    assert [row["kind"] for row in rows] == [library] * 4
    assert [row["x"] for row in rows] == [row["x"] for row in ROWS]


def test_without_inputs_the_materialised_rows_are_cleaned(tmp_path: Path) -> None:
    project = project_of(tmp_path, "steps: [limit: 1]")
    with pytest.raises(la.StepError, match=r"raw has no rows yet"):
        la.steps.clean(project, "sales")
    TableStore(project).write("raw", None, ROWS)
    assert la.steps.clean(project, "sales").rows == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 99)), min_size=1),
    st.sampled_from(["first", "last"]),
    st.booleans(),
)
def test_of_rows_that_are_alike_the_first_or_last_by_order_stays(
    rows: list[tuple[int, int, int]], keep: str, descending: bool
) -> None:
    table = [{"key": a, "rank": b, "value": c} for a, b, c in rows]
    order = sorted(table, key=lambda row: -row["rank"] if descending else row["rank"])
    expected = {}
    for row in order if keep == "last" else reversed(order):
        expected[row["key"]] = row
    step = {"by": "key", "keep": keep, "order_by": "-rank" if descending else "rank"}
    found = cleaned({"drop_duplicates": step}, rows=table)
    assert {row["key"]: row for row in found} == expected
    assert len(found) == len(expected)
