"""Checks of rows: their names, what they find, what they say, and when they can't be judged."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import liminal_assets as la
from liminal_assets.language.datasets import Check
from liminal_assets.language.loading import Project
from liminal_assets.steps.checks import check_names, check_rows, row_conditions, run_checks
from liminal_assets.steps.report import Outcome, Records
from liminal_assets.storage.tables import Table, TableStore

NOT_NULL = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 2, None, 5]),
        "price": pa.array([1.0, 2.5, float("nan"), 100.0, -3.0]),
        "name": pa.array(["a", "it's", None, "B", "a%c"]),
        "at": pa.array([datetime(2013, 1, day) for day in range(1, 6)]),
        "zoned": pa.array(
            [datetime(2013, 1, day, tzinfo=timezone.utc) for day in range(1, 6)],
            pa.timestamp("us", "UTC"),
        ),
    }
)


def check(said: Any) -> Check:
    return Check.model_validate(said)


def one(said: Any, rows: Any = ROWS, **keywords: Any) -> Outcome:
    (outcome,) = check_rows(rows, [said], **keywords)
    return outcome


@pytest.mark.parametrize(
    ("checks", "names"),
    [
        ([{NOT_NULL: {"column": "flight"}}], [f"{NOT_NULL}__flight"]),
        ([{"ExpectColumnValuesToNotBeNull": {"column": "flight"}}], [f"{NOT_NULL}__flight"]),
        (["expect_table_row_count_to_be_between"], ["expect_table_row_count_to_be_between"]),
        (
            [{"expect_compound_columns_to_be_unique": {"column_list": ["a", "b c"]}}],
            ["expect_compound_columns_to_be_unique__a__b_c"],
        ),
        (
            [{"expect_column_pair_values_to_be_equal": {"column_A": "a", "column_B": "ü"}}],
            ["expect_column_pair_values_to_be_equal__a___"],
        ),
        ([{NOT_NULL: {"column": "a"}}] * 3, [f"{NOT_NULL}__a{n}" for n in ("", "__2", "__3")]),
        (
            [{NOT_NULL: {"column": "a"}}, {BETWEEN: {"column": "b", "name": f"{NOT_NULL}__a"}}],
            [f"{NOT_NULL}__a__2", f"{NOT_NULL}__a"],
        ),
        ([{NOT_NULL: {"column": "a", "name": "keys"}}], ["keys"]),
    ],
    ids=["column", "class", "bare", "several", "letters", "equal", "given_wins", "given"],
)
def test_a_check_is_called_by_its_expectation_and_columns_unless_it_has_a_name(
    checks: list[Any], names: list[str]
) -> None:
    assert list(check_names(list(map(check, checks)))) == names


def test_a_name_of_many_columns_is_cut_and_stays_unique() -> None:
    long = [f"column_with_a_long_name_{n}" for n in range(9)]
    lists = [long, [*long, "more"]]
    names = check_names(
        [check({"expect_compound_columns_to_be_unique": {"column_list": each}}) for each in lists]
    )
    assert len(set(names)) == 2
    assert all(len(name) <= 120 for name in names)


def test_outcomes_keep_the_order_of_the_checks() -> None:
    said = [
        {NOT_NULL: {"column": "id"}},
        "expect_table_row_count_to_be_between",
        {NOT_NULL: {"column": "missing"}},
        {"expect_column_max_to_be_between": {"column": "price", "max_value": 1000}},
    ]
    outcomes = check_rows(ROWS, said)
    assert [outcome.passed for outcome in outcomes] == [False, True, False, True]
    assert [outcome.name for outcome in outcomes] == list(check_names(list(map(check, said))))


def test_a_failed_check_tells_counts_percent_and_whole_failing_rows() -> None:
    outcome = one({BETWEEN: {"column": "price", "min_value": 0, "max_value": 50}})
    assert not outcome.passed
    assert outcome.description == (
        "price values must be greater than or equal to 0 and less than or equal to 50: "
        "2 of 4 rows break it (50 %)"
    )
    metadata = dict(outcome.metadata)
    failing = metadata.pop("failing_rows")
    assert [row["id"] for row in failing.rows] == [None, 5]
    assert set(failing.rows[0]) == set(ROWS.column_names)
    assert metadata == {
        "expectation": BETWEEN,
        "arguments": {"column": "price", "min_value": 0, "max_value": 50},
        "element_count": 5,
        "missing_count": 1,
        "missing_percent": 20.0,
        "unexpected_count": 2,
        "unexpected_percent": 50.0,
        "unexpected_values": [100.0, -3.0],
    }


def test_at_most_twenty_failing_rows_are_shown() -> None:
    outcome = one({NOT_NULL: {"column": "x"}}, pa.table({"x": pa.nulls(100, pa.int64())}))
    failing = outcome.metadata["failing_rows"]
    assert isinstance(failing, Records)
    assert len(failing.rows) == 20
    assert outcome.metadata["unexpected_count"] == 100


@pytest.mark.parametrize(("mostly", "passed"), [(1, False), (0.8, True), (0.81, False)], ids=str)
def test_mostly_tolerates_a_share_of_rows(mostly: float, passed: bool) -> None:
    outcome = one({NOT_NULL: {"column": "id", "mostly": mostly}})
    assert outcome.passed is passed
    assert outcome.metadata["unexpected_count"] == 1


@pytest.mark.parametrize(
    ("severity", "blocks"),
    [(None, True), ("error", True), ("critical", True), ("warning", False), ("info", False)],
)
def test_only_a_failed_check_of_severity_error_blocks(severity: str | None, blocks: bool) -> None:
    said = {"severity": severity} if severity else {}
    assert one({NOT_NULL: {"column": "id", **said}}).blocks is blocks


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({NOT_NULL: {"column": "prise"}}, "no column 'prise' (did you mean 'price'?)"),
        ({BETWEEN: {"column": "name", "min_value": 1}}, "of the same type"),
        ({"expect_column_sum_to_be_between": {"column": "name"}}, "could not be judged"),
        ({"expect_column_values_to_match_regex": {"column": "name", "regex": "("}}, "judged"),
        ({NOT_NULL: {"column": "id", "row_condition": "nome = 'a'"}}, '"nome"'),
        ({"unexpected_rows_expectation": {"unexpected_rows_query": "SELEC {batch}"}}, "syntax"),
        ({NOT_NULL: {"colum": "id"}}, "no argument 'colum'"),
        ({"expect_colum_to_exist": {"column": "id"}}, "did you mean 'expect_column_to_exist'?"),
        (
            {"expect_table_row_count_to_equal_other_table": {"other_table_name": "x"}},
            "could not be judged",
        ),
    ],
    ids=[
        *("missing_column", "other_type", "text_sum", "bad_regex", "bad_condition", "bad_query"),
        *("bad_argument", "bad_name", "no_other_table"),
    ],
)
def test_a_check_that_cannot_be_judged_has_failed_and_says_why(said: Any, told: str) -> None:
    outcome, other = check_rows(ROWS, [said, {NOT_NULL: {"column": "at"}}])
    assert not outcome.passed
    assert told in (outcome.description or "")
    assert "Traceback" not in str(outcome)
    assert other.passed


@pytest.mark.parametrize(
    ("name", "arguments", "passed"),
    [
        ("expect_column_values_to_match_like_pattern", {"like_pattern": "%"}, True),
        ("expect_column_values_to_match_like_pattern", {"like_pattern": "a%"}, False),
        (
            "expect_column_values_to_match_like_pattern",
            {"like_pattern": "a!%c", "escape": "!", "mostly": 0.25},
            True,
        ),
        (
            "expect_column_values_to_match_like_pattern_list",
            {"like_pattern_list": ["a%", "it_s", "B"]},
            True,
        ),
        ("expect_column_values_to_not_match_like_pattern", {"like_pattern": "%'%"}, False),
        (
            "expect_column_values_to_not_match_like_pattern_list",
            {"like_pattern_list": ["x%", "b"]},
            True,
        ),
    ],
    ids=["like", "unlike", "escape", "any_like", "not_like", "none_like"],
)
def test_patterns_of_sql_work(name: str, arguments: dict[str, Any], passed: bool) -> None:
    assert one({name: {"column": "name", **arguments}}).passed is passed


@pytest.mark.parametrize(("least", "passed"), [(4, False), (5, True)])
def test_a_query_may_find_no_row(least: int, passed: bool) -> None:
    query = f"FROM {{batch}} WHERE id > {least};"
    said = {"unexpected_rows_expectation": {"unexpected_rows_query": query}}
    assert one(said).passed is passed


def test_the_rows_that_a_query_finds_are_shown() -> None:
    query = "SELECT * FROM {batch} WHERE id = 2"
    outcome = one({"unexpected_rows_expectation": {"unexpected_rows_query": query}})
    assert outcome.metadata["observed_value"] == 2
    assert [row["name"] for row in outcome.metadata["failing_rows"].rows] == ["it's", None]


@pytest.mark.parametrize("column", ["at", "zoned"])
@pytest.mark.parametrize(
    "said",
    [
        {BETWEEN: {"min_value": "2013-01-02"}},
        {BETWEEN: {"min_value": "2013-01-01T12:00:00"}},
        {"expect_column_values_to_not_be_in_set": {"value_set": ["2013-01-05", "2012-01-01"]}},
        {BETWEEN: {"max_value": "2013-01-04", "row_condition": "TRUE"}},
    ],
    ids=["day", "moment", "set", "condition"],
)
def test_moments_are_compared_with_what_yaml_can_write(said: Any, column: str) -> None:
    ((name, arguments),) = said.items()
    assert one({name: {"column": column, **arguments}}).metadata["unexpected_count"] == 1


@pytest.mark.parametrize("bound", ["min", "max"])
def test_the_extreme_of_moments_is_compared_with_a_day(bound: str) -> None:
    name = f"expect_column_{bound}_to_be_between"
    days = {"min_value": "2013-01-01", "max_value": "2013-01-05"}
    outcome = one({name: {"column": "zoned", **days}})
    assert outcome.passed, outcome.description


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        ROWS.to_pandas(),
        pl.from_arrow(ROWS),
        pl.from_arrow(ROWS).lazy(),
        duckdb.from_arrow(ROWS),
        ROWS.to_pylist(),
        Table.from_rows(ROWS),
    ],
    ids=["arrow", "pandas", "polars", "lazy", "duckdb", "list", "table"],
)
def test_rows_of_any_form_can_be_checked(rows: Any) -> None:
    said = [{NOT_NULL: {"column": "name"}}, "expect_table_row_count_to_be_between"]
    outcomes = check_rows(rows, said)
    assert [outcome.metadata.get("unexpected_count") for outcome in outcomes] == [1, None]
    assert outcomes[1].metadata["observed_value"] == 5


def test_great_expectations_own_objects_are_checks() -> None:
    from great_expectations.expectations import ExpectColumnMaxToBeBetween

    expectation = ExpectColumnMaxToBeBetween(column="price", max_value=3, severity="warning")
    outcome = one(expectation)
    assert (outcome.name, outcome.passed) == ("expect_column_max_to_be_between__price", False)
    assert outcome.severity == "warning"
    assert outcome.metadata["observed_value"] == 100.0


def test_a_description_of_ones_own_is_used() -> None:
    said = {NOT_NULL: {"column": "id", "description": "Every order has a number."}}
    assert one(said).description == "Every order has a number: 1 of 5 rows break it (20 %)"


def test_a_team_may_check_by_an_expectation_class_of_its_own() -> None:
    from great_expectations.expectations import ExpectColumnValuesToBeInSet

    class ExpectKnownNames(ExpectColumnValuesToBeInSet):
        column: str = "name"
        value_set: list[str] = ["a", "it's", "a%c"]

    outcome = one(ExpectKnownNames())
    assert outcome.metadata["unexpected_values"] == ["B"]


def test_other_tables_and_connections_of_the_project_can_be_compared_with(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        warehouse.execute("CREATE TABLE sales AS SELECT range AS id FROM range(3)")
    connections = [{"connection": "warehouse", "url": "duckdb://warehouse.duckdb"}]
    project = Project.of("shop", tmp_path, connections=connections)
    TableStore(project).write("sales", None, pa.table({"id": [0, 1, 2]}))
    query = {
        "base_query": "SELECT id FROM {batch}",
        "comparison_data_source_name": "warehouse",
        "comparison_query": "SELECT id FROM sales",
    }
    checks = [
        check({"expect_table_row_count_to_equal_other_table": {"other_table_name": "sales"}}),
        check({"expect_query_results_to_match_comparison": query}),
    ]
    for rows, passed in (([0, 1, 2], True), ([0, 1], False)):
        table = Table.from_rows(pa.table({"id": rows}))
        outcomes = run_checks(project, None, table, checks)  # type: ignore[arg-type]
        assert [outcome.passed for outcome in outcomes] == [passed, passed]


def test_rows_that_cannot_be_read_are_an_error_and_no_failed_check(tmp_path: Path) -> None:
    broken = tmp_path / "data.parquet"
    broken.write_bytes(b"PAR1 this is no table PAR1")
    with pytest.raises(la.StepError, match="cannot read orders"):
        check_rows(Table("orders", (str(broken),)), [{NOT_NULL: {"column": "id"}}])


def test_no_checks_import_nothing() -> None:
    code = (
        "import sys, pyarrow as pa; from liminal_assets.steps.checks import *;"
        "from liminal_assets.storage.tables import Table;"
        "assert run_checks(None, None, Table('rows', value=pa.table({'a': [1]})), []) == [];"
        "assert row_conditions([], pa.schema([])) == {};"
        "assert 'great_expectations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_checking_prints_nothing_and_makes_no_data_context(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from great_expectations.data_context.data_context import context_factory

    name = "expect_column_values_to_be_dateutil_parseable"
    check_rows(ROWS, [{name: {"column": "id"}}, {NOT_NULL: {"column": "id"}}])
    assert capfd.readouterr() == ("", "")
    assert context_factory.project_manager._ProjectManager__project is None


def test_text_that_only_python_can_judge_is_judged_value_by_value() -> None:
    rows = pd.DataFrame({"code": ["ab", "ba", None] * 1000 + ["abab"]})
    outcome = one(
        {"expect_column_values_to_match_regex": {"column": "code", "regex": "^a(?=b)"}}, rows
    )
    assert outcome.metadata["unexpected_count"] == 1000
    assert {row["code"] for row in outcome.metadata["failing_rows"].rows} == {"ba"}


def test_conditions_of_quarantine_leave_out_what_a_row_alone_does_not_show() -> None:
    checks = [
        check({NOT_NULL: {"column": "id"}}),
        check({"expect_column_values_to_be_unique": {"column": "id"}}),
        check({"expect_column_values_to_be_increasing": {"column": "id"}}),
        check({"expect_column_max_to_be_between": {"column": "id", "max_value": 1}}),
        check({NOT_NULL: {"column": "absent"}}),
    ]
    assert list(row_conditions(checks, ROWS.schema)) == [f"{NOT_NULL}__id"]
