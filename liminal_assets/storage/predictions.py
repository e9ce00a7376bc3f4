"""The prediction log: every answered row of a server, one Parquet file per flush.

A file's name says which moments it covers, so that a window is read without opening the others:
``<data>/<project>/<deployment>__predictions/<first>--<last>--<random>/data.parquet``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import to_relation
from liminal_assets.storage.sessions import reader
from liminal_assets.storage.tables import Table, TableStore

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PredictionLog"]

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_MOMENT = "requested_at"


class PredictionLog:
    """What a deployment's server answered.

    Rows hold the request's entity, timestamp and input columns, ``prediction``, ``probability``
    (binary) or ``probability_<class>``, ``model_version``, ``scored_at``, ``prediction_id`` and
    ``requested_at``.
    """

    def __init__(self, project: Project, deployment: str) -> None:
        self.asset = f"{deployment}__predictions"
        self.deployment = deployment
        self._store = TableStore(project)

    def append(self, rows: Any) -> int:
        """Adds rows as one file, seen by readers as a whole or not at all.

        Args:
            rows: in any form that a table may have, with an aware ``requested_at``.

        Returns:
            The number of rows added.

        Raises:
            StepError: the store can't be written.
        """
        session = reader()
        relation = to_relation(rows, session).create_view("rows")
        ((first, last, count),) = relation.aggregate(
            f"epoch_us(min({_MOMENT})), epoch_us(max({_MOMENT})), count(*)"
        ).fetchall()
        if not count:
            return 0
        key = "--".join([_stamp(first), _stamp(last), uuid.uuid4().hex[:12]])
        with self._store.stage(self.asset, key, relation, session) as staged:
            self._store.publish(staged)
        return int(count)

    def read(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The rows requested from ``since`` on and before ``until``, oldest first.

        Args:
            since: default: the beginning. A moment without a time zone is in UTC.
            until: default: now.

        Returns:
            A table, empty if nothing was asked in that time; of a log that was never written with
            the columns alone that every log has.
        """
        keys = self._store.partitions(self.asset)
        if not keys:
            return Table(self.asset, value=_nothing())
        since, until = _utc(since), _utc(until)
        # the newest file gives an empty window its columns
        covering = list(_covering(keys, since, until)) or keys[-1:]
        relation = self._store.read(self.asset, covering).relation()
        if since is not None:
            relation = relation.filter(f"{_MOMENT} >= TIMESTAMPTZ '{since.isoformat()}'")
        if until is not None:
            relation = relation.filter(f"{_MOMENT} < TIMESTAMPTZ '{until.isoformat()}'")
        return Table(self.asset, value=relation.order(f"{_MOMENT}, prediction_id"))

    def exists(self) -> bool:
        """Whether anything was ever logged."""
        return self._store.exists(self.asset)


def _nothing() -> pa.Table:
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    columns = {
        "model_version": pa.string(),
        "prediction_id": pa.string(),
        "requested_at": moment,
        "scored_at": moment,
    }
    return pa.schema(list(columns.items())).empty_table()


def _covering(keys: list[str], since: datetime | None, until: datetime | None) -> Iterator[str]:
    """The files that may hold rows of a window."""
    for key in keys:
        first, last, _ = key.split("--")
        if (since is None or last >= since.strftime(_STAMP)) and (
            until is None or first < until.strftime(_STAMP)
        ):
            yield key


def _stamp(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.replace(microsecond=rest).strftime(_STAMP)


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return (
        moment.replace(tzinfo=timezone.utc)
        if moment.tzinfo is None
        else moment.astimezone(timezone.utc)
    )
