"""Databases, reached through Ibis, and streamed queries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from liminal_assets.errors import StepError
from liminal_assets.language.datasets import Connection
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import bridge_ibis

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
