"""Arguments for other libraries are plain values, however they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.steps.checks import run_checks
from liminal_assets.storage.tables import Table

PROJECT = """
name: shop
connections:
  - {connection: warehouse, url: duckdb://w.duckdb, options: {config: {a: [1]}}}
datasets:
  - dataset: sales
    fetch: {file: sales.csv, options: {names: [channel]}, storage_options: {headers: [x]}}
    checks:
      - expect_column_values_to_be_in_set: {column: channel, value_set: [web, shop]}
models:
  - {model: m, features: sales, target: channel, python: code:build, params: {sizes: [1, {n: [2]}]}}
"""


@pytest.fixture
def project(tmp_path: Path) -> la.Project:
    (tmp_path / "liminal.yml").write_text(PROJECT)
    return la.load_project(tmp_path)


def test_lists_and_mappings_within_arguments_are_plain(project: la.Project) -> None:
    (sales,) = project.spec.datasets
    assert sales.fetch is not None
    found = [
        sales.checks[0].arguments["value_set"],
        sales.fetch.options["names"],
        sales.fetch.storage_options["headers"],
        project.spec.connections[0].options["config"],
        project.spec.models[0].params["sizes"],
        project.spec.models[0].params["sizes"][1],
        project.spec.models[0].params["sizes"][1]["n"],
    ]
    assert [type(value) for value in found] == [list, list, list, dict, list, dict, list]


def test_an_expectation_takes_a_list_from_yaml(project: la.Project) -> None:
    (sales,) = project.spec.datasets
    rows = Table.from_rows([{"channel": "web"}, {"channel": "fax"}])
    (outcome,) = run_checks(project, sales, rows, sales.checks)
    assert not outcome.passed
    assert outcome.metadata["unexpected_count"] == 1
