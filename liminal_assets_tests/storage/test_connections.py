"""Connections: one way to read and write DuckDB, SQLite and PostgreSQL through Ibis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.storage.connections import connect_to, connected, query
from liminal_assets.storage.database_tables import write_table
from liminal_assets.storage.forms import to_relation
from liminal_assets.storage.sessions import reader

ROWS = pa.table(
    {
        "month": ["01", "01", "02"],
        "score": [0.5, None, 0.25],
        "n": [1, 2, 3],
        "at": [datetime(2013, 1, 1, 5), None, datetime(2013, 2, 1)],
        "late": [True, False, None],
    }
)


def project_of(folder: Path, **urls: str) -> Project:
    connections = [{"connection": name, "url": url} for name, url in urls.items()]
    return Project.of("shop", folder, connections=connections)


def rows_in(project: Project, name: str, sql: str) -> list[dict[str, Any]]:
    with connected(project, name) as backend:
        found = to_relation(query(backend, sql), reader()).to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


@pytest.fixture(params=["duckdb", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project with the connection ``db`` to an empty database of each kind."""
    if request.param == "postgres":
        pytest.importorskip("psycopg", reason="Ibis needs psycopg 3 for PostgreSQL")
        url = request.getfixturevalue("postgres").replace("postgresql://", "postgres://")
        project = project_of(tmp_path, db=url)
        with connected(project, "db") as backend:
            for table in backend.list_tables():
                backend.raw_sql(f'DROP TABLE "{table}"').close()
            backend.con.commit()  # type: ignore[attr-defined]
        yield project
    else:
        yield project_of(tmp_path, db=f"{request.param}://data/a.db")


def test_a_table_is_made_and_its_rows_read_back(database: Project) -> None:
    assert write_table(database, "db", "scores", ROWS) == 3
    read = rows_in(database, "db", 'SELECT * FROM scores ORDER BY "n"')
    expected = ROWS.to_pylist()
    assert [{**row, "late": row["late"]} for row in read] == expected


def test_writing_a_partition_again_replaces_its_rows_only(database: Project) -> None:
    write_table(database, "db", "scores", ROWS)
    again = ROWS.slice(0, 1)
    for _ in range(2):
        assert write_table(database, "db", "scores", again, {"month": "01"}) == 1
    months = [row["month"] for row in rows_in(database, "db", "SELECT month FROM scores")]
    assert sorted(months) == ["01", "02"]


def test_without_a_partition_the_whole_table_is_replaced(database: Project) -> None:
    write_table(database, "db", "scores", ROWS)
    write_table(database, "db", "scores", ROWS.slice(2))
    assert len(rows_in(database, "db", "SELECT * FROM scores")) == 1


def test_a_text_that_looks_like_sql_is_a_text(database: Project) -> None:
    odd = "x'; DROP TABLE scores; --"
    table = ROWS.set_column(0, "month", [[odd, odd, "02"]])
    write_table(database, "db", "scores", table)
    write_table(database, "db", "scores", table.slice(0, 1), {"month": odd})
    assert len(rows_in(database, "db", "SELECT * FROM scores")) == 2


def test_rows_that_do_not_fit_leave_the_table_as_it_was(database: Project) -> None:
    write_table(database, "db", "scores", ROWS)
    more = ROWS.append_column("other", ROWS["n"])
    with pytest.raises(la.StepError, match=r"cannot write to db: .*other"):
        write_table(database, "db", "scores", more, {"month": "01"})
    assert len(rows_in(database, "db", "SELECT * FROM scores")) == 3
    with connected(database, "db") as backend:
        assert backend.list_tables() == ["scores"]


def test_columns_may_come_in_another_order(database: Project) -> None:
    write_table(database, "db", "scores", ROWS)
    other = ROWS.select(["n", "late", "score", "at", "month"])
    write_table(database, "db", "scores", other, {"month": "01"})
    assert len(rows_in(database, "db", "SELECT * FROM scores WHERE score = 0.25")) == 2


def test_a_relative_path_starts_at_the_projects_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    for scheme in ("duckdb", "sqlite"):
        project = project_of(home, db=f"{scheme}://data/{scheme}.db")
        write_table(project, "db", "scores", ROWS)
        assert (home / "data" / f"{scheme}.db").is_file()


def test_several_can_read_a_duckdb_file_at_once(tmp_path: Path) -> None:
    project = project_of(tmp_path, db="duckdb://a.db")
    write_table(project, "db", "scores", ROWS)
    with connected(project, "db") as one, connected(project, "db") as two:
        for backend in (one, two):
            assert query(backend, "FROM scores").fetchall()


def test_a_file_that_is_open_for_writing_is_read_as_well(tmp_path: Path) -> None:
    project = project_of(tmp_path, db="duckdb://a.db")
    write_table(project, "db", "scores", ROWS)
    with duckdb.connect(str(tmp_path / "a.db")):
        assert len(rows_in(project, "db", "FROM scores")) == 3


def test_ibis_expressions_work_on_a_connection(tmp_path: Path) -> None:
    project = project_of(tmp_path, db="duckdb://a.db")
    write_table(project, "db", "scores", ROWS)
    with connected(project, "db") as backend:
        scores = backend.table("scores")
        assert scores.filter(scores.n > 1).n.sum().execute() == 5


def test_a_large_sqlite_result_streams(tmp_path: Path) -> None:
    project = project_of(tmp_path, db="sqlite://a.db")
    write_table(project, "db", "numbers", pa.table({"n": range(250_000)}))
    with connected(project, "db") as backend:
        batches = iter(query(backend, "SELECT n FROM numbers"))
        assert next(batches).num_rows == 100_000
        assert sum(batch.num_rows for batch in batches) == 150_000


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("duckdb://missing.db", "there is no database .*missing.db"),
        ("sqlite://missing.db", "there is no database .*missing.db"),
        ("nosuch://host/db", "cannot connect to db"),
        ("trino://me:hunter2@127.0.0.1:1/x", "the driver for trino:// isn't installed"),
    ],
    ids=["duckdb", "sqlite", "unknown", "no driver"],
)
def test_a_database_that_cannot_be_opened_is_one_message(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(la.StepError, match=message) as raised:
        connect_to(project_of(tmp_path, db=url), "db")
    assert "hunter2" not in str(raised.value)


@pytest.mark.slow
def test_a_server_that_does_not_answer_may_be_tried_again(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="Ibis needs psycopg 3 for PostgreSQL")
    project = project_of(tmp_path, db="postgres://me:hunter2@127.0.0.1:1/db")
    with pytest.raises(la.StepError, match=r"cannot connect to db") as raised:
        connect_to(project, "db")
    assert raised.value.transient
    assert "hunter2" not in str(raised.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("not a database, only some words " * 100)
    with pytest.raises(la.StepError, match=r"cannot connect to db"):
        connect_to(project_of(tmp_path, db="duckdb://a.db"), "db")


@pytest.mark.parametrize(
    ("name", "message"),
    [("wharehouse", "did you mean 'warehouse'"), (None, "there is not just one connection")],
)
def test_a_connection_that_is_not_there_is_told(
    tmp_path: Path, name: str | None, message: str
) -> None:
    project = project_of(tmp_path, warehouse="duckdb://a.db", ledger="sqlite://b.db")
    with pytest.raises(la.StepError, match=message):
        connect_to(project, name)
