"""The online store in PostgreSQL."""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing, suppress
from typing import Any

import psycopg2
import psycopg2.extras
from psycopg2 import errorcodes
from psycopg2.extensions import POLL_ERROR, POLL_OK, POLL_READ

from liminal_assets.storage.online_stores.base import (
    EntityStore,
    FeatureState,
    Place,
    Record,
    Refresh,
)
from liminal_assets.storage.online_stores.urls import store_errors

__all__ = ["PostgresqlStore"]

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS liminal_online_tables (
  id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project TEXT NOT NULL,
  feature TEXT NOT NULL, specification TEXT NOT NULL, kinds TEXT NOT NULL,
  refreshed_at DOUBLE PRECISION NOT NULL, UNIQUE (project, feature, specification));
CREATE TABLE IF NOT EXISTS liminal_online_rows (
  table_id INTEGER NOT NULL, entity TEXT NOT NULL, moment BIGINT NOT NULL, source TEXT,
  refresh TEXT NOT NULL, "row" TEXT NOT NULL, PRIMARY KEY (table_id, entity));
CREATE TABLE IF NOT EXISTS liminal_online_sources (
  project TEXT NOT NULL, feature TEXT NOT NULL, source TEXT NOT NULL, specification TEXT NOT NULL,
  PRIMARY KEY (project, feature, source));
"""
_TABLE = """
INSERT INTO liminal_online_tables (project, feature, specification, kinds, refreshed_at)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (project, feature, specification)
DO UPDATE SET kinds = excluded.kinds, refreshed_at = excluded.refreshed_at
RETURNING id
"""
_UPSERT = """
INSERT INTO liminal_online_rows AS old (table_id, entity, moment, source, refresh, "row")
VALUES %s
ON CONFLICT (table_id, entity) DO UPDATE SET moment = excluded.moment, source = excluded.source,
  refresh = excluded.refresh, "row" = excluded."row"
WHERE excluded.moment >= old.moment OR excluded.source = old.source
"""
_SOURCE = """
INSERT INTO liminal_online_sources VALUES (%s, %s, %s, %s)
ON CONFLICT (project, feature, source) DO UPDATE SET specification = excluded.specification
"""
_READ = """
SELECT stored.entity, stored.moment, stored."row" FROM liminal_online_tables AS tables
JOIN liminal_online_rows AS stored ON stored.table_id = tables.id
WHERE tables.project = %s AND tables.feature = %s AND tables.specification = %s
AND stored.entity = ANY(%s)
"""
_STATE = """
SELECT specification, kinds, refreshed_at FROM liminal_online_tables
WHERE project = %s AND feature = %s ORDER BY refreshed_at
"""
_FORGOTTEN = """
DELETE FROM liminal_online_tables
WHERE project = %s AND feature = %s AND specification <> %s AND refreshed_at < %s RETURNING id
"""
_PAGE = 1_000


class PostgresqlStore(EntityStore):
    """``postgresql://user:password@host/database``: libpq's URLs."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        # libpq doesn't know SQLAlchemy's names of drivers
        self._address = url.replace(url.partition(":")[0], "postgresql", 1)
        self._own = threading.local()

    def refresh(self, refresh: Refresh, batches: Iterable[Sequence[Record]]) -> int:
        written = 0
        project, feature, specification = refresh.place
        with self._errors("write to"), closing(self._writer()) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute(_LOCK, ("liminal_online",))
                cursor.execute(_SCHEMA)
            with connection, connection.cursor() as cursor:
                # two that write the same rows in another order would wait for each other
                cursor.execute(_LOCK, ("/".join(refresh.place),))
                kinds = json.dumps(dict(refresh.kinds))
                cursor.execute(_TABLE, (*refresh.place, kinds, refresh.at))
                (table,) = cursor.fetchone()  # type: ignore[misc]
                if refresh.source is not None:
                    cursor.execute(_SOURCE, (project, feature, refresh.source, specification))
                for batch in batches:
                    rows = [(table, r[0], r[1], refresh.source, refresh.id, r[2]) for r in batch]
                    psycopg2.extras.execute_values(cursor, _UPSERT, rows, page_size=_PAGE)
                    written += len(rows)
                _sweep(cursor, table, refresh)
        return written

    def read(self, place: Place, entities: Sequence[str]) -> dict[str, tuple[int, str]]:
        found = self._query("read", _READ, (*place, list(entities)))
        return {entity: (moment, row) for entity, moment, row in found}

    def state(self, project: str, feature: str) -> FeatureState:
        tables = self._query("read", _STATE, (project, feature))
        sources = self._query(
            "read",
            "SELECT source, specification FROM liminal_online_sources "
            "WHERE project = %s AND feature = %s",
            (project, feature),
        )
        return FeatureState.of_rows(tables, sources)

    def close(self) -> None:
        connection, self._own.connection = getattr(self._own, "connection", None), None
        if connection is not None:
            with suppress(psycopg2.Error):
                connection.close()

    def _writer(self) -> Any:
        return psycopg2.connect(
            self._address,
            connect_timeout=max(2, round(self.timeout)),
            application_name="liminal",
            keepalives_idle=30,
        )

    def _query(self, doing: str, sql: str, said: Sequence[Any]) -> list[Any]:
        """The rows of a query, within the timeout whatever the server does; none while there is no
        store yet."""
        deadline = time.monotonic() + self.timeout
        with self._errors(doing):
            known = getattr(self._own, "connection", None)
            try:
                return self._asked(known or self._connected(deadline), sql, said, deadline)
            except psycopg2.Error as error:
                self.close()
                if error.pgcode == errorcodes.UNDEFINED_TABLE:
                    return []
                lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
                if known is None or not lost or isinstance(error, _TooLateError):
                    raise
            # the server may have closed it while nothing was asked
            try:
                return self._asked(self._connected(deadline), sql, said, deadline)
            except psycopg2.Error:
                self.close()
                raise

    def _connected(self, deadline: float) -> Any:
        connection = psycopg2.connect(self._address, async_=1, application_name="liminal")
        self._own.connection = connection
        _finish(connection, deadline)
        return connection

    def _asked(self, connection: Any, sql: str, said: Sequence[Any], deadline: float) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, said)
            _finish(connection, deadline)
            rows: list[Any] = cursor.fetchall()
            return rows

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        transient = (psycopg2.OperationalError, psycopg2.InterfaceError)
        return store_errors(self.url, doing, transient, (psycopg2.Error,))


class _TooLateError(psycopg2.OperationalError):  # type: ignore[misc]
    """No answer in time."""


def _finish(connection: Any, deadline: float) -> None:
    """Waits until a connection has done what it was told.

    Raises:
        psycopg2.Error: it can't, or it takes too long.
    """
    while (state := connection.poll()) != POLL_OK:
        left = deadline - time.monotonic()
        if state == POLL_ERROR or left <= 0:
            raise _TooLateError("it has no answer")
        there = [connection.fileno()]
        reading = state == POLL_READ
        select.select(there if reading else [], [] if reading else there, [], left)


def _sweep(cursor: Any, table: int, refresh: Refresh) -> None:
    """Removes what the refresh says isn't there any more."""
    delete = "DELETE FROM liminal_online_rows WHERE table_id = %s"
    if refresh.source is not None:
        gone = f"{delete} AND source = %s AND refresh <> %s"
        cursor.execute(gone, (table, refresh.source, refresh.id))
    if refresh.expired_before is not None:
        cursor.execute(f"{delete} AND moment < %s", (table, refresh.expired_before))
    if refresh.forget_before is not None:
        cursor.execute(_FORGOTTEN, (*refresh.place, refresh.forget_before))
        for (old,) in cursor.fetchall():
            cursor.execute(delete, (old,))
