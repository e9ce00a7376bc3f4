"""Great Expectations' row-level checks and quarantine: who is judged on which rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liminal_assets.language.loading import Project
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.runs import run, write_project

YAML = """
name: shop
datasets:
  - dataset: sales
    fetch: {file: sales.csv}
    quarantine: QUARANTINE
    columns: {id: integer}
    checks:
      - expect_column_values_to_be_between: {column: amount, min_value: 0 MORE, name: positive}
      - expect_column_values_to_be_between:
          {column: amount, max_value: 90, severity: warning, name: small}
      - expect_table_row_count_to_be_between: {min_value: 3, name: enough}
"""
AMOUNTS = [1, 2, -3, 95, 5, 6, 7, 8, 9, 10]


def sales(
    folder: Path, *, quarantine: bool = True, more: str = "", amounts: list[int] = AMOUNTS
) -> Project:
    rows = "".join(f"{number},{amount}\n" for number, amount in enumerate(amounts))
    folder.mkdir(exist_ok=True)
    (folder / "sales.csv").write_text(f"id,amount\n{rows}x,1\n")
    yaml = YAML.replace("QUARANTINE", str(quarantine).lower()).replace("MORE", more)
    return write_project(folder, yaml)


def rows_of(project: Project, asset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TableStore(project).read(asset).to("arrow").to_pylist()
    return found


def test_rows_that_break_an_error_go_to_quarantine_with_the_name_of_the_check(
    tmp_path: Path,
) -> None:
    project = sales(tmp_path)
    done = run(project)
    assert done.succeeded
    assert rows_of(project, "sales__quarantine") == [
        {"id": "2", "amount": -3, "quarantine_reasons": ["positive"]},
        {"id": "x", "amount": 1, "quarantine_reasons": ["id: not an integer"]},
    ]
    kept = [row["amount"] for row in rows_of(project, "sales")]
    assert kept == [amount for amount in AMOUNTS if amount != -3]


def test_a_check_is_judged_on_the_rows_that_are_kept(tmp_path: Path) -> None:
    done = run(sales(tmp_path))
    check = done.checks["sales", "positive"]
    assert check.passed
    assert check.metadata["quarantined"].value == 1


def test_a_warning_takes_no_row_out(tmp_path: Path) -> None:
    project = sales(tmp_path)
    done = run(project)
    check = done.checks["sales", "small"]
    assert not check.passed
    assert check.severity.value == "WARN"
    assert 95 in [row["amount"] for row in rows_of(project, "sales")]


@pytest.mark.parametrize(("mostly", "passes"), [(0.9, True), (0.95, False)])
def test_a_check_that_tolerates_some_rows_is_judged_before_they_are_taken_out(
    tmp_path: Path, mostly: float, passes: bool
) -> None:
    project = sales(tmp_path, more=f", mostly: {mostly}")
    done = run(project)
    assert done.checks["sales", "positive"].passed is passes
    assert done.succeeded is passes
    assert TableStore(project).exists("sales__quarantine") is passes
    if passes:
        assert [row["amount"] for row in rows_of(project, "sales__quarantine")] == [-3, 1]
    else:
        assert f"{tmp_path}/liminal.yml:9:9" in done.failure


def test_without_quarantine_the_check_blocks(tmp_path: Path) -> None:
    project = sales(tmp_path, quarantine=False, amounts=[1, -2, 3])
    done = run(project)
    assert "columns: of 4 rows some break the contract" in done.failure
    (tmp_path / "sales.csv").write_text("id,amount\n1,2\n2,-3\n3,4\n")
    done = run(project)
    assert "positive" in done.failure
    assert f"{tmp_path}/liminal.yml:9:9" in done.failure
    assert not TableStore(project).exists("sales")


def test_a_table_level_check_blocks_with_quarantine_too(tmp_path: Path) -> None:
    done = run(sales(tmp_path, amounts=[1, -2, -3, -4]))
    assert not done.checks["sales", "enough"].passed
    assert f"{tmp_path}/liminal.yml:12:9" in done.failure
