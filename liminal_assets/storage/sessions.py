"""Sessions of DuckDB: the steps of a process share one database in memory, and so its threads and
its memory limit; opening a database of its own takes 30 ms, a session of the shared one 0.2 ms."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

__all__ = ["connect", "reader", "register_filesystem", "session"]

_LOCK = threading.Lock()


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB database of its own, in memory, that spills to the machine's temporary folder.

    For what is handed to user code or outlives a step. It holds rows in the order in which they
    were written and moments in UTC.
    """
    import duckdb

    spill = Path(tempfile.gettempdir()) / "liminal-duckdb"
    connection = duckdb.connect(config={"temp_directory": str(spill)})
    return _in_utc(connection)


def reader() -> duckdb.DuckDBPyConnection:
    """A session of the shared database that only reads files and values: it makes no views."""
    with _LOCK:
        return _in_utc(_shared(os.getpid()).cursor())


@contextmanager
def session(*, private: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session whose views nobody else sees, and which are gone when the block is left.

    Args:
        private: on a database of its own, for file systems other than the machine's: DuckDB knows
            them by protocol for a whole database, and two may differ in their credentials.
    """
    if private:
        with connect() as connection:
            yield connection
        return
    connection, schema = reader(), f"liminal_{uuid.uuid4().hex}"
    connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(f"SET schema = '{schema}'")
    try:
        yield connection
    finally:
        connection.execute("SET schema = 'main'")
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
        connection.close()


def register_filesystem(connection: duckdb.DuckDBPyConnection, filesystem: Any) -> None:
    """Lets a session of its own database read an fsspec file system's URLs."""
    protocols = filesystem.protocol
    names = {protocols} if isinstance(protocols, str) else set(protocols)
    if not names & set(connection.list_filesystems()):
        connection.register_filesystem(filesystem)


@lru_cache(maxsize=1)
def _shared(process: int) -> duckdb.DuckDBPyConnection:
    """The shared database, a new one in a process that was forked."""
    return connect()


def _in_utc(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    connection.execute("SET TimeZone = 'UTC'")
    # it would be drawn into whatever a command prints
    connection.execute("SET enable_progress_bar = false")
    return connection
