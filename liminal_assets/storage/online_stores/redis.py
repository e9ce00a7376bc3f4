"""The online store in Redis: a hash of rows for each specification of a feature.

A row is one field of the hash, so a reader sees it whole. What decides between an old and a new row
runs in the server (Lua), in small pieces that don't hold others up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from liminal_assets.storage.online_stores.base import (
    EntityStore,
    FeatureState,
    Place,
    Record,
    Refresh,
)
from liminal_assets.storage.online_stores.urls import store_errors

__all__ = ["RedisStore"]

_MOMENT, _ID = 20, 12
_HEAD = _MOMENT + 2 * _ID
"""A row begins with its moment, its source and its refresh, each in so many characters."""
_NOWHERE = "-" * _ID
_CHUNK = 500

_WRITE = f"""
local rows, source = KEYS[1], ARGV[1]
for i = 2, #ARGV, 2 do
  local entity, new = ARGV[i], ARGV[i + 1]
  local old = redis.call('HGET', rows, entity)
  local same = old and source ~= '{_NOWHERE}' and string.sub(old, {_MOMENT + 1}, {_MOMENT + _ID}) == source
  if not old or same or string.sub(new, 1, {_MOMENT}) >= string.sub(old, 1, {_MOMENT}) then
    redis.call('HSET', rows, entity, new)
  end
end
"""  # noqa: E501
_SWEEP = f"""
local rows, source, refresh, expired = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('HSCAN', rows, ARGV[1], 'COUNT', {_CHUNK})
local pairs = found[2]
for i = 1, #pairs, 2 do
  local row = pairs[i + 1]
  local gone = source ~= '{_NOWHERE}' and string.sub(row, {_MOMENT + 1}, {_MOMENT + _ID}) == source
    and string.sub(row, {_MOMENT + _ID + 1}, {_HEAD}) ~= refresh
  if gone or string.sub(row, 1, {_MOMENT}) < expired then
    redis.call('HDEL', rows, pairs[i])
  end
end
return found[1]
"""


class RedisStore(EntityStore):
    """``redis://user:password@host:port/number``, ``rediss://…`` for TLS, of redis-py."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        with self._errors("use"):
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # one more try, for a connection that was closed meanwhile; none for one too slow
                retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
                decode_responses=True,
            )
            self._write = self._client.register_script(_WRITE)
            self._sweep = self._client.register_script(_SWEEP)

    def refresh(self, refresh: Refresh, batches: Iterable[Sequence[Record]]) -> int:
        written = 0
        tables, sources, rows = _keys(refresh.place)
        source = _NOWHERE if refresh.source is None else _id(refresh.source)
        said = {"kinds": dict(refresh.kinds), "refreshed_at": refresh.at}
        with self._errors("write to"):
            self._client.hset(tables, refresh.place.specification, json.dumps(said))
            if refresh.source is not None:
                self._client.hset(sources, refresh.source, refresh.place.specification)
            for batch in batches:
                for start in range(0, len(batch), _CHUNK):
                    some = batch[start : start + _CHUNK]
                    values = [text for record in some for text in _field(record, source, refresh)]
                    self._write(keys=[rows], args=[source, *values])
                written += len(batch)
            self._remove(rows, source, refresh)
        return written

    def read(self, place: Place, entities: Sequence[str]) -> dict[str, tuple[int, str]]:
        with self._errors("read"):
            found: Any = self._client.hmget(_keys(place)[2], list(entities))
        return {
            entity: (int(row[:_MOMENT]) - _OFFSET, row[_HEAD:])
            for entity, row in zip(entities, found, strict=True)
            if row is not None
        }

    def state(self, project: str, feature: str) -> FeatureState:
        tables, sources, _ = _keys(Place(project, feature, ""))
        with self._errors("read"):
            found: Any = self._client.hgetall(tables)
            known: Any = self._client.hgetall(sources)
        said = {name: json.loads(text) for name, text in found.items()}
        order = sorted(said, key=lambda name: said[name]["refreshed_at"])
        return FeatureState(
            {name: said[name]["kinds"] for name in order},
            {name: said[name]["refreshed_at"] for name in order},
            dict(known),
        )

    def close(self) -> None:
        self._client.close()

    def _remove(self, rows: str, source: str, refresh: Refresh) -> None:
        """Removes what the refresh says isn't there any more."""
        expired = "" if refresh.expired_before is None else _moment(refresh.expired_before)
        if expired or source != _NOWHERE:
            cursor: Any = "0"
            while True:
                cursor = self._sweep(keys=[rows], args=[cursor, source, _id(refresh.id), expired])
                if str(cursor) == "0":
                    break
        if refresh.forget_before is None:
            return
        project, feature, current = refresh.place
        known: Mapping[str, float] = self.state(project, feature).refreshed_at
        for name, at in known.items():
            if name != current and at < refresh.forget_before:
                tables, _, old = _keys(Place(project, feature, name))
                self._client.unlink(old)
                self._client.hdel(tables, name)

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        transient = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)
        return store_errors(self.url, doing, (*transient, OSError), (redis.RedisError, ValueError))


_OFFSET = 2**63


def _moment(value: int) -> str:
    """A whole number of 64 bits as a text that sorts as it does: Lua's numbers are doubles."""
    return f"{value + _OFFSET:0{_MOMENT}d}"


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_ID]


def _field(record: Record, source: str, refresh: Refresh) -> tuple[str, str]:
    head = f"{_moment(record.moment)}{source}{_id(refresh.id)}"
    return record.entity, head + record.row


def _keys(place: Place) -> tuple[str, str, str]:
    """The keys of a feature's specifications, its sources and the rows of one specification; in
    braces is what keeps them on one node of a cluster."""
    base = f"liminal:{{{place.project}/{place.feature}}}"
    return f"{base}:tables", f"{base}:sources", f"{base}:rows:{place.specification}"
