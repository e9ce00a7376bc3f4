"""What checks say that they ask for."""

from __future__ import annotations

from typing import Any

import pytest

from liminal_assets.integrations.expectations.library import build_expectation
from liminal_assets.integrations.expectations.sentences import sentence
from liminal_assets.language.datasets import Check


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("expect_column_values_to_not_be_null", {"column": "a"}, "a values must never be null."),
        (
            "expect_column_values_to_be_between",
            {"column": "a", "min_value": 1, "strict_min": True, "mostly": 0.9},
            "a values must be greater than 1, at least 90 % of the time.",
        ),
        (
            "expect_column_values_to_be_unique",
            {"column": "a", "row_condition": "b > 1 AND c = 'x'"},
            "If b > 1 AND c = 'x', then a values must be unique.",
        ),
        (
            "expect_column_values_to_be_unique",
            {
                "column": "a",
                "row_condition": 'col("b") > 3',
                "condition_parser": "great_expectations",
            },
            "If b > 3, then a values must be unique.",
        ),
        (
            "expect_column_values_to_not_be_outliers",
            {"column": "a"},
            "a values must not be statistical outliers using the iqr method with a multiplier of "
            "1.5.",
        ),
        (
            "unexpected_rows_expectation",
            {"unexpected_rows_query": "SELECT * FROM {batch}"},
            "Unexpected rows query: SELECT * FROM {batch}",
        ),
        (
            "expect_column_pair_values_to_be_in_set",
            {"column_A": "a", "column_B": "b", "value_pairs_set": [[1, 2]]},
            "expect column pair values to be in set: column_A='a', column_B='b', "
            "value_pairs_set=[(1, 2)]",
        ),
        (
            "expect_column_values_to_not_be_null",
            {"column": "a", "description": "Each has one."},
            "Each has one.",
        ),
    ],
    ids=[
        *("simple", "bounds", "sql", "condition", "newer", "query", "wordless", "own"),
    ],
)
def test_a_check_is_described_in_a_sentence(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    assert sentence(build_expectation(Check(expectation=name, arguments=arguments))) == said
