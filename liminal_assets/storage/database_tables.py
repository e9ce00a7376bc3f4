"""Tables of a database, written partition by partition, and statements about them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.storage.connections import connected
from liminal_assets.storage.forms import identifier, to_relation
from liminal_assets.storage.sessions import connect
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["quoted_name", "quoted_table", "run_statements", "table_names", "write_table"]

_CHUNK = 100_000
"""Rows held in memory at once."""


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
