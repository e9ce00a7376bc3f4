"""The schema for editors takes what the package takes; the reference is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from liminal_assets.language.reference import reference
from liminal_assets.language.schema import editor_schema
from liminal_assets.language.source import read_document
from liminal_assets_tests.language.projects import documents

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = editor_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def errors(validator: Draft202012Validator, document: Any) -> list[str]:
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in validator.iter_errors(document)
    ]


@pytest.mark.parametrize("file", sorted((TOP / "examples").glob("*/liminal.yml")), ids=str)
def test_the_examples_fit_the_schema(validator: Draft202012Validator, file: Path) -> None:
    assert errors(validator, read_document(file)[0]) == []


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(document=documents())
def test_what_the_package_takes_fits_the_schema(
    validator: Draft202012Validator, document: dict[str, Any]
) -> None:
    assert errors(validator, document) == []


@pytest.mark.parametrize(
    ("block", "fits"),
    [
        ({"columns": {"id": "string"}}, True),
        ({"columns": {"id": "float?"}}, True),
        ({"columns": {"id": {"type": "category?", "one_of": [1]}}}, True),
        ({"columns": {"id": "integr"}}, False),
        ({"checks": ["expect_table_row_count_to_equal"]}, True),
        ({"checks": [{"expect_column_to_exist": {"column": "a"}}]}, True),
        ({"checks": [{"expectation": "expect_column_to_exist", "arguments": {}}]}, True),
        ({"checks": [{"column": "a"}]}, False),
        ({"quarantine": "{{ strict }}"}, True),
        ({"quarantine": "sometimes"}, False),
        ({"quarantin": True}, False),
        ({"freshness": {"within": "26h"}}, True),
        ({"freshness": {"within": "26"}}, False),
    ],
    ids=str,
)
def test_short_forms_and_variables_fit_and_mistakes_do_not(
    validator: Draft202012Validator, block: dict[str, Any], fits: bool
) -> None:
    dataset = {"dataset": "a", "fetch": {"file": "a.csv"}, **block}
    assert (errors(validator, {"name": "x", "datasets": [dataset]}) == []) is fits


def test_every_key_of_a_block_is_described_or_says_it_all(
    validator: Draft202012Validator,
) -> None:
    described = [
        "description" in value
        for definition in editor_schema()["$defs"].values()
        for value in definition.get("properties", {}).values()
    ]
    assert sum(described) > 0.6 * len(described)


def test_the_reference_is_up_to_date() -> None:
    written = (TOP / "docs" / "language.md").read_text(encoding="utf-8")
    assert written == reference(), "run 'make docs'"


def test_defaults_are_written_as_a_file_says_them() -> None:
    definitions = editor_schema()["$defs"]
    pattern = definitions["Drain"]["properties"]["timeout"]["pattern"]
    for definition in definitions.values():
        for value in definition.get("properties", {}).values():
            if value.get("pattern") == pattern and "default" in value:
                assert re.match(pattern, value["default"])
    assert definitions["Serve"]["properties"]["drain"]["default"]["timeout"] == "30s"


@pytest.mark.parametrize(
    "row",
    [
        "| `host` | text | `127.0.0.1` |  |",
        "| `within` | duration | **required** |  |",
        "| `reload_every` | duration | `2s` | How often the server looks whether another version "
        "became champion. |",
        "| `at_most` | rate |  | Such as `2 per week`: no more retrainings in any time so long, in "
        "the time of the data. |",
        "| `start` | text |  | The first moment, ISO 8601; with `every`. |",
    ],
)
def test_the_reference_tells_type_default_and_meaning(row: str) -> None:
    assert row in reference()
