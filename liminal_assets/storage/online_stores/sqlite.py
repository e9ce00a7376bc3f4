"""The embedded online store: one file, read in microseconds by every process of the machine."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from liminal_assets.errors import StepError
from liminal_assets.storage.online_stores.base import (
    EntityStore,
    FeatureState,
    Place,
    Record,
    Refresh,
)
from liminal_assets.storage.online_stores.urls import shown_url, store_errors

__all__ = ["SqliteStore"]

_WRITE_SECONDS = 60.0
"""How long a refresh waits for another one."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS liminal_online_tables (
  id INTEGER PRIMARY KEY, project TEXT NOT NULL, feature TEXT NOT NULL,
  specification TEXT NOT NULL, kinds TEXT NOT NULL, refreshed_at REAL NOT NULL,
  UNIQUE (project, feature, specification));
CREATE TABLE IF NOT EXISTS liminal_online_rows (
  table_id INTEGER NOT NULL, entity TEXT NOT NULL, moment INTEGER NOT NULL, source TEXT,
  refresh TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (table_id, entity));
CREATE TABLE IF NOT EXISTS liminal_online_sources (
  project TEXT NOT NULL, feature TEXT NOT NULL, source TEXT NOT NULL, specification TEXT NOT NULL,
  PRIMARY KEY (project, feature, source));
"""
_TABLE = """
INSERT INTO liminal_online_tables (project, feature, specification, kinds, refreshed_at)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (project, feature, specification)
DO UPDATE SET kinds = excluded.kinds, refreshed_at = excluded.refreshed_at
RETURNING id
"""
_UPSERT = """
INSERT INTO liminal_online_rows (table_id, entity, moment, source, refresh, row)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (table_id, entity) DO UPDATE SET moment = excluded.moment, source = excluded.source,
  refresh = excluded.refresh, row = excluded.row
WHERE excluded.moment >= moment OR excluded.source = source
"""
_SOURCE = """
INSERT INTO liminal_online_sources VALUES (?, ?, ?, ?)
ON CONFLICT (project, feature, source) DO UPDATE SET specification = excluded.specification
"""
_READ = """
SELECT rows.entity, rows.moment, rows.row FROM liminal_online_tables AS tables
JOIN liminal_online_rows AS rows ON rows.table_id = tables.id
WHERE tables.project = ? AND tables.feature = ? AND tables.specification = ?
AND rows.entity IN (SELECT value FROM json_each(?))
"""
_FORGOTTEN = """
SELECT id FROM liminal_online_tables
WHERE project = ? AND feature = ? AND specification <> ? AND refreshed_at < ?
"""


class SqliteStore(EntityStore):
    """``sqlite:///file``, in write-ahead mode: readers don't wait for a refresh."""

    inline: ClassVar[bool] = True

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        prefix = "sqlite:///"
        if not url.startswith(prefix) or len(url) == len(prefix):
            raise StepError(
                f"the online store can't be {shown_url(url)!r}",
                hint="a file is sqlite:///folder/online.db",
            )
        self.path = Path(url[len(prefix) :].partition("?")[0])
        self._own = threading.local()

    def refresh(self, refresh: Refresh, batches: Iterable[Sequence[Record]]) -> int:
        written = 0
        with self._errors("write to"), closing(self._writer()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            table = self._table(connection, refresh)
            for batch in batches:
                connection.executemany(
                    _UPSERT,
                    [
                        (
                            table,
                            record.entity,
                            record.moment,
                            refresh.source,
                            refresh.id,
                            record.row,
                        )
                        for record in batch
                    ],
                )
                written += len(batch)
            _sweep(connection, table, refresh)
            connection.execute("COMMIT")
        return written

    def read(self, place: Place, entities: Sequence[str]) -> dict[str, tuple[int, str]]:
        found = self._query(_READ, (*place, json.dumps(entities)))
        return {entity: (moment, row) for entity, moment, row in found}

    def state(self, project: str, feature: str) -> FeatureState:
        tables = self._query(
            "SELECT specification, kinds, refreshed_at FROM liminal_online_tables "
            "WHERE project = ? AND feature = ? ORDER BY refreshed_at",
            (project, feature),
        )
        sources = self._query(
            "SELECT source, specification FROM liminal_online_sources "
            "WHERE project = ? AND feature = ?",
            (project, feature),
        )
        return FeatureState.of_rows(tables, sources)

    def close(self) -> None:
        connection, _ = getattr(self._own, "opened", (None, None))
        self._own.opened = (None, None)
        if connection is not None:
            connection.close()

    def _writer(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, _WRITE_SECONDS, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        return connection

    def _table(self, connection: sqlite3.Connection, refresh: Refresh) -> int:
        project, feature, specification = refresh.place
        said = (*refresh.place, json.dumps(dict(refresh.kinds)), refresh.at)
        ((table,),) = connection.execute(_TABLE, said).fetchall()
        if refresh.source is not None:
            connection.execute(_SOURCE, (project, feature, refresh.source, specification))
        return int(table)

    def _query(self, sql: str, said: Sequence[Any]) -> list[Any]:
        """The rows of a query; none while there is no store yet."""
        with self._errors("read"):
            connection = self._reader()
            try:
                return connection.execute(sql, said).fetchall() if connection else []
            except sqlite3.OperationalError as error:
                self.close()
                if "no such table" in str(error):
                    return []
                raise

    def _reader(self) -> sqlite3.Connection | None:
        """The thread's connection to the file that is there now; None if there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self.close()
            return None
        connection, file = getattr(self._own, "opened", (None, None))
        # someone may have removed the file, and a refresh made another
        if connection is None or file != (found.st_dev, found.st_ino):
            self.close()
            uri = f"file:{quote(str(self.path))}?mode=rw"
            connection = sqlite3.connect(
                uri, self.timeout, isolation_level=None, uri=True, check_same_thread=False
            )
            connection.execute("PRAGMA query_only = 1")
            self._own.opened = (connection, (found.st_dev, found.st_ino))
        return connection

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        transient = (sqlite3.OperationalError, OSError)
        return store_errors(self.url, doing, transient, (sqlite3.DatabaseError,))


def _sweep(connection: sqlite3.Connection, table: int, refresh: Refresh) -> None:
    """Removes what the refresh says isn't there any more."""
    delete = "DELETE FROM liminal_online_rows WHERE table_id = ?"
    if refresh.source is not None:
        gone = f"{delete} AND source = ? AND refresh <> ?"
        connection.execute(gone, (table, refresh.source, refresh.id))
    if refresh.expired_before is not None:
        connection.execute(f"{delete} AND moment < ?", (table, refresh.expired_before))
    if refresh.forget_before is not None:
        said = (*refresh.place, refresh.forget_before)
        for (old,) in connection.execute(_FORGOTTEN, said).fetchall():
            connection.execute(delete, (old,))
            connection.execute("DELETE FROM liminal_online_tables WHERE id = ?", (old,))
