"""What validation finds outside of the file: functions, SQL, files, estimators, expectations."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.cli.validate import find_mistakes

MODULE = """\
import pandas as pd
import polars as pl

def load(context): ...
def one(anything: pl.DataFrame): ...
def two(sales, stores: "pd.DataFrame"): ...
def wrong(sales, store): ...
def odd(sales: list[int]): ...
not_callable = 3
"""
HEAD = """\
name: shop
connections:
  - {connection: main, url: 'duckdb://main.duckdb'}
  - {connection: pg, url: 'postgres://localhost/shop'}
datasets:
  - {dataset: sales, fetch: {python: 'shop.rows:load'}}
  - {dataset: stores, fetch: {python: 'shop.rows:load'}}
"""


def found(folder: Path, text: str) -> list[tuple[str, int, int, str, str]]:
    (folder / "shop").mkdir(exist_ok=True)
    (folder / "shop" / "rows.py").write_text(MODULE)
    (folder / "shop" / "broken.py").write_text("import nothing_like_it\n")
    file = folder / "liminal.yml"
    file.write_text(text)
    _, mistakes = find_mistakes(file, None)
    return [
        (
            Path(m.location.file).name,
            m.location.line,
            m.location.column,
            m.code,
            f"{m.message} ({m.hint})",
        )
        for m in mistakes
    ]


def clean(*what: str) -> str:
    return HEAD + "".join(f"  - {{dataset: d{n}, clean: {text}}}\n" for n, text in enumerate(what))


def test_a_right_project_has_no_mistakes(tmp_path: Path) -> None:
    text = clean(
        "{from: sales, python: 'shop.rows:one'}",
        "{from: [sales, stores], python: 'shop.rows:two'}",
        "{from: [sales, stores], sql: 'WITH a AS (FROM sales) FROM a JOIN stores USING (id)'}",
        "{from: sales, steps: [{derive: {x: 'y + 1'}}, {filter: 'x > 2'}]}",
    )
    assert found(tmp_path, text) == []


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("python: 'shop.rows:lod'", "shop.rows has no function 'lod' (did you mean 'load'?)"),
        ("python: 'shop.rows:not_callable'", "shop.rows has no function 'not_callable'"),
        ("python: 'shop.nowhere:load'", "no module 'shop.nowhere'"),
        ("python: 'shop.broken:load'", "importing shop.broken raised ModuleNotFoundError"),
        ("python: 'shop.rows:wrong'", "has a parameter 'store' that no input is called"),
        ("python: 'shop.rows:odd'", "which rows can't be given as"),
    ],
    ids=["name", "no function", "module", "import", "parameter", "annotation"],
)
def test_a_user_function_must_be_there_and_fit_its_inputs(
    tmp_path: Path, how: str, expected: str
) -> None:
    ((file, line, _, code, message),) = found(tmp_path, clean(f"{{from: [sales, stores], {how}}}"))
    assert (file, line, code) == ("liminal.yml", 8, "function")
    assert expected in message


def test_a_query_is_parsed_and_its_place_is_in_the_block_of_text(tmp_path: Path) -> None:
    text = HEAD + (
        "  - dataset: d\n    clean:\n      from: sales\n      sql: |\n"
        "        SELECT *\n        FROM sales\n        WHERE amount >\n"
        "        ORDER BY 1\n"
    )
    ((_, line, column, code, message),) = found(tmp_path, text)
    assert (line, column, code) == (15, 9, "sql")
    assert 'syntax error at or near "ORDER"' in message


def test_a_table_of_a_query_must_be_an_input(tmp_path: Path) -> None:
    text = clean("{from: sales, sql: \"SELECT * FROM salez JOIN 'x.csv' ON true\"}")
    ((_, line, column, code, message),) = found(tmp_path, text)
    assert (line, column, code) == (8, 60, "unknown-reference")
    assert message == "no input is called 'salez' (did you mean 'sales'?)"


def test_a_query_in_a_file_has_its_place_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("SELECT *\nFROM sales\nWHER x\n, y")
    (mistake,) = found(tmp_path, clean("{from: sales, sql: q.sql}"))
    assert mistake[:4] == ("q.sql", 3, 6, "sql")


def test_a_file_of_a_query_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "query.sql").write_text("SELECT 1")
    ((_, line, _, code, message),) = found(tmp_path, clean("{from: sales, sql: qery.sql}"))
    assert (line, code) == (8, "missing-file")
    assert "did you mean 'query.sql'?" in message


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("SELECT * FROM t WHERE day >= '{{ partition_start }}'", False),
        ("SELECT a::int FROM t LIMIT 3 OFFSET 2", False),
        ("SELECT * FROM t WHERE", True),
        ("SELECT (1", True),
    ],
)
def test_a_query_for_a_database_is_parsed_in_its_dialect(
    tmp_path: Path, sql: str, wrong: bool
) -> None:
    text = HEAD + f'  - {{dataset: d, fetch: {{connection: pg, sql: "{sql}"}},\n'
    text += "     partitions: {every: day, start: '2020-01-01'}}\n"
    mistakes = found(tmp_path, text)
    assert [(line, code) for _, line, _, code, _ in mistakes] == ([(8, "sql")] if wrong else [])


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        ("data/sales.csv", False),
        ("data/nope.csv", True),
        ("data/*.csv", False),
        ("s3://bucket/nope.csv", False),
        ("scores/2013-01.parquet", False),
    ],
)
def test_a_file_must_be_there_unless_something_else_may_bring_it(
    tmp_path: Path, file: str, wrong: bool
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sales.csv").write_text("a\n1\n")
    text = HEAD + f"  - {{dataset: d, fetch: {{file: '{file}'}}}}\n"
    text += (
        "models:\n  - {model: m, features: sales, target: y,"
        " estimator: sklearn.linear_model.Ridge}\n"
        "deployments:\n  - {deployment: s, model: m, batch: {from: sales, to: {file: scores}}}\n"
    )
    codes = [code for *_, code, _ in found(tmp_path, text)]
    assert codes == (["missing-file"] if wrong else [])


def test_a_database_must_be_one_that_ibis_knows(tmp_path: Path) -> None:
    text = HEAD.replace("duckdb://", "duckd://")
    ((_, line, column, code, message),) = found(tmp_path, text)
    assert (line, column, code) == (3, 29, "connection")
    assert "did you mean 'duckdb'?" in message


def test_expressions_of_steps_are_parsed(tmp_path: Path) -> None:
    text = clean("{from: sales, steps: [{derive: {x: 'y +'}}, {filter: 'x > (2'}]}")
    mistakes = found(tmp_path, text)
    assert [(line, code) for _, line, _, code, _ in mistakes] == [(8, "sql"), (8, "sql")]


@pytest.mark.slow
def test_ten_mistakes_that_take_imports_are_ten_beside_those_of_schema(tmp_path: Path) -> None:
    text = HEAD + (
        "  - dataset: d\n"
        "    clean: {from: sales, sql: SELECT * FROM sales}\n"
        "    checks:\n"
        "      - expect_column_values_to_not_be_nul: {column: id}\n"
        "      - expect_column_values_to_be_between: {column: id, min_valu: 3}\n"
        "    colums: {}\n"
        "  - {dataset: e, clean: {from: sales, python: 'shop.rows:nope'}}\n"
        "  - {dataset: f, clean: {from: sales, sql: SELECT FROM WHERE}}\n"
        "models:\n"
        "  - {model: a, features: d, target: y, estimator: sklearn.linear_model.Rige}\n"
        "  - model: b\n    features: d\n    target: y\n"
        "    estimator: sklearn.linear_model.Ridge\n"
        "    params: {alpa: 1}\n"
        "    evaluate: {metrics: [r3]}\n"
        "    window: 3\n"
        "monitors:\n"
        "  - {monitor: w, deployment: nowhere, drift: {method: psi}}\n"
    )
    mistakes = found(tmp_path, text)
    assert [(line, code) for _, line, _, code, _ in mistakes] == [
        (11, "unknown-expectation"),
        (12, "unknown-argument"),
        (13, "unknown-key"),
        (14, "function"),
        (15, "sql"),
        (17, "estimator"),
        (22, "unknown-parameter"),
        (23, "unknown-metric"),
        (24, "invalid-value"),
        (26, "unknown-reference"),
    ]


def test_the_overlays_of_all_environments_are_checked(tmp_path: Path) -> None:
    text = HEAD + (
        "environments:\n  prod:\n    datasets:\n      - {dataset: sales, fetc: {}}\n"
        "    connections:\n      - {connection: pg, url: '{{ env.SHOP_DATABASE_URL }}'}\n"
    )
    assert [(line, code) for _, line, _, code, _ in found(tmp_path, text)] == [(11, "unknown-key")]
