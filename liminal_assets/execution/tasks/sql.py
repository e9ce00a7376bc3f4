"""Runs SQL on a database; the rows go to a table or to a file."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from liminal_assets.apache.merging import copied
from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.rendering import rendered
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets.language.datasets import Connection
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean

if TYPE_CHECKING:
    from liminal_assets.language.loading import Project

__all__ = ["SqlTask"]

_SHOWN = 10
"""Rows of a result that the log shows where nothing is written."""
_URL_NAME = "database"
"""What messages call a connection that has no name."""


class SqlTask(InProcessTask):
    """Runs ``query``, or what ``sql_file`` holds, on ``connection``.

    ``output_table`` (of the same connection) and ``output_path`` get the rows, whole or not at
    all. Without them the statements are run for their effect.
    """

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        written = [key for key in ("query", "sql_file") if spec.get(key)]
        if not written:
            hint = "query: SELECT …, or sql_file: with the path of a file"
            yield Diagnostic(spec.locate("query"), "missing-key", "there is no 'query'", hint)
        elif len(written) > 1:
            at, hint = spec.locate("sql_file"), "leave one of them out"
            message = "'query' and 'sql_file' are two queries"
            yield Diagnostic(at, "one-of", message, hint)
        for key in ("query", "sql_file", "connection", "output_table", "output_path"):
            if not isinstance(spec.get(key, ""), str):
                yield Diagnostic(spec.locate(key), "invalid-type", f"{key} must be a text")
        yield from _check_file(spec, workflow)
        yield from _check_connection(spec, workflow)
        yield from _check_output(spec)

    def run(self, run: TaskRun) -> None:
        spec = self.spec
        sql = _sql_of(spec, run)
        project, name = _connection(spec, self.workflow)
        if not (spec.get("output_table") or spec.get("output_path")):
            _run(spec, project, name, sql, run)
            return
        with tempfile.TemporaryDirectory(prefix="liminal-sql-") as folder:
            staged = Path(folder, "rows.parquet")
            count = _stage(spec, project, name, sql, staged)
            run.results["rows"] = count
            if table := spec.get("output_table"):
                _write_table(spec, project, name, table, staged)
                run.results["table"] = table
                run.log(f"{count} rows in the table {table}")
            if path := spec.get("output_path"):
                target = _write_file(spec, project, path, staged)
                run.results["path"] = target
                run.log(f"{count} rows in {target}")


def _check_file(spec: TaskSpec, workflow: Workflow) -> Iterator[Diagnostic]:
    file = spec.get("sql_file")
    if isinstance(file, str) and not (workflow.root / file).is_file():
        message, hint = f"there is no file {file}", "a relative path starts at the file's folder"
        yield Diagnostic(spec.locate("sql_file"), "missing-file", message, hint)


def _check_connection(spec: TaskSpec, workflow: Workflow) -> Iterator[Diagnostic]:
    name = spec.get("connection")
    known = _connections(workflow)
    if isinstance(name, str) and "://" not in name and name not in known:
        message = f"no connection is called {name!r}"
        hint = did_you_mean(name, known) or "or write a URL, such as duckdb://warehouse.duckdb"
        yield Diagnostic(spec.locate("connection"), "unknown-connection", message, hint)


def _check_output(spec: TaskSpec) -> Iterator[Diagnostic]:
    from liminal_assets.steps.files import file_kind

    path = spec.get("output_path")
    if isinstance(path, str):
        try:
            file_kind(Path(_with_file(path)))
        except StepError as error:
            at = spec.locate("output_path")
            yield Diagnostic(at, "invalid-value", error.message, error.hint)


def _connections(workflow: Workflow) -> dict[str, Connection]:
    """The connections of the file by name."""
    return {connection.connection: connection for connection in workflow.connections}


def _connection(spec: TaskSpec, workflow: Workflow) -> tuple[Project, str]:
    """A project that holds the task's connection, and the connection's name."""
    from liminal_assets.language.loading import Project

    said = spec.get("connection")
    if said is None:
        name, url = _URL_NAME, f"duckdb://{workflow.state / 'warehouse.duckdb'}"
        connection = Connection(connection=name, url=url)
    elif "://" in str(said):
        connection = Connection(connection=_URL_NAME, url=str(said))
    elif found := _connections(workflow).get(str(said)):
        connection = found
    else:
        raise StepError(
            f"no connection is called {said!r}",
            location=spec.locate("connection"),
            hint=did_you_mean(str(said), _connections(workflow)),
        )
    project = Project.of("sql", workflow.root, check=False, connections=[connection])
    return project, connection.connection


def _sql_of(spec: TaskSpec, run: TaskRun) -> str:
    """The query; a file's placeholders are filled in as the task's are."""
    if query := spec.get("query"):
        return str(query)
    file = spec.get("sql_file")
    if not file:
        raise StepError("there is no 'query'", location=spec.locate(), hint="query: SELECT …")
    at = spec.locate("sql_file")
    try:
        text = (run.workflow.root / str(file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StepError(f"cannot read {file}: {error}", location=at) from error
    written = copied(spec.configuration)
    written.put("sql_file", text, at, at)
    return str(rendered(replace(spec, configuration=written), run).get("sql_file"))


def _is_new(project: Project, name: str) -> bool:
    """Whether a connection is the embedded database, and nothing was written to it yet."""
    file = project.connection(name).url.removeprefix("duckdb://")
    return file == str(project.state / "warehouse.duckdb") and not Path(file).exists()


def _search_in(backend: Any, project: Project) -> None:
    """Lets DuckDB find files by paths that start at the project's folder."""
    if backend.name == "duckdb":
        folder = str(project.root).replace("'", "''")
        backend.con.execute(f"SET file_search_path = '{folder}'")


def _run(spec: TaskSpec, project: Project, name: str, sql: str, run: TaskRun) -> None:
    """Runs statements for their effect; shows the first rows of the last one, if it has any."""
    from liminal_assets.storage.connections import connected
    from liminal_assets.storage.database_tables import run_statements

    at = spec.locate("query" if spec.get("query") else "sql_file")
    with connected(project, name, read_only=False, location=at, doing="run SQL on") as backend:
        if backend.name != "duckdb":
            run_statements(backend, sql)
            run.log("the SQL ran")
            return
        _search_in(backend, project)
        rows = _in_one_transaction(backend.con, sql)  # type: ignore[attr-defined]
        for line in str(rows).splitlines() if rows is not None else ["the SQL ran"]:
            run.log(line)


def _in_one_transaction(connection: Any, sql: str) -> Any:
    connection.execute("BEGIN")
    try:
        rows = connection.sql(sql)
        shown = None if rows is None else str(rows.limit(_SHOWN))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return shown


def _stage(spec: TaskSpec, project: Project, name: str, sql: str, staged: Path) -> int:
    """Writes the rows of a query to a Parquet file; returns how many they are."""
    from liminal_assets.storage.connections import connected, query
    from liminal_assets.storage.forms import to_relation
    from liminal_assets.storage.sessions import connect

    at = spec.locate("query" if spec.get("query") else "sql_file")
    # a database that gets the rows is made if it isn't there
    read_only = not (spec.get("output_table") or _is_new(project, name))
    with connected(project, name, read_only=read_only, location=at) as backend:
        _search_in(backend, project)
        rows = query(backend, sql)
        if rows is None:
            hint = "leave output_table and output_path out, or write a SELECT"
            raise StepError("the query has no rows to write", location=at, hint=hint)
        with connect() as session:
            session.register("rows_of_query", to_relation(rows, session))
            copied = session.execute(f"COPY (FROM rows_of_query) TO '{staged}' (FORMAT parquet)")
            [(count,)] = copied.fetchall()
    return int(count)


def _write_table(spec: TaskSpec, project: Project, name: str, table: str, staged: Path) -> None:
    from liminal_assets.storage.database_tables import write_table
    from liminal_assets.storage.tables import Table

    at = spec.locate("output_table")
    write_table(project, name, str(table), Table("the rows", (str(staged),)), location=at)


def _with_file(path: str) -> str:
    """The path of a file: a path without the end of a file's name is a folder."""
    return path if PurePosixPath(path).suffix else f"{path.rstrip('/')}/data.parquet"


def _write_file(spec: TaskSpec, project: Project, path: str, staged: Path) -> str:
    """Writes staged rows to a path or an fsspec URL; a file that is there stays until the new one
    is whole. Returns where they are."""
    from liminal_assets.steps.files import copy_options, file_kind
    from liminal_assets.storage.forms import engine_errors, literal
    from liminal_assets.storage.sessions import reader

    at, path = spec.locate("output_path"), _with_file(path)
    remote = "://" in path
    target = path if remote else str(project.root / path)
    options = copy_options(Path(target), file_kind(Path(target)))
    folder = staged.parent if remote else Path(target).parent
    draft = folder / f".{uuid.uuid4().hex}.part"
    with engine_errors(f"write {target}", location=at):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            source, written = literal(str(staged)), literal(str(draft))
            reader().execute(f"COPY (FROM read_parquet({source})) TO {written} ({options})")
            if remote:
                _upload(draft, target)
            else:
                draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return target


def _upload(file: Path, url: str) -> None:
    import fsspec

    filesystem, bare = fsspec.url_to_fs(url)
    filesystem.makedirs(str(PurePosixPath(bare).parent), exist_ok=True)
    filesystem.put_file(str(file), bare)
