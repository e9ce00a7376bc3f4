"""Databases, reached through Ibis: streamed queries, and tables written partition by partition."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from liminal_assets.errors import StepError
from liminal_assets.language.datasets import Connection
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import bridge_ibis, identifier, to_relation
from liminal_assets.storage.sessions import connect
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import ibis.expr.schema
    import pyarrow as pa
    from ibis.backends import BaseBackend

__all__ = [
    "connect_to",
    "connected",
    "database_errors",
    "database_exists",
    "is_embedded",
    "query",
    "quoted_name",
    "quoted_table",
    "run_statements",
    "table_names",
    "write_table",
]

_FILE_SCHEMES = {"duckdb", "sqlite"}
_CHUNK = 100_000
"""Rows held in memory at once."""
_TRANSIENT = re.compile(
    r"connection (refused|reset|timed out)|could not connect|timeout|temporarily|lock|too many"
    r"|unavailable|server closed|network|name or service|getaddrinfo",
    re.IGNORECASE,
)


def connect_to(
    project: Project,
    name: str | None = None,
    *,
    read_only: bool = True,
    location: Location | None = None,
) -> BaseBackend:
    """The Ibis backend of a connection of the project.

    Args:
        name: the connection; None for the only one.
        read_only: embedded databases (DuckDB, SQLite) are opened for reading, so that several
            processes can, and must exist; otherwise the file is made.
        location: where an error points to; default: the connection's own line.

    Raises:
        StepError: there is no such connection, its driver isn't installed, or it can't be reached.
    """
    try:
        connection = project.connection(name)
    except KeyError:
        known = [connection.connection for connection in project.spec.connections]
        message = (
            f"no connection is called {name!r}" if name else "there is not just one connection"
        )
        raise StepError(message, location=location, hint=did_you_mean(str(name), known)) from None
    at = location or project.locate(connection, "url")
    with database_errors(project, connection, at, "connect to"):
        return _open(project, connection, read_only)


@contextmanager
def connected(
    project: Project,
    name: str | None = None,
    *,
    read_only: bool = True,
    location: Location | None = None,
    doing: str = "query",
) -> Iterator[BaseBackend]:
    """:func:`connect_to` for the length of a ``with`` block.

    What the database reports inside the block is raised as one :class:`StepError`.

    Args:
        doing: what fails then: ``"write to"``.
    """
    backend = connect_to(project, name, read_only=read_only, location=location)
    connection = project.connection(name)
    try:
        with database_errors(project, connection, location, doing):
            yield backend
    finally:
        # a connection that broke can't be closed either; what broke it is already told
        with suppress(Exception):
            backend.disconnect()


@contextmanager
def database_errors(
    project: Project, connection: Connection, location: Location | None, doing: str
) -> Iterator[None]:
    """What a database's driver reports, as one :class:`StepError` without passwords."""
    try:
        yield
    except (StepError, GeneratorExit):
        raise
    except ImportError as error:
        scheme = connection.url.partition("://")[0]
        raise StepError(
            f"the driver for {scheme}:// isn't installed",
            location=location or project.locate(connection, "url"),
            hint=f"pip install 'ibis-framework[{scheme}]'",
        ) from error
    except Exception as error:
        first = _first_lines(str(error))
        shown = _without_secrets(first, connection)
        raise StepError(
            f"cannot {doing} {connection.connection}: {shown}",
            location=location or project.locate(connection, "url"),
            hint=_hint(str(error)),
            transient=bool(_TRANSIENT.search(first)),
        ) from error


def _hint(message: str) -> str | None:
    if found := re.search(r"Did you mean \"?([^\"?\n]+)\"?\?", message):
        return f"did you mean {found[1].strip()!r}?"
    if found := re.search(r"Candidate bindings: ([^\n]+)", message):
        return f"known: {found[1].strip()}"
    return None


def _first_lines(message: str) -> str:
    """The message without the query and the stack that drivers add."""
    message = message.strip().split("\n\nLINE ")[0].split("\nLINE ")[0].split("\n\nStack")[0]
    lines = [line.strip() for line in message.split("\n") if line.strip()]
    kept = [line for line in lines if not line.startswith(("Did you mean", "Candidate bindings"))]
    return " ".join(kept[:3]) or message


def _without_secrets(message: str, connection: Connection) -> str:
    parts = urlsplit(connection.url)
    secrets = [parts.password, *(str(v) for k, v in connection.options.items() if _secret(k))]
    for secret in filter(None, secrets):
        message = message.replace(secret, "***")
    return message


def _secret(key: str) -> bool:
    return bool(re.search(r"pass|secret|token|key", key, re.IGNORECASE))


def _open(project: Project, connection: Connection, read_only: bool) -> BaseBackend:
    bridge_ibis()
    import ibis

    url = _absolute(project, connection.url)
    scheme, options = url.partition("://")[0], dict(connection.options)
    path = _database_file(url)
    if scheme not in _FILE_SCHEMES or path is None:
        return ibis.connect(url, **options)
    if read_only and not path.is_file():
        raise StepError(
            f"there is no database {path}",
            location=project.locate(connection, "url"),
            hint="a relative path starts at the project's folder",
        )
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
    if scheme == "duckdb" and read_only:
        options.setdefault("read_only", True)
    return _open_duckdb(url, options) if scheme == "duckdb" else _open_sqlite(path, options)


def _open_sqlite(path: Path, options: dict[str, Any]) -> BaseBackend:
    """SQLite, read from whichever thread of DuckDB asks for the next rows."""
    import sqlite3

    import ibis

    kinds = options.pop("type_map", None)
    connection = sqlite3.connect(path, check_same_thread=False, **{"timeout": 30, **options})
    return ibis.sqlite.from_connection(connection, type_map=kinds)


def _open_duckdb(url: str, options: dict[str, Any]) -> BaseBackend:
    """DuckDB wants all connections of one process to a file opened alike."""
    import duckdb
    import ibis

    try:
        return ibis.connect(url, **options)
    except (duckdb.ConnectionException, duckdb.BinderException) as error:
        if "different configuration" not in str(error) or "read_only" not in options:
            raise
        return ibis.connect(url, **{**options, "read_only": False})


def _absolute(project: Project, url: str) -> str:
    """A relative path of an embedded database as one from the project's folder."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _FILE_SCHEMES:
        return url
    path, mark, arguments = rest.partition("?")
    if not path or path.startswith(("/", ":memory:", "md:", "motherduck:")):
        return url
    return f"{scheme}://{project.root / path}{mark}{arguments}"


def _database_file(url: str) -> Path | None:
    """The file of an embedded database; none for one in memory or on a server."""
    path = url.partition("://")[2].partition("?")[0]
    return Path(path) if path.startswith("/") else None


def query(backend: BaseBackend, sql: str) -> Any:
    """The rows of a query in the backend's dialect, streamed: a DuckDB relation or an Arrow reader.

    Raises:
        Exception: the driver's own, which :func:`connected` turns into a :class:`StepError`.
    """
    if backend.name == "duckdb":
        return backend.con.sql(sql)  # type: ignore[attr-defined]
    expression = backend.sql(sql)  # type: ignore[attr-defined]
    if backend.name == "sqlite":
        return _sqlite_rows(backend, sql, expression.schema())
    return expression.to_pyarrow_batches(chunk_size=_CHUNK)


def _sqlite_rows(backend: Any, sql: str, schema: ibis.expr.schema.Schema) -> pa.RecordBatchReader:
    """Ibis reads a whole SQLite result before the first batch; this reads chunk by chunk."""
    import pandas as pd
    import pyarrow as pa
    from ibis.backends.sqlite.converter import SQLitePandasData

    cursor = backend.con.execute(sql)
    target = schema.to_pyarrow()

    def batches() -> Iterator[pa.RecordBatch]:
        while rows := cursor.fetchmany(_CHUNK):
            frame = pd.DataFrame.from_records(rows, columns=list(schema.names), coerce_float=True)
            frame = SQLitePandasData.convert_table(frame, schema)
            yield from pa.Table.from_pandas(frame, schema=target, preserve_index=False).to_batches()

    return pa.RecordBatchReader.from_batches(target, batches())


def write_table(
    project: Project,
    name: str | None,
    table: str,
    rows: Any,
    replace_where: Mapping[str, Any] | None = None,
    *,
    location: Location | None = None,
) -> int:
    """Writes rows to a table of a connection, in one transaction; the table is made if missing.

    Args:
        name: the connection; None for the only one.
        table: its name, or ``schema.table``.
        rows: in any form that :meth:`TableStore.stage` takes, or a :class:`Table`.
        replace_where: values of columns whose rows are replaced (``{"month": "2013-01"}``), so
            that writing a partition again changes nothing else; None replaces the whole table.

    Returns:
        The number of rows written.

    Raises:
        StepError: the database can't be reached or refuses the rows.
    """
    session = connect()
    relation = rows.relation(session) if isinstance(rows, Table) else to_relation(rows, session)
    with connected(project, name, read_only=False, location=location, doing="write to") as backend:
        write = _write_duckdb if backend.name == "duckdb" else _write_generic
        return write(backend, table, relation, replace_where)


def _write_duckdb(
    backend: Any, table: str, relation: Any, replace_where: Mapping[str, Any] | None
) -> int:
    con, target = backend.con, _quoted(table)
    con.register("liminal_rows", relation.to_arrow_reader(_CHUNK))
    con.execute("BEGIN")
    try:
        if "." in table:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(table.rpartition('.')[0])}")
        make = "CREATE OR REPLACE TABLE" if replace_where is None else "CREATE TABLE IF NOT EXISTS"
        con.execute(f"{make} {target} AS FROM liminal_rows LIMIT 0")
        if replace_where:
            con.execute(_delete(backend, table, replace_where))
        (count,) = con.execute(f"INSERT INTO {target} BY NAME FROM liminal_rows").fetchone()
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise
    finally:
        con.unregister("liminal_rows")
    return int(count)


def _write_generic(
    backend: Any, table: str, relation: Any, replace_where: Mapping[str, Any] | None
) -> int:
    """Fills a table beside the target, then moves its rows over in one transaction.

    Backends without transactions (ClickHouse, BigQuery) delete and insert one after the other.
    """
    import ibis

    namespace, _, name = table.rpartition(".")
    where = {"database": namespace} if namespace else {}
    reader = relation.to_arrow_reader(_CHUNK)
    schema = ibis.schema(reader.schema)
    staging = f"{name}__{uuid.uuid4().hex[:12]}"
    source = f"{namespace}.{staging}" if namespace else staging
    backend.create_table(staging, schema=schema, **where)
    try:
        count = 0
        for batch in reader:
            _insert_batch(backend, source, batch, where)
            count += batch.num_rows
        if name not in backend.list_tables(**where):
            backend.create_table(name, schema=schema, **where)
        run_statements(
            backend,
            _delete(backend, table, replace_where or {}),
            _insert(backend, table, source, schema.names),
        )
    finally:
        backend.drop_table(staging, force=True, **where)
    return count


def _insert_batch(backend: Any, table: str, batch: pa.RecordBatch, where: dict[str, str]) -> None:
    """Adds rows to a table as fast as the driver can.

    Ibis makes a table in memory of them first, and in SQLite none with a timestamp.
    """
    import pyarrow as pa

    rows = pa.Table.from_batches([batch])
    columns = ", ".join(quoted_name(backend, name) for name in batch.schema.names)
    if backend.name == "sqlite":
        marks = ", ".join("?" * batch.num_columns)
        statement = f"INSERT INTO {quoted_table(backend, table)} ({columns}) VALUES ({marks})"
        records = (tuple(map(_sqlite_value, row.values())) for row in rows.to_pylist())
        with backend.begin() as cursor:
            cursor.executemany(statement, records)
    elif backend.name == "postgres":
        statement = f"COPY {quoted_table(backend, table)} ({columns}) FROM STDIN"
        with backend.begin() as cursor, cursor.copy(statement) as copy:
            for row in rows.to_pylist():
                copy.write_row(tuple(row.values()))
    else:
        backend.insert(table.rpartition(".")[2], rows, **where)


def _sqlite_value(value: Any) -> Any:
    """A value as SQLite holds it: moments as ISO 8601 text, decimals as text."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return str(value) if isinstance(value, Decimal) else value


def run_statements(backend: Any, *statements: str) -> None:
    """Runs statements of the backend's dialect, in one transaction where it has them.

    Raises:
        Exception: the driver's own, which :func:`connected` turns into a :class:`StepError`.
    """
    if not hasattr(backend, "begin"):
        for statement in statements:
            backend.raw_sql(statement)
        return
    with backend.begin() as cursor:
        for statement in statements:
            cursor.execute(statement)


def database_exists(project: Project, name: str | None = None) -> bool:
    """Whether the file of an embedded database is there; one on a server is taken to be."""
    path = _database_file(_absolute(project, project.connection(name).url))
    return path is None or path.is_file()


def is_embedded(project: Project, name: str | None = None) -> bool:
    """Whether a connection leads to a file or the memory of this machine.

    Raises:
        KeyError: there is no such connection.
    """
    url = _absolute(project, project.connection(name).url)
    scheme, _, rest = url.partition("://")
    return scheme in _FILE_SCHEMES and not rest.startswith(("md:", "motherduck:"))


def table_names(backend: Any, table: str) -> list[str]:
    """The tables beside ``table``, or ``schema.table``; none if there is no such schema."""
    namespace = table.rpartition(".")[0]
    if namespace and namespace not in backend.list_databases():
        return []
    return list(backend.list_tables(**({"database": namespace} if namespace else {})))


def _quoted(table: str) -> str:
    return ".".join(identifier(part) for part in table.split("."))


def quoted_table(backend: Any, table: str) -> str:
    """A table's name, with or without its schema, quoted as the backend quotes."""
    return ".".join(quoted_name(backend, part) for part in table.split("."))


def quoted_name(backend: Any, name: str) -> str:
    """A column's name, quoted as the backend quotes."""
    import sqlglot as sg

    return str(sg.to_identifier(name, quoted=True).sql(dialect=backend.dialect))


def _delete(backend: Any, table: str, where: Mapping[str, Any]) -> str:
    """The statement that takes away the rows with these values; all rows for none."""
    import sqlglot as sg
    import sqlglot.expressions as sge

    statement = sg.delete(quoted_table(backend, table), dialect=backend.dialect)
    for column, value in where.items():
        named = sg.column(column, quoted=True)
        same = named.is_(sge.null()) if value is None else named.eq(sge.convert(value))
        statement = statement.where(same, copy=False)
    return statement.sql(dialect=backend.dialect)


def _insert(backend: Any, table: str, source: str, columns: Iterable[str]) -> str:
    import sqlglot as sg

    named = [sg.column(column, quoted=True) for column in columns]
    dialect = backend.dialect
    rows = sg.select(*named).from_(quoted_table(backend, source), dialect=dialect)
    into = [column.this for column in named]
    statement = sg.insert(rows, quoted_table(backend, table), columns=into, dialect=dialect)
    return statement.sql(dialect=dialect)
