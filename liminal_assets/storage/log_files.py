"""A log as Parquet files, each of one day, small ones put together.

A file's name says which moments it covers, so that a window is read without opening the others:
``<data>/<project>/<asset>/<first>--<last>--<id>[.<replaced>…]/data.parquet``. A file that was put
together names those that it replaces. From the moment it is there readers leave them out; they are
removed later, when whoever had found them is done with them.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.storage.forms import identifier, to_relation
from liminal_assets.storage.ids import of_request
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import TableStore

if TYPE_CHECKING:
    import duckdb

__all__ = ["LogFiles"]

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_TOGETHER = 16
"""So many files of a day of about one size become one; a name has no room for more."""
_LARGE = 256 << 20
"""Bytes of a file that stays as it is."""
_GRACE_SECONDS = 300.0
"""The longest that a reader may need from finding files to having read them."""


@dataclass(frozen=True, order=True)
class _Piece:
    """One file of a log."""

    first: str
    last: str
    own: str
    replaced: tuple[str, ...] = ()

    @classmethod
    def of(cls, key: str) -> _Piece:
        first, last, ids = key.split("--")
        own, *replaced = ids.split(".")
        return cls(first, last, own, tuple(replaced))

    @property
    def key(self) -> str:
        return "--".join([self.first, self.last, ".".join([self.own, *self.replaced])])

    @property
    def day(self) -> str:
        return self.first[:8]


class LogFiles:
    """A log below a project's tables.

    Args:
        store: the tables.
        asset: the log's name there.
        moment: the column that says when a row was made.
    """

    def __init__(self, store: TableStore, asset: str, moment: str) -> None:
        self.asset = asset
        self.moment = moment
        self._store = store

    def append(self, rows: Any, *, batch: str | None = None) -> int:
        """Adds rows, a file per day, each seen by readers as a whole or not at all.

        Args:
            rows: in any form that a table may have, with an aware moment.
            batch: a name: rows that were added under it before are replaced.

        Returns:
            The number of rows added.

        Raises:
            StepError: the store can't be written.
        """
        added = 0
        there = self._pieces() if batch else []
        with session(private=self._store.remote) as connection:
            relation = to_relation(rows, connection)
            relation.create_view("log_rows")
            when = identifier(self.moment)
            days = connection.sql(
                f"SELECT epoch_us(min({when})), epoch_us(max({when})), count(*) FROM log_rows "
                f"GROUP BY date_trunc('day', {when}) ORDER BY 1"
            ).fetchall()
            for first, last, count in days:
                piece = _Piece(_stamp(first), _stamp(last), _own(batch, _stamp(first)[:8]))
                some = connection.sql(
                    f"FROM log_rows WHERE epoch_us({when}) BETWEEN {first} AND {last}"
                )
                self._publish(piece, some, connection)
                for old in there:
                    if old.own == piece.own and old.key != piece.key:
                        self._store.delete(self.asset, old.key)
                added += count
        return added

    def read(
        self, since: datetime | None, until: datetime | None, of: str | None = None
    ) -> duckdb.DuckDBPyRelation | None:
        """The rows from ``since`` on and before ``until``; None if nothing was ever written.

        Args:
            of: only those of this request or row.
        """
        pieces = _live(self._pieces())
        if not pieces:
            return None
        # the newest file gives an empty window its columns
        covering = [piece.key for piece in _covering(pieces, since, until)] or [pieces[-1].key]
        relation = self._store.read(self.asset, covering).relation()
        when = identifier(self.moment)
        if since is not None:
            relation = relation.filter(f"{when} >= TIMESTAMPTZ '{since.isoformat()}'")
        if until is not None:
            relation = relation.filter(f"{when} < TIMESTAMPTZ '{until.isoformat()}'")
        return relation.filter(of_request(of)) if of is not None else relation

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self._store.exists(self.asset)

    def begins(self) -> datetime | None:
        """The moment of the oldest row, as the files' names say it; None without any."""
        first = min((piece.first for piece in _live(self._pieces())), default=None)
        return datetime.strptime(first, _STAMP).replace(tzinfo=timezone.utc) if first else None

    def tidy(self) -> None:
        """Puts files of a day together where there are many small ones, and removes those that
        were put together some minutes ago. Only one process at a time may.

        Raises:
            StepError: the store can't be written.
        """
        pieces = self._pieces()
        self._remove_replaced(pieces)
        for _, of_day in groupby(_live(pieces), key=lambda piece: piece.day):
            by_level: dict[int, list[_Piece]] = {}
            for piece in of_day:
                by_level.setdefault(self._level(piece), []).append(piece)
            for some in by_level.values():
                for start in range(0, len(some) - _TOGETHER + 1, _TOGETHER):
                    self._put_together(some[start : start + _TOGETHER])

    def _put_together(self, pieces: Sequence[_Piece]) -> None:
        own = hashlib.sha256(".".join(piece.own for piece in pieces).encode()).hexdigest()[:10]
        together = _Piece(
            min(piece.first for piece in pieces),
            max(piece.last for piece in pieces),
            own,
            tuple(piece.own for piece in pieces),
        )
        with session(private=self._store.remote) as connection:
            found = self._store.read(self.asset, [piece.key for piece in pieces])
            rows = found.relation(connection).order(identifier(self.moment))
            # the same column may have two types in them: they stay apart
            with suppress(StepError):
                self._publish(together, rows, connection)

    def _remove_replaced(self, pieces: Sequence[_Piece]) -> None:
        there = {piece.own for piece in pieces}
        for piece in pieces:
            # one that replaced others itself is needed until they are gone
            left = [
                old for old in pieces if old.own in piece.replaced and not there & set(old.replaced)
            ]
            if left and self._store.age(self.asset, piece.key) >= _GRACE_SECONDS:
                for old in left:
                    self._store.delete(self.asset, old.key)

    def _level(self, piece: _Piece) -> int:
        """Files of one level are of about one size; those that are large enough have none to
        join."""
        size = max(self._store.size(self.asset, piece.key), 1)
        return -hash(piece.own) if size >= _LARGE else size.bit_length() // 4

    def _publish(self, piece: _Piece, rows: Any, connection: Any) -> None:
        with self._store.stage(self.asset, piece.key, rows, connection, measure=False) as staged:
            if not self._store.remote:
                _sync(Path(staged.files[0]))
            published = self._store.publish(staged)
            if not self._store.remote:
                # the name is as safe as the rows before the spool forgets them
                _sync(Path(published.files[0]).parent)
                _sync(Path(published.files[0]).parent.parent)

    def _pieces(self) -> list[_Piece]:
        return sorted(map(_Piece.of, self._store.partitions(self.asset)))


def _live(pieces: Sequence[_Piece]) -> list[_Piece]:
    """The files that no other replaces."""
    replaced = {own for piece in pieces for own in piece.replaced}
    return [piece for piece in pieces if piece.own not in replaced]


def _covering(
    pieces: Sequence[_Piece], since: datetime | None, until: datetime | None
) -> Iterator[_Piece]:
    """The files that may hold rows of a window."""
    for piece in pieces:
        if (since is None or piece.last >= since.strftime(_STAMP)) and (
            until is None or piece.first < until.strftime(_STAMP)
        ):
            yield piece


def _own(batch: str | None, day: str) -> str:
    if batch is None:
        return uuid.uuid4().hex[:10]
    return hashlib.sha256(f"{batch} {day}".encode()).hexdigest()[:10]


def _stamp(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.replace(microsecond=rest).strftime(_STAMP)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
