"""Fetch: every source and form, partitions, versions of files, and one message for what fails."""

from __future__ import annotations

import gzip
import os
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.fetch import source_version
from liminal_assets.storage.sessions import connect
from liminal_assets_tests.runs import write_project

SALES = [{"id": 1, "store": "A"}, {"id": 2, "store": "B"}]
CSV = "id,store\n1,A\n2,B\n"


def project_of(folder: Path, fetch: str, more: str = "", **files: str) -> Project:
    yaml = f"""
name: shop
connections:
  - {{connection: warehouse, url: duckdb://warehouse.duckdb}}
  - {{connection: ledger, url: sqlite://ledger.db}}
datasets:
  - dataset: sales
    fetch: {fetch}
    {more}
"""
    return write_project(folder, yaml, **files)


def fetched(project: Project, partition: str | None = None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = la.steps.fetch(project, "sales", partition).to("arrow").to_pylist()
    return rows


def fill_databases(folder: Path) -> None:
    with duckdb.connect(str(folder / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "CREATE TABLE sales AS SELECT 1 AS id, 'A' AS store UNION ALL SELECT 2, 'B'"
        )
        warehouse.execute("CREATE SCHEMA old")
        warehouse.execute("CREATE TABLE old.sales AS FROM sales")
    with sqlite3.connect(folder / "ledger.db") as ledger:
        ledger.execute("CREATE TABLE sales (id INTEGER, store TEXT)")
        ledger.executemany("INSERT INTO sales VALUES (?, ?)", [(1, "A"), (2, "B")])


@pytest.mark.parametrize(
    "fetch",
    [
        "{connection: warehouse, sql: FROM sales ORDER BY id}",
        "{connection: warehouse, table: sales}",
        "{connection: warehouse, table: old.sales}",
        "{connection: ledger, sql: 'SELECT * FROM sales ORDER BY id'}",
        "{connection: ledger, table: sales}",
    ],
)
def test_rows_come_from_a_database_by_query_or_table(tmp_path: Path, fetch: str) -> None:
    fill_databases(tmp_path)
    assert fetched(project_of(tmp_path, fetch)) == SALES


def test_the_query_of_a_partition_sees_its_window(tmp_path: Path) -> None:
    sql = "SELECT '{{ partition_start }}' AS a, {{ partition_end }} AS b"
    fetch = f'{{connection: ledger, sql: "{sql}"}}'
    more = "partitions: {every: month, start: '2013-01-01'}"
    fill_databases(tmp_path)
    (row,) = fetched(project_of(tmp_path, fetch, more), "2013-12")
    assert row == {"a": "2013-12-01 00:00:00", "b": "2014-01-01 00:00:00"}


def write_files(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    (data / "sales.csv").write_text(CSV)
    (data / "sales.tsv").write_text(CSV.replace(",", "\t"))
    (data / "odd.txt").write_text("id;store\n1;A\n2;NONE\n")
    (data / "sales.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (data / "sales.json").write_text('[{"id": 1, "store": "A"}, {"id": 2, "store": "B"}]')
    (data / "sales.jsonl").write_text('{"id": 1, "store": "A"}\n{"id": 2, "store": "B"}\n')
    connect().execute(f"COPY (FROM '{data}/sales.csv') TO '{data}/sales.parquet' (FORMAT parquet)")
    (data / "part-1.csv").write_text("id,store\n1,A\n")
    (data / "part-2.csv").write_text("store,id,more\nB,2,\n")


@pytest.mark.parametrize(
    "fetch",
    [
        "{file: data/sales.csv}",
        "{file: data/sales.tsv}",
        "{file: data/sales.csv.gz}",
        "{file: data/sales.json}",
        "{file: data/sales.jsonl}",
        "{file: data/sales.parquet}",
        "{file: file://data/sales.csv}",
        "{file: data/odd.txt, format: csv, options: {delim: ';', nullstr: [NONE]}}",
    ],
)
def test_rows_come_from_files_of_every_format(tmp_path: Path, fetch: str) -> None:
    write_files(tmp_path)
    rows = fetched(project_of(tmp_path, fetch))
    assert rows == ([SALES[0], {"id": 2, "store": None}] if "odd" in fetch else SALES)


@pytest.mark.parametrize("file", ["data/part-*.csv", "[data/part-1.csv, data/part-2.csv]"])
def test_several_files_are_one_table_by_column_name(tmp_path: Path, file: str) -> None:
    write_files(tmp_path)
    rows = fetched(project_of(tmp_path, f"{{file: {file}}}"))
    assert rows == [{**row, "more": None} for row in SALES]


def test_a_path_may_hold_the_partition(tmp_path: Path) -> None:
    project = project_of(
        tmp_path, "{file: '{{ partition_key }}/*.csv'}", "partitions: {values: [EU, US]}"
    )
    for key, store in (("EU", "A"), ("US", "B")):
        (tmp_path / key).mkdir()
        (tmp_path / key / "sales.csv").write_text(f"store\n{store}\n")
    assert fetched(project, "US") == [{"store": "B"}]


def test_files_are_read_from_any_file_system_of_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/2013/sales-1.csv", b"id,store\n1,A\n")
    memory.pipe("/shop/2013/sales-2.csv", b"id,store\n2,B\n")
    project = project_of(tmp_path, "{file: 'memory://shop/2013/*.csv'}")
    assert fetched(project) == SALES
    before = source_version(project, "sales")
    assert source_version(project, "sales") == before
    memory.pipe("/shop/2013/sales-2.csv", b"id,store\n3,B\n")
    assert source_version(project, "sales") != before


COLUMNS = "{'id': [1, 2], 'store': ['A', 'B']}"
FORMS = {
    "pandas": f"import pandas as pd\ndef rows(): return pd.DataFrame({COLUMNS})",
    "polars": f"import polars as pl\ndef rows(): return pl.DataFrame({COLUMNS})",
    "lazy polars": f"import polars as pl\ndef rows(): return pl.LazyFrame({COLUMNS})",
    "arrow": f"import pyarrow as pa\ndef rows(): return pa.table({COLUMNS})",
    "reader": f"import pyarrow as pa\ndef rows(): return pa.table({COLUMNS}).to_reader(1)",
    "duckdb": "import duckdb\n"
    "def rows(): return duckdb.sql(\"FROM (VALUES (1, 'A'), (2, 'B')) rows (id, store)\")",
    "ibis": f"import ibis\ndef rows(): return ibis.memtable({COLUMNS})",
    "mappings": "def rows(): return [{'id': 1, 'store': 'A'}, {'id': 2, 'store': 'B'}]",
    "generator": "def rows():\n"
    "    yield [{'id': 1, 'store': 'A'}]\n"
    "    yield [{'store': 'B', 'id': 2}]",
    "context": "def rows(context):\n"
    "    rows = context.connect('ledger').con.execute('SELECT * FROM sales')\n"
    "    return [dict(zip(['id', 'store'], row)) for row in rows]",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_function_returns_rows_in_any_form(tmp_path: Path, form: str) -> None:
    fill_databases(tmp_path)
    project = project_of(tmp_path, "{python: 'source:rows'}", source=FORMS[form])
    assert fetched(project) == SALES


def test_a_function_learns_its_partition_from_the_context(tmp_path: Path) -> None:
    code = """
def rows(context):
    start = context.partition_start
    return [{"key": context.partition_key, "start": start, "block": context.block.name}]
"""
    more = "partitions: {every: day, start: '2013-01-01', timezone: America/New_York}"
    project = project_of(tmp_path, "{python: 'source:rows'}", more, source=code)
    (row,) = fetched(project, "2013-01-02")
    assert (row["key"], row["block"]) == ("2013-01-02", "sales")
    assert row["start"].isoformat() == "2013-01-02T05:00:00+00:00"


def test_the_version_of_files_changes_with_them_and_only_then(tmp_path: Path) -> None:
    write_files(tmp_path)
    project = project_of(tmp_path, "{file: 'data/part-*.csv'}")
    before = source_version(project, "sales")
    assert source_version(project, "sales") == before
    file = tmp_path / "data" / "part-1.csv"
    file.write_text("id,store\n1,C\n")
    os.utime(file, ns=(1, 1))
    changed = source_version(project, "sales")
    assert changed != before
    (tmp_path / "data" / "part-3.csv").write_text("id,store\n3,C\n")
    assert source_version(project, "sales") not in (before, changed)


def test_a_source_other_than_files_has_no_version(tmp_path: Path) -> None:
    assert source_version(project_of(tmp_path, "{python: 'a:b'}"), "sales") is None


BAD_SOURCES = {
    "missing file": ("{file: data/sale.csv}", "no file is called data/sale.csv", 8, 19),
    "pattern without a match": ("{file: ['data/*.xml']}", r"no file matches data/\*.xml", 8, 20),
    "unknown ending": ("{file: data/odd.dat}", "tells no format", 8, 19),
    "unknown option": (
        "{file: data/sales.csv, options: {delimiter: ',', delimm: ';'}}",
        "'delimm' is no option",
        8,
        61,
    ),
    "file system that isn't there": ("{file: 'nofs://a.csv'}", "nofs", 8, 19),
    "missing database": (
        "{connection: warehouse, table: sales}",
        "there is no database .*warehouse.duckdb",
        4,
        34,
    ),
    "unknown table": (
        "{connection: ledger, table: sale}",
        "cannot query ledger: no such table: sale",
        8,
        40,
    ),
    "wrong column": (
        "{connection: ledger, sql: 'SELECT idd FROM sales'}",
        "cannot query ledger: no such column: idd",
        8,
        38,
    ),
    "function that raises": (
        "{python: 'source:fails'}",
        "source:fails raised ZeroDivisionError: division by zero\n"
        "  at .*source.py:2 in fails: return 1 / 0",
        8,
        21,
    ),
    "function that isn't there": (
        "{python: 'source:fail'}",
        "source has no function 'fail'.*did you mean 'fails'",
        8,
        21,
    ),
    "missing module": ("{python: 'sources:rows'}", "no module 'sources'", 8, 21),
    "generator that raises": (
        "{python: 'source:halfway'}",
        "source:halfway raised ValueError: enough\n  at .*source.py:10 in halfway: raise",
        8,
        21,
    ),
    "no rows": ("{python: 'source:nothing'}", "NoneType holds no rows", 8, 21),
}
BAD_CODE = """def fails():
    return 1 / 0


def nothing(): ...


def halfway():
    yield [{"id": 1}]
    raise ValueError("enough")
"""


@pytest.mark.parametrize(
    ("fetch", "message", "line", "column"), BAD_SOURCES.values(), ids=BAD_SOURCES
)
def test_a_source_that_fails_is_one_message_at_its_line(
    tmp_path: Path, fetch: str, message: str, line: int, column: int
) -> None:
    write_files(tmp_path)
    (tmp_path / "data" / "odd.dat").write_text("?")
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        ledger.execute("CREATE TABLE sales (id INTEGER, store TEXT)")
    project = project_of(tmp_path, fetch, source=BAD_CODE)
    with pytest.raises(la.StepError, match=message) as raised:
        fetched(project)
    at = raised.value.location
    assert at is not None
    assert (at.line, at.column) == (line, column)


def test_a_wrong_column_of_duckdb_is_told_with_those_there_are(tmp_path: Path) -> None:
    fill_databases(tmp_path)
    project = project_of(tmp_path, "{connection: warehouse, sql: SELECT idd FROM sales}")
    with pytest.raises(la.StepError, match=r'"idd" not found.*known: "id"'):
        fetched(project)


def test_a_password_is_never_printed(tmp_path: Path) -> None:
    yaml = """
name: shop
connections: [{connection: far, url: 'mysql://me:hunter2@127.0.0.1:1/x'}]
datasets:
  - dataset: sales
    fetch: {table: sales}
"""
    with pytest.raises(la.StepError) as raised:
        fetched(write_project(tmp_path, yaml))
    assert "hunter2" not in str(raised.value)
    assert "far" in str(raised.value) or "mysql" in str(raised.value)


def test_of_a_dataset_with_partitions_one_is_named(tmp_path: Path) -> None:
    project = project_of(tmp_path, "{file: x.csv}", "partitions: {values: [EU, US]}")
    with pytest.raises(la.StepError, match=r"which one\?.*its partitions are EU, US"):
        fetched(project)
    with pytest.raises(la.StepError, match=r"there is no partition 'ASIA'"):
        fetched(project, "ASIA")
