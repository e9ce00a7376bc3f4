"""Placeholders of a partition are filled in so that no value can change the query."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

import liminal_assets as la
from liminal_assets.steps.sql import fill_path, fill_sql, is_sql_file, sql_of
from liminal_assets_tests.runs import write_project

DAY = {"partition_key": "2013-01-01", "partition_start": "2013-01-01 00:00:00"}


@pytest.mark.parametrize(
    ("sql", "filled"),
    [
        ("d >= '{{ partition_start }}'", "d >= '2013-01-01 00:00:00'"),
        ("d = {{ partition_key }}", "d = '2013-01-01'"),
        ("d IN ({{partition_key}}, 1)", "d IN ('2013-01-01', 1)"),
        ('FROM "t {{ partition_key }}"', 'FROM "t 2013-01-01"'),
        ("-- {{ partition_key }}\nSELECT 1", "-- {{ partition_key }}\nSELECT 1"),
        ("/* {{ x }} */ 1 / 2 - 3", "/* {{ x }} */ 1 / 2 - 3"),
    ],
    ids=["in quotes", "on its own", "in a list", "in a name", "line comment", "block comment"],
)
def test_a_placeholder_becomes_text_that_fits_where_it_stands(sql: str, filled: str) -> None:
    assert fill_sql(sql, DAY) == filled


def test_a_placeholder_within_a_name_takes_words_only() -> None:
    assert fill_sql("FROM sales_{{ partition_key }}", {"partition_key": "EU"}) == "FROM sales_EU"
    with pytest.raises(la.StepError, match=r"stands within a name"):
        fill_sql("FROM sales_{{ partition_key }}", {"partition_key": "EU; DROP TABLE sales"})


@given(key=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_any_key_comes_back_as_the_text_it_is(key: str) -> None:
    sql = "SELECT '{{ partition_key }}', {{ partition_key }}, 1 AS \"{{ partition_key }}x\""
    relation = duckdb.sql(fill_sql(sql, {"partition_key": key}))
    assert relation.fetchall() == [(key, key, 1)]
    assert relation.columns[2] == f"{key}x"


@pytest.mark.parametrize("key", ["../other", "/etc/passwd", "a/../../b"])
def test_a_key_never_leads_out_of_the_folder(key: str) -> None:
    with pytest.raises(la.StepError, match=r"would leave its folder"):
        fill_path("data/{{ partition_key }}.csv", {"partition_key": key})


@pytest.mark.parametrize(
    ("sql", "file"),
    [("sql/a.sql", True), ("SELECT 1", False), ("FROM a.sql", False), (" b.sql\n", True)],
)
def test_one_word_that_ends_in_sql_is_a_file(sql: str, file: bool) -> None:
    assert is_sql_file(sql) is file


YAML = """
name: shop
variables: {table: sales}
datasets:
  - dataset: raw
    fetch: {file: x.csv}
    partitions: {every: day, start: '2013-03-10', timezone: America/New_York}
  - dataset: clean
    clean: {from: raw, sql: query.sql}
"""


def query_of(folder: Path, sql: str, partition: str | None = "2013-03-10") -> str:
    project = write_project(folder, YAML)
    (folder / "query.sql").write_text(sql)
    block = project.block("clean")
    at = project.locate(block, "clean", "sql")
    return sql_of(project, block, "query.sql", partition, at)


def test_a_file_takes_the_projects_variables_and_the_partitions(tmp_path: Path) -> None:
    sql = "FROM {{ table }} WHERE d >= '{{ partition_start }}' AND t < '{{ partition_end_utc }}'"
    assert query_of(tmp_path, sql) == (
        "FROM sales WHERE d >= '2013-03-10 00:00:00' AND t < '2013-03-11 04:00:00+00:00'"
    )


@pytest.mark.parametrize(
    ("sql", "partition", "message"),
    [
        ("FROM {{ tabel }}", "2013-03-10", "no variable is called 'tabel'.*did you mean 'table'"),
        ("{{ partition_key }}", None, "partition_key needs partitions"),
        ("SELECT 1", "2013-13-01", "there is no partition '2013-13-01'"),
    ],
    ids=["unknown variable", "no partition", "no such partition"],
)
def test_what_cannot_be_filled_in_is_an_error_at_the_line(
    tmp_path: Path, sql: str, partition: str | None, message: str
) -> None:
    with pytest.raises(la.StepError, match=message) as raised:
        query_of(tmp_path, sql, partition)
    assert raised.value.location is not None
    assert raised.value.location.line == 9


def test_a_missing_file_is_an_error_at_the_line(tmp_path: Path) -> None:
    project = write_project(tmp_path, YAML)
    block = project.block("clean")
    with pytest.raises(la.StepError, match=r"there is no file .*query.sql") as raised:
        sql_of(project, block, "query.sql", None, project.locate(block, "clean", "sql"))
    assert raised.value.location is not None
    assert raised.value.location.line == 9
