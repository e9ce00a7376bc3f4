from __future__ import annotations

import subprocess
import sys

import pytest

from liminal_assets.integrations.expectations.names import expectation_names, snake_name


def test_the_names_are_those_that_great_expectations_registers() -> None:
    from great_expectations.expectations import registry

    assert expectation_names() == set(registry.list_registered_expectation_implementations())


def test_class_names_lead_to_the_same_names() -> None:
    from great_expectations.expectations import registry

    classes = [registry.get_expectation_impl(name) for name in expectation_names()]
    assert {snake_name(kind.__name__) for kind in classes} == expectation_names()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ExpectColumnKLDivergenceToBeLessThan", "expect_column_kl_divergence_to_be_less_than"),
        ("expect_column_to_exist", "expect_column_to_exist"),
        ("UnexpectedRowsExpectation", "unexpected_rows_expectation"),
    ],
)
def test_either_spelling_is_read(written: str, name: str) -> None:
    assert snake_name(written) == name


def test_names_of_checks_are_known_without_importing_great_expectations() -> None:
    code = (
        "import sys; from liminal_assets.steps.checks import check_names, expectation_mistakes;"
        "from liminal_assets.integrations.expectations.names import expectation_names;"
        "assert expectation_names();"
        "assert not {'great_expectations', 'pandas', 'duckdb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
