"""The truth about rows of the past, as far as it was known at any moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Labels, Monitor
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table, TableStore

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NothingToReplayError", "Truth", "epoch", "micros_of"]

_KNOWN = "liminal_known"
"""When a label became known, in microseconds since 1970."""
_ALWAYS, _NEVER = 0, 2**62
_LABELS = "labels"
_IN_MEMORY = 64


class NothingToReplayError(StepError):
    """What a replay needs isn't there: windows of the past, or the truth about them."""


class Truth:
    """The labels of a monitor's windows.

    Args:
        project: only read from.
        scratch: where each window's labels are put aside, so that a look reads few of them.
        rows: the rows of a window by its place.
        windows: how many windows there are.
        moment: the column that says when a row was.

    Raises:
        NothingToReplayError: the monitor has no labels, or there are none.
    """

    def __init__(
        self,
        project: Project,
        monitor: Monitor,
        scratch: TableStore,
        rows: Callable[[int], Table],
        windows: int,
        moment: str | None,
    ) -> None:
        self._project, self._monitor, self._moment = project, monitor, moment
        self._store, self._scratch = TableStore(project), scratch
        self._rows, self._windows = rows, windows
        self.spec = self._labels()
        self.known = lru_cache(maxsize=_IN_MEMORY)(self._known)

    def _labels(self) -> Labels:
        labels = self._monitor.labels
        if labels is None:
            raise NothingToReplayError(
                f"{self._monitor.name} has no labels, so nothing says what a retraining gains",
                location=self._project.locate(self._monitor),
                hint="give it 'performance: {metric: …, at_least: …, labels: {from, key, column}}'",
            )
        if labels.from_feedback:
            raise NothingToReplayError(
                f"the labels of {self._monitor.name} are feedback, which belongs to what was "
                "answered: nothing says what other models' answers would have been worth",
                location=self._at("from"),
                hint="name a dataset with the truth: 'labels: {from, key, column, known_at}'",
            )
        if not self._store.exists(labels.from_):
            raise NothingToReplayError(
                f"there are no labels: {labels.from_} has no rows yet",
                location=self._at("from"),
                hint=f"materialise {labels.from_} first",
            )
        if labels.delay and self._moment is None:
            raise NothingToReplayError(
                "'delay' counts from a row's moment, and the feature has no timestamp",
                location=self._at("delay"),
                hint="set the feature's timestamp, or name the column 'known_at'",
            )
        return labels

    def _at(self, key: str) -> Location:
        return self._project.locate(self._monitor, "performance", "labels", key)

    @property
    def waits(self) -> bool:
        """Whether a label may become known later than its row."""
        return bool(self.spec.known_at or self.spec.delay)

    def labels(self, place: int, at: datetime | None = None) -> Table:
        """The labels of a window's rows that were known at a moment; all without one."""
        found = self._kept.read(_LABELS, [str(place)])
        if at is None or not self.waits:
            return found
        known = found.relation().filter(f"{_KNOWN} <= {micros_of(at)}")
        return Table(_LABELS, value=known.to_arrow_table())

    def count(self, place: int, at: datetime) -> int:
        """How many of a window's rows had a label at a moment."""
        import numpy as np

        return int(np.searchsorted(self.known(place), micros_of(at), side="right"))

    def _known(self, place: int) -> np.ndarray:
        """When the truth of a window's rows became known, in order: microseconds since 1970."""
        import numpy as np

        keys = _names(self.spec.key)
        with session() as connection, engine_errors("read the labels"):
            self._rows(place).relation(connection).create_view("scored")
            self.labels(place).relation(connection).create_view("known")
            found = connection.sql(
                f"SELECT k.at FROM scored JOIN (SELECT {keys}, min({_KNOWN}) AS at FROM known "
                f"WHERE {identifier(self.spec.column)} IS NOT NULL GROUP BY ALL) k USING ({keys})"
            ).fetchnumpy()
        return np.sort(np.asarray(found["at"], dtype=np.int64))

    @cached_property
    def _kept(self) -> TableStore:
        """Where the labels of each window are."""
        spec = self.spec
        truths = self._store.read(spec.from_)
        for key, columns in self._asked().items():
            self._need(truths, columns, key)
        for place in range(self._windows):
            rows = self._rows(place)
            self._need(rows, spec.key, "key")
            remote = truths.filesystem or rows.filesystem
            with session(private=remote is not None) as connection, engine_errors("read labels"):
                rows.relation(connection).create_view("scored")
                truths.relation(connection).create_view("truths")
                found = connection.sql(
                    f"SELECT {_names(spec.key)}, {identifier(spec.column)}, "
                    f"{self._when('r.at')} AS {_KNOWN} "
                    "FROM (SELECT *, row_number() OVER () AS liminal_place FROM truths) "
                    f"JOIN ({self._newest('scored')}) r USING ({_names(spec.key)}) "
                    # of several labels of a key the last counts
                    "ORDER BY liminal_place"
                )
                self._scratch.write(_LABELS, str(place), found.to_arrow_table())
        return self._scratch

    def check(self) -> None:
        """Checks that some window has labels.

        Raises:
            NothingToReplayError: none has.
        """
        if not any(self.known(place).size for place in range(self._windows)):
            raise NothingToReplayError(
                f"none of the rows to replay has a label in {self.spec.from_}",
                location=self._at("key"),
                hint="does 'key' name the columns that both have?",
            )

    def _asked(self) -> dict[str, Sequence[str]]:
        spec = self.spec
        known = [spec.known_at] if spec.known_at else []
        return {"key": spec.key, "column": [spec.column], "known_at": known}

    def _newest(self, rows: str) -> str:
        """SQL of each key's newest moment among some rows."""
        moment = f"max({epoch(self._moment)})" if self._moment else f"{_ALWAYS}"
        return f"SELECT {_names(self.spec.key)}, {moment} AS at FROM {rows} GROUP BY ALL"

    def _when(self, moment: str) -> str:
        """SQL of the moment at which a label became known; of none at all that never came."""
        if self.spec.known_at:
            return f"coalesce({epoch(self.spec.known_at)}, {_NEVER})"
        if self.spec.delay:
            return f"{moment} + {self.spec.delay // timedelta(microseconds=1)}"
        return f"{_ALWAYS}::BIGINT"

    def as_known(self, rows: Table, target: str, at: datetime) -> Table:
        """Rows to learn from without the truth that wasn't known yet.

        Args:
            target: the column with the truth.
        """
        if not self.waits:
            return rows
        spec, column = self.spec, identifier(target)
        self._need(rows, spec.key if spec.known_at else [], "key")
        truths = self._store.read(spec.from_)
        remote = truths.filesystem or rows.filesystem
        with session(private=remote is not None) as connection, engine_errors("read labels"):
            rows.relation(connection).create_view("learned")
            truths.relation(connection).create_view("truths")
            moments = self._newest("learned")
            if spec.known_at:
                moments = (
                    f"SELECT {_names(spec.key)}, min({self._when('')}) AS at FROM truths "
                    f"WHERE {identifier(spec.column)} IS NOT NULL GROUP BY ALL"
                )
            known = f"{'k.at' if spec.known_at else self._when('k.at')} <= {micros_of(at)}"
            found = connection.sql(
                f"SELECT l.* REPLACE (CASE WHEN {known} THEN l.{column} END AS {column}) "
                f"FROM learned l LEFT JOIN ({moments}) k USING ({_names(spec.key)})"
            )
            return Table(rows.name, value=found.to_arrow_table())

    def _need(self, rows: Table, columns: Sequence[str], key: str) -> None:
        there = rows.schema.names
        for column in columns:
            if column not in there:
                raise StepError(
                    f"there is no column {column!r} in {rows.name}",
                    location=self._at(key),
                    hint=did_you_mean(column, there),
                )


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(identifier, columns))


def epoch(column: str) -> str:
    """SQL of a moment's microseconds since 1970."""
    return f"epoch_us({identifier(column)}::TIMESTAMPTZ)"


def micros_of(moment: datetime) -> int:
    """A moment's microseconds since 1970."""
    return int(moment.timestamp() * 1_000_000)
