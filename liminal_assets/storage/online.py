"""The online store: the newest feature row of each entity, read by key in well under a millisecond.

SQLite in the state folder by default; by ``storage.online`` PostgreSQL, Redis or a plugin's
(:mod:`liminal_assets.storage.online_stores`). Rows are kept as JSON, apart for each specification
of a feature, so that one that gets another column or another meaning needs no migration.
"""

from __future__ import annotations

import json
import time
import uuid
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from datetime import time as day_time
from decimal import Decimal
from functools import lru_cache
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import identifier
from liminal_assets.storage.online_stores import open_store
from liminal_assets.storage.online_stores.base import (
    EntityStore,
    FeatureState,
    Place,
    Record,
    Refresh,
    key_text,
)
from liminal_assets.storage.sessions import session
from liminal_assets.storage.specifications import feature_specification
from liminal_assets.storage.tables import Table

__all__ = ["OnlineStore", "online_url"]

_BATCH = 2_000
"""Rows handed over at once."""
_FLOATS = ("FLOAT", "DOUBLE")


def online_url(project: Project) -> str:
    """Where a project's online store is; a relative file starts at the project."""
    said = project.spec.storage.online
    if not said:
        return f"sqlite:///{project.state / 'online.db'}"
    prefix, _, file = said.partition("sqlite:///")
    return said if prefix or not file else f"sqlite:///{project.root / file}"


class OnlineStore:
    """The newest rows of a project's features by entity.

    >>> OnlineStore(project).get("customer_features", [{"customer": 17}, 18])
    [{'customer': 17, 'orders': 3, ...}, None]
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.url = online_url(project)

    def write(
        self,
        feature: Feature,
        rows: Table,
        *,
        specification: str | None = None,
        source: str | None = None,
    ) -> int:
        """Takes over the newest row of each entity, unless a newer one is there already.

        Safe to repeat and to run at the same time for several partitions.

        Args:
            specification: what the rows were made by; default: what the project says now.
            source: the partition whose rows they are, empty for a feature without partitions. They
                replace all that came from it before; by default nothing is replaced but rows of the
                same entities that aren't newer.

        Returns:
            The number of entities in ``rows``.

        Raises:
            StepError: the store can't be reached or written.
        """
        said, now = feature.online, time.time()
        expire = said.expire_after if said else None
        kinds = _kinds(rows)
        refresh = Refresh(
            self._place(feature, specification or feature_specification(self.project, feature)),
            uuid.uuid4().hex,
            now,
            kinds,
            source,
            int((now - expire.total_seconds()) * 1e6)
            if expire and _timed(feature, kinds)
            else None,
            now - said.keep.total_seconds() if said else None,
        )
        with self._errors():
            return self._store.refresh(refresh, _records(feature, rows, kinds))

    def get(
        self,
        feature: Feature | str,
        keys: Sequence[Mapping[str, Any] | Any],
        *,
        specification: str | None = None,
    ) -> list[dict[str, Any] | None]:
        """The newest rows of some entities, in the order of ``keys``; None for unknown ones.

        Args:
            keys: mappings with the entity's columns, or bare values for an entity of one column.
            specification: whose rows; default: those that were refreshed last.

        Raises:
            StepError: the store can't be reached or holds nothing of the feature, or a key lacks
                a column of the entity.
        """
        block = self._feature(feature)
        with self._errors():
            state = self._store.state(self.project.name, block.name)
            wanted = specification or state.newest
            if wanted not in state.kinds:
                raise StepError(
                    f"the online store has no rows of {block.name}",
                    location=self.project.locate(block),
                    hint="say 'online: true' and materialise it",
                )
            texts = [key_text(_key_values(block, key)) for key in keys]
            found = self._store.read(self._place(block, str(wanted)), list(dict.fromkeys(texts)))
        kinds = state.kinds[str(wanted)]
        return [_decoded(found[text][1], kinds) if text in found else None for text in texts]

    def state(self, feature: Feature | str) -> FeatureState:
        """What the store holds of a feature.

        Raises:
            StepError: the store can't be reached.
        """
        with self._errors():
            return self._store.state(self.project.name, self._feature(feature).name)

    @property
    def _store(self) -> EntityStore:
        return _opened(self.url)

    def _place(self, feature: Feature, specification: str) -> Place:
        return Place(self.project.name, feature.name, specification)

    def _feature(self, feature: Feature | str) -> Feature:
        block = self.project.block(feature) if isinstance(feature, str) else feature
        if not isinstance(block, Feature):
            raise StepError(f"{feature} is not a feature")
        return block

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StepError as error:
            storage = self.project.spec.storage
            if storage.online:
                error.at(self.project.locate(storage, "online"))
            raise


@lru_cache(maxsize=8)
def _opened(url: str) -> EntityStore:
    return open_store(url)


def _records(feature: Feature, rows: Table, kinds: Mapping[str, str]) -> Iterator[list[Record]]:
    """The newest row of each entity, streamed."""
    entity = [f"entity_{number}" for number in range(len(feature.entity))]
    with session(private=rows.filesystem is not None) as connection:
        rows.relation(connection).create_view("liminal_rows")
        for batch in connection.sql(_newest(feature, kinds)).to_arrow_reader(_BATCH):
            columns = batch.to_pydict()
            keys = map(key_text, zip(*(columns[name] for name in entity), strict=True))
            yield list(map(Record, keys, columns["moment"], columns["row"]))


def _newest(feature: Feature, kinds: Mapping[str, str]) -> str:
    """A query of the newest row of each entity: entity_0, …, moment and row."""
    entity = ", ".join(map(identifier, feature.entity))
    newest, moment = "SELECT * FROM liminal_rows", "0"
    if feature.timestamp:
        moment = _moment(feature.timestamp, kinds[feature.timestamp])
        newest = (
            f"SELECT DISTINCT ON ({entity}) * FROM liminal_rows ORDER BY {moment} DESC NULLS LAST"
        )
    keys = ", ".join(f"{identifier(name)} AS entity_{i}" for i, name in enumerate(feature.entity))
    values = ", ".join(f"{identifier(name)} := {_encoded(name, k)}" for name, k in kinds.items())
    known = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in feature.entity)
    return (
        f"SELECT {keys}, coalesce({moment}, {_UNKNOWN_MOMENT}) AS moment, "
        f"to_json(struct_pack({values}))::VARCHAR AS row FROM ({newest}) WHERE {known}"
    )


_UNKNOWN_MOMENT = -(2**62)
"""That of a row without a timestamp: any other is newer."""


def _kinds(rows: Table) -> dict[str, str]:
    relation = rows.relation()
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _timed(feature: Feature, kinds: Mapping[str, str]) -> bool:
    """Whether moments are microseconds since 1970."""
    return kinds.get(feature.timestamp or "", "").startswith(("TIMESTAMP", "DATE"))


def _moment(column: str, kind: str) -> str:
    """SQL of a timestamp as a whole number that grows with time."""
    named = identifier(column)
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"CASE WHEN {_finite(named, kind)} THEN epoch_us({_in_utc(named, kind)}) END"
    return f"CAST({named} AS BIGINT)"


def _finite(named: str, kind: str) -> str:
    return f"isfinite({named})" if "ZONE" in kind else f"isfinite(CAST({named} AS TIMESTAMP))"


def _in_utc(named: str, kind: str) -> str:
    if "ZONE" in kind:
        return f"make_timestamp(epoch_us({named}))"
    return f"CAST({named} AS TIMESTAMP)"


def _encoded(column: str, kind: str) -> str:
    """SQL of a column as a value that JSON can hold, and that a request could hold in its place."""
    named = identifier(column)
    if kind in _FLOATS:
        # a float as the double that it is: its own digits are fewer
        exact = f"CAST({named} AS DOUBLE)"
        text = f"to_json(CAST({named} AS VARCHAR))"
        return f"CASE WHEN isfinite({named}) THEN to_json({exact}) ELSE {text} END"
    if kind.startswith("TIMESTAMP"):
        zone = "+00:00" if "ZONE" in kind else ""
        text = f"strftime({_in_utc(named, kind)}, '%Y-%m-%dT%H:%M:%S.%f{zone}')"
        return f"CASE WHEN {_finite(named, kind)} THEN {text} END"
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
    if kind.startswith("TIMESTAMP"):
        moment = datetime.fromisoformat(value)
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment
    if kind == "DATE":
        return date.fromisoformat(value)
    if kind == "TIME":
        # Python 3.10 reads fractions of three or six digits alone
        whole, _, part = value.partition(".")
        return day_time.fromisoformat(f"{whole}.{part:0<6}" if part else whole)
    if kind.startswith("DECIMAL"):
        return Decimal(value)
    return b64decode(value) if kind == "BLOB" else value


def _key_values(feature: Feature, key: Mapping[str, Any] | Any) -> list[Any]:
    if not isinstance(key, Mapping):
        if len(feature.entity) == 1:
            return [key]
        raise StepError(f"a key of {feature.name} has the columns {', '.join(feature.entity)}")
    missing = [name for name in feature.entity if name not in key]
    if missing:
        raise StepError(f"a key of {feature.name} lacks {', '.join(missing)}")
    return [key[name] for name in feature.entity]
