"""What an online store is to both sides: a step that refreshes it, and a server that reads it.

A worker of a server imports this and one store: no pydantic, SQLAlchemy or DuckDB.
"""

from __future__ import annotations

import base64
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

__all__ = ["EntityStore", "FeatureState", "Place", "Record", "Refresh", "key_text"]


class Place(NamedTuple):
    """Where the rows of a feature are: those of another specification are elsewhere, so that no
    reader takes values of one definition for those of another."""

    project: str
    feature: str
    specification: str


class Record(NamedTuple):
    """The row of an entity.

    Attributes:
        entity: its key, by :func:`key_text`.
        moment: which of two rows is newer: microseconds since 1970, or any whole number.
        row: its columns as a JSON object.
    """

    entity: str
    moment: int
    row: str


@dataclass(frozen=True)
class Refresh:
    """Rows that a feature has now.

    Attributes:
        place: where they go.
        id: of this refresh.
        at: when it began, in seconds since 1970.
        kinds: DuckDB's type of each column.
        source: the partition whose rows they are, empty for a feature without partitions. They
            replace what came from it before: rows that aren't among them any more are removed.
            None: nothing is known of where they come from, and nothing is removed.
        expired_before: rows with an earlier moment are removed.
        forget_before: earlier specifications are removed that were refreshed last before that, in
            seconds since 1970.
    """

    place: Place
    id: str
    at: float
    kinds: Mapping[str, str]
    source: str | None = None
    expired_before: int | None = None
    forget_before: float | None = None


@dataclass(frozen=True)
class FeatureState:
    """What a store holds of a feature.

    Attributes:
        kinds: DuckDB's types of the columns, by specification; the one refreshed last comes last.
        refreshed_at: when each was refreshed last, in seconds since 1970.
        sources: the specification of each partition's rows.
    """

    kinds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refreshed_at: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_rows(
        cls, tables: Iterable[tuple[str, str, float]], sources: Iterable[tuple[str, str]]
    ) -> FeatureState:
        """The state as a database has it.

        Args:
            tables: specification, types in JSON and moment, the one refreshed last at the end.
            sources: partition and specification.
        """
        found = list(tables)
        return cls(
            {name: json.loads(kinds) for name, kinds, _ in found},
            {name: at for name, _, at in found},
            dict(sources),
        )

    @property
    def newest(self) -> str | None:
        """The specification that was refreshed last."""
        return list(self.kinds)[-1] if self.kinds else None


class EntityStore(ABC):
    """One online store: an entry point of the group ``liminal_assets.online_stores``, named after
    the scheme of its URLs.

    Any thread may use it. Whatever goes wrong is a :class:`~liminal_assets.errors.StepError`
    without secrets, transient where trying again may help.

    Args:
        url: where it is.
        timeout: the longest that one read or one connection may take, in seconds.
    """

    inline: ClassVar[bool] = False
    """Whether reads are so fast that an event loop may wait for them."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.timeout = timeout

    @abstractmethod
    def refresh(self, refresh: Refresh, batches: Iterable[Sequence[Record]]) -> int:
        """Takes over each row unless a newer one of the entity is there from another source; a
        reader sees a row as it was before or as it is after, never a mix. Safe to repeat, and to
        run at the same time for several sources; what a crash cuts off is done by the next one.

        Returns:
            The number of records.

        Raises:
            StepError: the store can't be reached or written.
        """

    @abstractmethod
    def read(self, place: Place, entities: Sequence[str]) -> dict[str, tuple[int, str]]:
        """The moment and the row of those entities that are there, in one round trip.

        Raises:
            StepError: the store can't be reached.
        """

    @abstractmethod
    def state(self, project: str, feature: str) -> FeatureState:
        """What is there of a feature.

        Raises:
            StepError: the store can't be reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of the connections of this thread, or of all."""


def key_text(values: Sequence[Any]) -> str:
    """The key of an entity: the values of its columns as one text, in ASCII.

    A value is the same text however it is written: 5 and 5.0, a day and its midnight, a moment with
    an offset and the same in UTC.
    """
    return json.dumps([_text(value) for value in values], separators=(",", ":"))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, datetime):
        moment = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
        return moment.isoformat()
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
