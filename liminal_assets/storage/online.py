"""The online store: the newest feature row of each entity, read by key in well under a millisecond.

SQLite in the state folder by default, PostgreSQL by ``storage.online``. One table holds the rows
of all features as JSON, so that a feature that gets another column needs no migration.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy import Table as SqlTable

__all__ = ["OnlineStore"]

_BATCH = 2_000
"""Rows written by one statement."""
_FLOATS = ("FLOAT", "DOUBLE")


class OnlineStore:
    """The newest rows of a project's features by entity.

    >>> OnlineStore(project).get("customer_features", [{"customer": 17}, 18])
    [{'customer': 17, 'orders': 3, ...}, None]
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.url = project.spec.storage.online or f"sqlite:///{project.state / 'online.db'}"

    def write(self, feature: Feature, rows: Table) -> int:
        """Takes over the newest row of each entity, unless a newer one is there already.

        Safe to repeat and to run at the same time for several partitions.

        Returns:
            The number of entities in ``rows``.

        Raises:
            StepError: the store can't be reached or written.
        """
        kinds = _kinds(rows)
        with self._errors("write to"):
            _tables(self._engine())
        with self._errors("write to"), self._engine().begin() as connection:
            self._write_kinds(connection, feature, kinds)
            written = 0
            records = self._records(feature, rows, kinds)
            while batch := list(islice(records, _BATCH)):
                connection.execute(_upsert(self._engine()), batch)
                written += len(batch)
        return written

    def get(
        self, feature: Feature | str, keys: Sequence[Mapping[str, Any] | Any]
    ) -> list[dict[str, Any] | None]:
        """The newest rows of some entities, in the order of ``keys``; None for unknown ones.

        Args:
            keys: mappings with the entity's columns, or bare values for an entity of one column.

        Raises:
            StepError: the store can't be reached or holds nothing of the feature, or a key lacks
                a column of the entity.
        """
        block = self.project.block(feature) if isinstance(feature, str) else feature
        if not isinstance(block, Feature):
            raise StepError(f"{feature} is not a feature")
        with self._errors("read"):
            rows, _ = _tables(self._engine())
        with self._errors("read"), self._engine().connect() as connection:
            kinds = self._read_kinds(connection, block)
            texts = [_key_text(_key_values(block, key), block, kinds) for key in keys]
            found: dict[str, str] = {}
            for start in range(0, len(texts), _BATCH):
                some = texts[start : start + _BATCH]
                query = rows.select().where(
                    rows.c.project == self.project.name,
                    rows.c.feature == block.name,
                    rows.c.entity.in_(some),
                )
                found |= {row.entity: row.row for row in connection.execute(query)}
        return [_decoded(found[text], kinds) if text in found else None for text in texts]

    def _records(
        self, feature: Feature, rows: Table, kinds: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """The newest row of each entity as records of the store's table, streamed."""
        with session(private=rows.filesystem is not None) as connection:
            rows.relation(connection).create_view("liminal_rows")
            newest = connection.sql(_newest(feature, kinds))
            fixed = {"project": self.project.name, "feature": feature.name}
            for batch in newest.to_arrow_reader(_BATCH):
                for record in batch.to_pylist():
                    yield {**fixed, **record}

    def _write_kinds(self, connection: Any, feature: Feature, kinds: Mapping[str, str]) -> None:
        _, columns = _tables(self._engine())
        statement = _insert(self._engine(), columns).values(
            project=self.project.name, feature=feature.name, kinds=json.dumps(kinds)
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["project", "feature"], set_={"kinds": statement.excluded.kinds}
            )
        )

    def _read_kinds(self, connection: Any, feature: Feature) -> dict[str, str]:
        _, columns = _tables(self._engine())
        query = columns.select().where(
            columns.c.project == self.project.name, columns.c.feature == feature.name
        )
        found = connection.execute(query).first()
        if found is None:
            raise StepError(
                f"the online store has no rows of {feature.name}",
                location=self.project.locate(feature),
                hint="say 'online: true' and materialise it",
            )
        kinds: dict[str, str] = json.loads(found.kinds)
        return kinds

    def _engine(self) -> Engine:
        if self.url.startswith("sqlite:///"):
            self.project.state.mkdir(parents=True, exist_ok=True)
        return _engine(self.url)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        try:
            with engine_errors(f"{doing} the online store"):
                yield
        except (SQLAlchemyError, ImportError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            storage = self.project.spec.storage
            full = "is full" in str(cause)
            raise StepError(
                f"cannot {doing} the online store: {cause}",
                location=self.project.locate(storage, "online") if storage.online else None,
                hint="free some space and run again"
                if full
                else "'storage: {online: …}' takes a sqlite:/// or postgresql:// URL",
                transient=isinstance(error, DBAPIError) and not full,
            ) from error


@lru_cache(maxsize=8)
def _engine(url: str) -> Engine:
    import sqlalchemy as sa

    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"timeout": 30})
    else:
        engine = sa.create_engine(url, pool_pre_ping=True)
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise StepError(
            f"the online store can't be {engine.dialect.name}",
            hint="'storage: {online: …}' takes a sqlite:/// or postgresql:// URL",
        )
    if engine.dialect.name == "sqlite":
        sa.event.listen(
            engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA journal_mode = WAL")
        )
    return engine


@lru_cache(maxsize=8)
def _tables(engine: Engine) -> tuple[SqlTable, SqlTable]:
    """The store's tables, made if they aren't there."""
    import sqlalchemy as sa

    metadata = sa.MetaData()
    rows = sa.Table(
        "liminal_online_rows",
        metadata,
        sa.Column("project", sa.String(120), primary_key=True),
        sa.Column("feature", sa.String(120), primary_key=True),
        sa.Column("entity", sa.Text, primary_key=True),
        sa.Column("moment", sa.BigInteger, nullable=False),
        sa.Column("row", sa.Text, nullable=False),
    )
    columns = sa.Table(
        "liminal_online_features",
        metadata,
        sa.Column("project", sa.String(120), primary_key=True),
        sa.Column("feature", sa.String(120), primary_key=True),
        sa.Column("kinds", sa.Text, nullable=False),
    )
    metadata.create_all(engine)
    return rows, columns


def _insert(engine: Engine, table: SqlTable) -> Any:
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


@lru_cache(maxsize=8)
def _upsert(engine: Engine) -> Any:
    """Writes a row unless a newer one of the entity is there."""
    rows, _ = _tables(engine)
    statement = _insert(engine, rows)
    return statement.on_conflict_do_update(
        index_elements=["project", "feature", "entity"],
        set_={"moment": statement.excluded.moment, "row": statement.excluded.row},
        where=statement.excluded.moment >= rows.c.moment,
    )


def _newest(feature: Feature, kinds: Mapping[str, str]) -> str:
    """A query of the newest row of each entity as the store's columns entity, moment and row."""
    entity = ", ".join(map(identifier, feature.entity))
    newest, moment = "SELECT * FROM liminal_rows", "0"
    if feature.timestamp:
        moment = _moment(feature.timestamp, kinds[feature.timestamp])
        newest = f"SELECT DISTINCT ON ({entity}) * FROM liminal_rows ORDER BY {moment} DESC"
    key = ", ".join(f"CAST({identifier(name)} AS VARCHAR)" for name in feature.entity)
    values = ", ".join(f"{identifier(name)} := {_encoded(name, k)}" for name, k in kinds.items())
    known = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in feature.entity)
    return (
        f"SELECT to_json([{key}])::VARCHAR AS entity, {moment} AS moment, "
        f"to_json(struct_pack({values}))::VARCHAR AS row FROM ({newest}) WHERE {known}"
    )


def _kinds(rows: Table) -> dict[str, str]:
    relation = rows.relation()
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _moment(column: str, kind: str) -> str:
    """SQL of a timestamp as a whole number that grows with time."""
    named = identifier(column)
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_us(CAST({named} AS TIMESTAMP))"
    return f"CAST({named} AS BIGINT)"


def _encoded(column: str, kind: str) -> str:
    """SQL of a column as a value that JSON can hold."""
    named = identifier(column)
    if kind in _FLOATS:
        text = f"to_json(CAST({named} AS VARCHAR))"
        return f"CASE WHEN isfinite({named}) THEN to_json({named}) ELSE {text} END"
    if kind == "BLOB":
        return f"base64({named})"
    if kind.startswith("DECIMAL"):
        return f"CAST({named} AS VARCHAR)"
    return named


def _decoded(text: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    return {name: _value(value, kinds.get(name, "")) for name, value in json.loads(text).items()}


def _value(value: Any, kind: str) -> Any:
    """A value from JSON as the Python value of its DuckDB type."""
    if value is None:
        return None
    if kind in _FLOATS:
        return float(value)
    if kind.startswith("TIMESTAMP WITH TIME ZONE"):
        return datetime.fromisoformat(_with_minutes(value)).astimezone(timezone.utc)
    if kind.startswith("TIMESTAMP"):
        return datetime.fromisoformat(value)
    if kind == "DATE":
        return date.fromisoformat(value)
    if kind == "TIME":
        return time.fromisoformat(value)
    if kind.startswith("DECIMAL"):
        return Decimal(value)
    return b64decode(value) if kind == "BLOB" else value


def _with_minutes(moment: str) -> str:
    """Python 3.10 reads an offset only with its minutes."""
    return f"{moment}:00" if moment[-3:-2] in "+-" else moment


def _key_values(feature: Feature, key: Mapping[str, Any] | Any) -> list[Any]:
    if not isinstance(key, Mapping):
        if len(feature.entity) == 1:
            return [key]
        raise StepError(f"a key of {feature.name} has the columns {', '.join(feature.entity)}")
    missing = [name for name in feature.entity if name not in key]
    if missing:
        raise StepError(f"a key of {feature.name} lacks {', '.join(missing)}")
    return [key[name] for name in feature.entity]


def _key_text(values: Sequence[Any], feature: Feature, kinds: Mapping[str, str]) -> str:
    """A key as DuckDB writes it: the JSON list of the values as text."""
    parts = [
        _text(value, kinds.get(name, ""))
        for name, value in zip(feature.entity, values, strict=True)
    ]
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)


def _text(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and "INT" in kind:
        return str(int(value))
    if isinstance(value, datetime):
        moment = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return moment.isoformat(sep=" ") + ("+00" if "ZONE" in kind else "")
    return str(value)
