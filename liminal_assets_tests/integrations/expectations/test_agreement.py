"""Ours and Great Expectations on pandas find the same, whatever the table and the suite."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from liminal_assets.integrations.expectations.batch import Batch
from liminal_assets.integrations.expectations.library import build_expectation
from liminal_assets.integrations.expectations.names import expectation_names
from liminal_assets.integrations.expectations.suite import Finding, validate
from liminal_assets.language.datasets import Check
from liminal_assets.steps.checks import check_names, row_conditions
from liminal_assets.storage.forms import connect
from liminal_assets.storage.tables import Table
from liminal_assets_tests.integrations.expectations import strategies
from liminal_assets_tests.integrations.expectations.reference import (
    frame_of,
    on_pandas,
    summary,
    unexpected_positions,
)

thorough = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def ours(rows: pa.Table, checks: list[Check]) -> list[Finding]:
    return validate(list(map(build_expectation, checks)), Batch(Table.from_rows(rows).relation()))


def assert_agreement(rows: pa.Table, checks: list[Check]) -> None:
    for check, mine, theirs in zip(
        checks, ours(rows, checks), on_pandas(rows, checks), strict=True
    ):
        if theirs.error is None:
            assert mine.error is None, check
            assert summary(mine) == summary(theirs), check


@pytest.mark.slow
@thorough
@given(rows=strategies.tables(), checks=strategies.checks())
def test_a_suite_finds_what_great_expectations_finds_on_pandas(
    rows: pa.Table, checks: list[Check]
) -> None:
    assert_agreement(rows, checks)


def test_every_expectation_that_pandas_can_judge_is_compared() -> None:
    compared = {
        *strategies.ROW_LEVEL,
        *strategies.OTHER_ROWS,
        *strategies.AGGREGATES,
        *strategies.TABLES,
    }
    only_in_sql = {
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_query_results_to_match_comparison",
        "expect_table_row_count_to_equal_other_table",
        "unexpected_rows_expectation",
    }
    assert compared | only_in_sql == expectation_names()


def needs_python(check: Check) -> bool:
    """Whether SQL can't say what a check asks for: Python's look-ahead, its string methods."""
    return "(?=" in str(check.arguments) or ".str." in str(check.arguments)


@pytest.mark.slow
@thorough
@given(rows=strategies.tables(), checks=strategies.row_checks())
def test_the_condition_of_a_row_level_check_finds_exactly_the_unexpected_rows(
    rows: pa.Table, checks: list[Check]
) -> None:
    conditions = row_conditions(checks, rows.schema)
    relation = Table.from_rows(rows).relation(connect())
    for name, check in zip(check_names(checks), checks, strict=True):
        if name not in conditions:
            assert needs_python(check), check
            continue
        numbered = f"*, row_number() OVER () - 1 AS position, {conditions[name]} AS broken"
        found = relation.project(numbered).filter("broken").order("position")
        positions = [row[0] for row in found.project("position").fetchall()]
        expected = unexpected_positions(frame_of(rows), check)
        assert expected is None or positions == expected, check


@pytest.mark.parametrize("column", sorted(strategies.TYPED))
def test_columns_of_every_type_of_parquet_agree(column: str) -> None:
    rows = pa.table({column: strategies.TYPED[column]})
    number = {"tiny", "unsigned", "single", "decimal", "infinite"}
    # pandas adds floats of 32 bits up in 32 bits
    sums = {f"expect_column_{of}_to_be_between" for of in ("mean", "sum", "median")}
    names = [
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
    ]
    checks = [Check(expectation=name, arguments={"column": column}) for name in names]
    if column in number:
        for name in (
            "expect_column_max_to_be_between",
            "expect_column_min_to_be_between",
            "expect_column_mean_to_be_between",
            "expect_column_sum_to_be_between",
            "expect_column_median_to_be_between",
        ):
            bounds = {"column": column, "min_value": 0, "max_value": 2.2}
            if column != "single" or name not in sums:
                checks.append(Check(expectation=name, arguments=bounds))
        for values in ([0.1, 1.1, 2], [2.5, 2**63]):
            arguments = {"column": column, "value_set": values}
            name = "expect_column_values_to_be_in_set"
            checks.append(Check(expectation=name, arguments=arguments))
        name = "expect_column_values_to_be_between"
        bounds = {"column": column, "min_value": 0.1, "max_value": 2.2}
        checks.append(Check(expectation=name, arguments=bounds))
    assert_agreement(rows, checks)
