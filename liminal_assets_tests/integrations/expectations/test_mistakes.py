"""Wrong checks are told at their lines, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.language.deep import deep_mistakes
from liminal_assets.language.diagnostics import Diagnostic

PROJECT = """\
name: shop
datasets:
  - dataset: orders
    fetch: {{python: 'shop:orders'}}
    checks:
      - expect_column_to_exist: {{column: id}}
{checks}
"""


def mistakes(folder: Path, text: str) -> list[Diagnostic]:
    (folder / "shop.py").write_text("def orders():\n    return []\n")
    (folder / "liminal.yml").write_text(text)
    return sorted(deep_mistakes(la.load_project(folder)))


@pytest.mark.parametrize(
    ("check", "at", "code", "told"),
    [
        (
            "expect_colum_values_to_be_unique: {column: id}",
            "7:9",
            "unknown-expectation",
            "did you mean 'expect_column_values_to_be_unique'?",
        ),
        (
            "ExpectMulticolumnValuesToBeUnique: {column_list: [a, b]}",
            "7:9",
            "unknown-expectation",
            "use expect_compound_columns_to_be_unique",
        ),
        (
            "expect_column_values_to_be_unique: {colum: id}",
            "7:45",
            "unknown-argument",
            "did you mean 'column'?",
        ),
        (
            "expect_column_values_to_be_in_set: {column: id}",
            "7:9",
            "missing-argument",
            "needs the argument 'value_set'",
        ),
        ("expect_table_row_count_to_equal", "7:9", "missing-argument", "'value'"),
        (
            "expect_column_max_to_be_between: {column: id, max_value: [1]}",
            "7:66",
            "invalid-argument",
            "must be a number, a date or a moment, not [1]",
        ),
        (
            "expect_column_values_to_be_unique: {column: id, mostly: 1.5}",
            "7:65",
            "invalid-argument",
            "must be less than or equal to 1.0, not 1.5",
        ),
        (
            "expect_column_values_to_be_between: {column: id}",
            "7:9",
            "invalid-argument",
            "cannot both be None",
        ),
        (
            "expect_column_values_to_be_unique: {column: id, row_condition: 'a >'}",
            "7:72",
            "invalid-argument",
            "row_condition is no SQL condition",
        ),
        (
            "expect_column_values_to_be_unique: {column: id, row_condition: 'true; true'}",
            "7:72",
            "invalid-argument",
            "row_condition is no SQL condition",
        ),
        (
            "expect_column_values_to_be_unique: "
            "{column: id, row_condition: 'a >', condition_parser: pandas}",
            "7:72",
            "invalid-argument",
            "row_condition is no pandas query",
        ),
        (
            "expect_column_values_to_be_unique: "
            "{column: id, row_condition: 'a > 1', condition_parser: great_expectations}",
            "7:72",
            "invalid-argument",
            'as in col("air_time") > 10',
        ),
        (
            "expect_column_values_to_be_unique: {column: id, condition_parser: panda}",
            "7:75",
            "invalid-argument",
            "must be one of",
        ),
        (
            "expect_column_max_to_be_between: {column: id, max_value: {$PARAMETER: x}}",
            "7:66",
            "invalid-argument",
            "no suite parameters",
        ),
        (
            "unexpected_rows_expectation: {unexpected_rows_query: 'SELECT 1'}",
            "7:62",
            "invalid-argument",
            "call them {batch}",
        ),
        (
            "expect_column_kl_divergence_to_be_less_than: {column: id, threshold: 0.1}",
            "7:9",
            "missing-argument",
            "partition_object",
        ),
        (
            "{expectation: expect_column_values_to_be_in_set, arguments: {column: id}}",
            "7:23",
            "missing-argument",
            "'value_set'",
        ),
        (
            "expect_column_values_to_be_unique: {column: id, name: columns}",
            "7:63",
            "duplicate-name",
            "'columns' is taken",
        ),
    ],
    ids=[
        *("misspelt", "gone", "argument", "missing", "bare", "type", "range", "both", "sql"),
        *("two_conditions", "pandas", "own_parser", "parser", "parameter", "query", "divergence"),
        *("long_form", "reserved_name"),
    ],
)
def test_a_wrong_check_is_one_mistake_at_its_line(
    tmp_path: Path, check: str, at: str, code: str, told: str
) -> None:
    (mistake,) = mistakes(tmp_path, PROJECT.format(checks=f"      - {check}"))
    assert (str(mistake.location), mistake.code) == (f"{tmp_path}/liminal.yml:{at}", code)
    assert told in f"{mistake.message} ({mistake.hint})"


@pytest.mark.parametrize(
    "source",
    [
        "clean: {from: orders, sql: 'SELECT id AS number, sum(x) AS total FROM orders GROUP BY 1'}",
        "clean: {from: orders, steps: [select: [id, price], rename: {id: number, price: total}]}",
    ],
    ids=["sql", "steps"],
)
def test_a_column_that_cannot_be_there_is_a_mistake(tmp_path: Path, source: str) -> None:
    text = PROJECT.format(
        checks=f"""\
  - dataset: totals
    {source}
    checks:
      - expect_column_values_to_be_unique: {{column: number}}
      - expect_column_values_to_be_unique: {{column: totals}}
"""
    )
    (mistake,) = mistakes(tmp_path, text)
    assert (mistake.location.line, mistake.code) == (11, "unknown-column")
    assert mistake.hint == "did you mean 'total'?"


@pytest.mark.parametrize(
    "source",
    [
        "clean: {from: orders, sql: SELECT * FROM orders}",
        "clean: {from: orders, steps: [drop: price]}",
        "fetch: {python: 'shop:orders'}",
    ],
    ids=["star", "steps", "python"],
)
def test_where_columns_are_not_sure_any_may_be_there(tmp_path: Path, source: str) -> None:
    text = PROJECT.format(
        checks=f"""\
  - dataset: totals
    {source}
    columns: {{id: integer}}
    checks: [expect_column_values_to_be_unique: {{column: anything}}]
"""
    )
    assert mistakes(tmp_path, text) == []


def test_right_checks_in_every_spelling_are_no_mistake(tmp_path: Path) -> None:
    text = PROJECT.format(
        checks="""\
      - expect_table_row_count_to_be_between
      - ExpectColumnValuesToNotBeNull: {column: id, mostly: 0.9, severity: warning, name: ids}
      - expectation: expect_column_values_to_be_between
        arguments: {column: at, min_value: 2013-01-01, strict_min: true}
      - expect_column_quantile_values_to_be_between:
          column: price
          quantile_ranges: {quantiles: [0.5], value_ranges: [[0, null]]}
      - expect_column_values_to_be_unique:
          column: id
          row_condition: {type: nullity, column: {name: at}, is_null: false}
"""
    )
    assert mistakes(tmp_path, text) == []
