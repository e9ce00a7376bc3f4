from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.tasks.sql import SqlTask
from liminal_assets_tests.workflows import found, run_of, task_of

_ROWS = "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t (id, name)"


def _run(folder: Path, task: str, rest: str = "", lines: list[str] | None = None) -> dict[str, Any]:
    spec, workflow = task_of(folder, f"type: sql\n{task}", rest)
    run = run_of(workflow, lines=lines)
    SqlTask(spec, workflow).run(run)
    return run.results


def _warehouse(folder: Path, sql: str) -> list[Any]:
    with duckdb.connect(str(folder / ".liminal" / "warehouse.duckdb")) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize(
    ("path", "read"),
    [
        pytest.param("out/rows.parquet", "read_parquet('{}')", id="Parquet"),
        pytest.param("out/rows.csv", "read_csv('{}')", id="CSV"),
        pytest.param("out/rows.csv.gz", "read_csv('{}', compression = 'gzip')", id="CSV, zipped"),
        pytest.param("out/rows.json", "read_json('{}')", id="JSON"),
        pytest.param("out", "read_parquet('{}/data.parquet')", id="a folder"),
    ],
)
def test_rows_go_to_a_file_by_the_end_of_its_name(tmp_path: Path, path: str, read: str) -> None:
    results = _run(tmp_path, f"query: {_ROWS}\noutput_path: {path}")
    rows = duckdb.sql(f"FROM {read.format(tmp_path / path)}").fetchall()
    assert rows == [(1, "a"), (2, "b")]
    assert results["rows"] == 2
    assert sorted(file.name for file in tmp_path.rglob("*.part")) == []


def test_rows_go_to_a_url(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/deep/rows.csv"
    assert _run(tmp_path, f"query: {_ROWS}\noutput_path: {url}")["path"] == url
    with fsspec.open(url, "rt") as file:
        assert file.read().splitlines() == ["id,name", "1,a", "2,b"]


def test_rows_go_to_a_table_of_the_embedded_database(tmp_path: Path) -> None:
    _run(tmp_path, f"query: {_ROWS}\noutput_table: marts.names")
    results = _run(tmp_path, "query: SELECT count(*) AS n FROM marts.names\noutput_table: counts")
    assert results == {"rows": 1, "table": "counts"}
    assert _warehouse(tmp_path, "FROM counts") == [(2,)]


def test_a_table_and_a_file_get_the_rows_of_one_execution(tmp_path: Path) -> None:
    query = "SELECT random() AS number"
    _run(tmp_path, f"query: {query}\noutput_table: t\noutput_path: t.parquet")
    [(in_file,)] = duckdb.sql(f"FROM read_parquet('{tmp_path}/t.parquet')").fetchall()
    assert _warehouse(tmp_path, "FROM t") == [(in_file,)]


def test_what_is_there_stays_when_the_query_fails(tmp_path: Path) -> None:
    _run(tmp_path, f"query: {_ROWS}\noutput_table: t\noutput_path: t.csv")
    failing = "SELECT CASE WHEN i = 9 THEN error('stop') ELSE i::TEXT END FROM range(10) r (i)"
    with pytest.raises(StepError, match=r"yml:7:\d+: cannot query database: .*stop"):
        _run(tmp_path, f"query: {failing}\noutput_table: t\noutput_path: t.csv")
    assert _warehouse(tmp_path, "FROM t") == [(1, "a"), (2, "b")]
    assert (tmp_path / "t.csv").read_text().splitlines() == ["id,name", "1,a", "2,b"]


def test_relative_paths_in_a_query_start_at_the_projects_folder(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n7\n")
    assert _run(tmp_path, "query: FROM 'in.csv'\noutput_path: out.parquet")["rows"] == 1


def test_statements_run_for_their_effect_all_or_none(tmp_path: Path) -> None:
    lines: list[str] = []
    _run(tmp_path, "query: CREATE TABLE t AS SELECT 1 AS a; SELECT a + 1 AS b FROM t", lines=lines)
    assert "│     2 │" in lines
    with pytest.raises(StepError, match="missing"):
        _run(tmp_path, "query: DELETE FROM t; SELECT * FROM missing")
    assert _warehouse(tmp_path, "FROM t") == [(1,)]


def test_a_query_may_stand_in_a_file_with_variables(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("SELECT '{{ colour }}' AS colour, '{{ ds }}' AS day")
    moment = datetime(2026, 3, 1, tzinfo=timezone.utc)
    spec, workflow = task_of(
        tmp_path, "type: sql\nsql_file: q.sql\noutput_path: o.csv", "variables: {colour: red}"
    )
    SqlTask(spec, workflow).run(run_of(workflow, moment=moment))
    assert (tmp_path / "o.csv").read_text().split() == ["colour,day", "red,2026-03-01"]


@pytest.mark.parametrize(
    ("connection", "ours"),
    [
        pytest.param("sqlite://shop.db", "", id="a URL"),
        pytest.param(
            "shop",
            "connections: [{connection: shop, url: '{{ kind }}://shop.db'}]\n"
            "variables: {kind: sqlite}",
            id="a name of the file's",
        ),
    ],
)
def test_a_query_runs_on_its_connection(tmp_path: Path, connection: str, ours: str) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (4);")
    spec, workflow = task_of(
        tmp_path,
        f"type: sql\nquery: SELECT id * 2 AS twice FROM orders\nconnection: {connection}\n"
        "output_table: doubled",
        ours,
    )
    assert found(SqlTask.check(spec, workflow)) == []
    SqlTask(spec, workflow).run(run_of(workflow))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        assert database.execute("SELECT twice FROM doubled").fetchall() == [(8,)]


@pytest.mark.parametrize(
    ("task", "mistakes"),
    [
        pytest.param("query: SELECT 1", [], id="right"),
        pytest.param("description: nothing", [(5, "missing-key")], id="no query"),
        pytest.param(
            "query: SELECT 1\nsql_file: q.sql",
            [(8, "missing-file"), (8, "one-of")],
            id="two queries, one of them missing",
        ),
        pytest.param(
            "query: SELECT 1\nconnection: warehouse\noutput_path: out.xlsx",
            [(8, "unknown-connection"), (9, "invalid-value")],
            id="no such connection, no such kind of file",
        ),
        pytest.param("query: [a]", [(7, "invalid-type")], id="a query that is no text"),
    ],
)
def test_mistakes_are_found_at_their_lines(
    tmp_path: Path, task: str, mistakes: list[tuple[int, str]]
) -> None:
    spec, workflow = task_of(tmp_path, f"type: sql\n{task}")
    assert found(SqlTask.check(spec, workflow)) == mistakes
