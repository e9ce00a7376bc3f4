"""A log as a table of a connection: added to batch by batch, with columns that come and go."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.storage.connections import connected, database_exists, query
from liminal_assets.storage.database_tables import (
    quoted_name,
    quoted_table,
    run_statements,
    table_names,
    write_table,
)
from liminal_assets.storage.forms import to_relation
from liminal_assets.storage.ids import of_request
from liminal_assets.storage.sessions import reader
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

__all__ = ["LogTable"]

_BATCH = "log_batch"
"""The column that says with which others a row was written."""


class LogTable:
    """A log in a database.

    Args:
        project: has the connection.
        connection: its name; None for the only one.
        table: the table, or ``schema.table``; made with the first rows.
        moment: the column that says when a row was made.
        location: where an error points to.
    """

    def __init__(
        self,
        project: Project,
        connection: str | None,
        table: str,
        moment: str,
        location: Location | None = None,
    ) -> None:
        self.table = table
        self.moment = moment
        self._project = project
        self._connection = connection
        self._location = location

    def append(self, rows: Any, *, batch: str | None = None) -> int:
        """Adds rows in one transaction; those of the same batch are replaced.

        Raises:
            StepError: the database can't be reached or refuses them.
        """
        import pyarrow as pa

        added: pa.Table = Table.from_rows(rows).value
        if not added.num_rows:
            return 0
        name = batch or uuid.uuid4().hex
        added = added.append_column(_BATCH, pa.repeat(name, added.num_rows))
        self._add_columns(added.schema)
        return write_table(
            self._project,
            self._connection,
            self.table,
            added,
            replace_where={_BATCH: name},
            location=self._location,
        )

    def read(
        self, since: datetime | None, until: datetime | None, of: str | None = None
    ) -> duckdb.DuckDBPyRelation | None:
        """The rows from ``since`` on and before ``until``; None if nothing was ever written.

        Args:
            of: only those of this request or row.

        Raises:
            StepError: the database can't be reached.
        """
        if not self.exists():
            return None
        with connected(self._project, self._connection, location=self._location) as backend:
            when = quoted_name(backend, self.moment)
            bounds = [
                f"{when} {sign} '{moment.isoformat(sep=' ')}'"
                for sign, moment in ((">=", since), ("<", until))
                if moment is not None
            ]
            bounds += [f"({of_request(of)})"] if of is not None else []
            where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
            rows = Table.from_rows(
                query(backend, f"SELECT * FROM {quoted_table(backend, self.table)}{where}")
            )
        return to_relation(rows.value.drop_columns([_BATCH]), reader())

    def exists(self) -> bool:
        """Whether anything was ever written.

        Raises:
            StepError: the database can't be reached.
        """
        if not database_exists(self._project, self._connection):
            return False
        with connected(self._project, self._connection, location=self._location) as backend:
            return self.table.rpartition(".")[2] in table_names(backend, self.table)

    def begins(self) -> datetime | None:
        """The moment of the oldest row; None without any.

        Raises:
            StepError: the database can't be reached.
        """
        if not self.exists():
            return None
        with connected(self._project, self._connection, location=self._location) as backend:
            when, table = quoted_name(backend, self.moment), quoted_table(backend, self.table)
            # a column of the table keeps its type, which an aggregate loses in SQLite
            oldest = f"SELECT {when} FROM {table} ORDER BY {when} LIMIT 1"
            rows = Table.from_rows(query(backend, oldest)).to("arrow")
        found: list[datetime] = rows[self.moment].to_pylist()
        return found[0].replace(tzinfo=found[0].tzinfo or timezone.utc) if found else None

    def tidy(self) -> None:
        """Nothing: a database does that itself."""

    def _add_columns(self, schema: Any) -> None:
        """Columns that a new version of the model has are added; rows before have nulls there."""
        if not self.exists():
            return
        import ibis

        with connected(
            self._project,
            self._connection,
            read_only=False,
            location=self._location,
            doing="add columns to",
        ) as backend:
            namespace, _, name = self.table.rpartition(".")
            there = backend.table(name, database=namespace or None).schema()
            kinds = backend.compiler.type_mapper  # type: ignore[attr-defined]
            run_statements(
                backend,
                *(
                    f"ALTER TABLE {quoted_table(backend, self.table)} ADD COLUMN "
                    f"{quoted_name(backend, column)} {kinds.to_string(kind)}"
                    for column, kind in ibis.schema(schema).items()
                    if column not in there
                ),
            )
