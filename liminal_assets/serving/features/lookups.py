"""Features at request time: what a row leaves out comes from the online store, by its entity. The
store is asked once for all rows of a request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.errors import Problem, RequestError
from liminal_assets.serving.features.completion import (
    Completed,
    FeatureSource,
    absent_columns,
    decode_row,
    entity_keys,
    filled,
    never_looked_up,
    old_row,
    unknown_entity,
)
from liminal_assets.serving.guards.flight import FLIGHT
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.serving.protocols.records import Rows
from liminal_assets.serving.validation import validated
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.online_stores import open_store
from liminal_assets.storage.online_stores.urls import shown_url

if TYPE_CHECKING:
    from liminal_assets.serving.control.live import LiveModel
    from liminal_assets.serving.model import ServedModel

__all__ = ["LookupConfig", "Lookups", "NeededError"]

_LOOK_SECONDS = 1.0
"""How often a server looks whether the store can be read and has what its versions need."""
_THREADS = 16
Found = Mapping[str, tuple[int, str]]
"""Moment and row of each entity that is known, by its key."""

_log = logging.getLogger("liminal_assets.serving")


class LookupConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a worker looks features up.

    Attributes:
        url: the online store.
        missing: ``refuse`` or ``null``, for entities that aren't there.
        max_age_seconds: how old a row may be.
        stale: ``refuse`` or ``answer``, for older ones.
        timeout_seconds: the longest that the store may take.
        required: whether the server is ready only with the store.
    """

    url: str
    missing: str = "refuse"
    max_age_seconds: float | None = None
    stale: str = "refuse"
    timeout_seconds: float = 0.25
    required: bool = True


class NeededError(Exception):
    """A store that takes a while is to be asked before these rows can be answered.

    Attributes:
        lookups: what asks.
        source: where.
        keys: of which entities.
    """

    def __init__(self, lookups: Lookups, source: FeatureSource, keys: Sequence[str]) -> None:
        super().__init__("features are to be looked up first")
        self.lookups = lookups
        self.source = source
        self.keys = keys


class Lookups:
    """Looks features up for one worker.

    Args:
        config: where, and what to do without.
        metrics: what counts.
    """

    def __init__(self, config: LookupConfig, metrics: Metrics | None = None) -> None:
        self.config = config
        self.metrics = metrics or Metrics()
        self._store = open_store(config.url, config.timeout_seconds)
        self._pool: ThreadPoolExecutor | None = None
        self._problems: dict[FeatureSource, str | None] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, live: LiveModel) -> None:
        """Begins to look whether the store has what the versions need that answer."""
        self._look(live)
        self._thread = threading.Thread(
            target=self._watch, args=[live], name="online-store", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends that."""
        self._stop.set()
        if self._pool is not None:
            # a thread that waits for the store isn't waited for
            self._pool.shutdown(wait=False, cancel_futures=True)

    def problem(self, model: ServedModel | None) -> str | None:
        """Why the features of a version can't be looked up now; None if they can, or nobody has
        tried yet."""
        source = model.features if model else None
        return self._problems.get(source) if source else None

    def told(self, model: ServedModel) -> Mapping[str, Any] | None:
        """What ``/info`` says of the features of a version."""
        source = model.features
        if source is None:
            return None
        return {
            "feature": source.feature,
            "specification": source.specification,
            "entity": source.entity,
            "store": shown_url(self.config.url),
            "problem": self._problems.get(source) or self._never(source, model.version),
        }

    def columns(
        self, source: FeatureSource, signature: Signature, rows: Rows
    ) -> tuple[dict[str, list[Any]], tuple[str, ...] | None]:
        """The checked columns of rows that may leave some out, and the names of those that the
        request held, if others were looked up; errors as of :meth:`complete`."""
        completed = self.complete(source, signature, rows)
        try:
            return validated(completed.rows, signature, completed.about), completed.sent
        except RequestError as error:
            raise completed.explain(error, source) from None

    def again(
        self, source: FeatureSource, signature: Signature, rows: Rows
    ) -> dict[str, list[Any]]:
        """The columns for another version, in a thread that may wait for the store."""
        return self.columns(source, signature, rows)[0]

    def complete(self, source: FeatureSource, signature: Signature, rows: Rows) -> Completed:
        """The rows with what they left out.

        Raises:
            NeededError: the store is to be asked first, by :meth:`fetch`.
            RequestError: 422 for entities that are wrong, unknown or too old, or to a version that
                doesn't say what it learned from; 503 while the store can't be read, or has no rows
                by the version's specification.
        """
        absent = absent_columns(signature, rows)
        if not absent:
            return Completed(rows)
        keys = entity_keys(source, signature, rows, sorted(set().union(*absent.values())))
        if source.specification is None:
            if keys and self.config.missing == "refuse":
                # nulls instead would be a wrong answer that nobody notices
                problems = [never_looked_up(source, signature, rows, row) for row in keys]
                raise RequestError(422, "no_features", problems[0].message, problems)
            return Completed(rows, about=frozenset(keys))
        lacking = frozenset().union(*absent.values()) - keys.keys()
        if not keys:
            return Completed(rows, lacking=lacking)
        found = self._found(source, list(dict.fromkeys(keys.values())))
        known = self._usable(source, signature, rows, keys, found)
        made = filled(source, signature, rows, absent, known, lacking)
        return replace(made, about=frozenset(keys))

    def read(self, source: FeatureSource, keys: Sequence[str]) -> Found:
        """Asks the store, in this thread.

        Raises:
            RequestError: 503.
        """
        try:
            return self._store.read(source.place, keys)
        except StepError as error:
            raise _unavailable(error.message) from error

    async def fetch(self, needed: NeededError) -> Found:
        """Asks the store, in a thread.

        Raises:
            RequestError: 503 if it can't be read, or takes too long.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="online-store")
        loop, began = asyncio.get_running_loop(), time.time()
        asked = loop.run_in_executor(self._pool, self._timed, needed.source, needed.keys)
        try:
            # a store that is connected to first may take its time twice
            found = await asyncio.wait_for(asked, 2 * self.config.timeout_seconds)
        except asyncio.TimeoutError:
            self.metrics.features(needed.source.feature).failed()
            raise _unavailable("the online store has no answer") from None
        if (flight := FLIGHT.get()) is not None:
            flight.looked_up = (began, time.time())
        return found

    def _found(self, source: FeatureSource, keys: Sequence[str]) -> Found:
        flight = FLIGHT.get()
        if flight is not None and (known := flight.found.get(source)) is not None:
            return known
        if not self._store.inline and flight is not None:
            raise NeededError(self, source, keys)
        began = time.time()
        found = self._timed(source, keys)
        if flight is not None:
            flight.looked_up = (began, time.time())
        return found

    def _timed(self, source: FeatureSource, keys: Sequence[str]) -> Found:
        metrics = self.metrics.features(source.feature)
        began = time.perf_counter()
        try:
            found = self.read(source, keys)
        except RequestError:
            metrics.failed()
            raise
        metrics.looked_up(time.perf_counter() - began)
        return found

    def _usable(
        self,
        source: FeatureSource,
        signature: Signature,
        rows: Rows,
        keys: Mapping[int, str],
        found: Found,
    ) -> dict[int, dict[str, Any]]:
        """The stored row of each row that has one; whatever mustn't be answered is refused."""
        refused: list[Problem] = []
        decoded = {key: decode_row(row) for key, (_, row) in found.items()}
        known, unknown, stale = {}, 0, 0
        for row, key in keys.items():
            if key not in found:
                unknown += 1
                refused.append(unknown_entity(source, signature, rows, row))
            else:
                known[row] = decoded[key]
                if age := self._too_old(found[key][0]):
                    stale += 1
                    refused.append(old_row(source, rows, row, age))
        self.metrics.features(source.feature).rows(len(keys) - unknown - stale, unknown, stale)
        if unknown and (problem := self._problems.get(source)):
            raise _unavailable(problem)
        if self.config.missing == "null":
            refused = [one for one in refused if one.row in known]
        if self.config.stale == "answer":
            refused = [one for one in refused if one.row not in known]
            if (flight := FLIGHT.get()) is not None:
                flight.stale = stale
        if refused:
            raise RequestError(422, "no_features", refused[0].message, refused)
        return known

    def _too_old(self, moment: int) -> float | None:
        """The age of a row in seconds, if it is too old."""
        limit = self.config.max_age_seconds
        age = time.time() - moment / 1e6
        return age if limit is not None and age > limit else None

    def _watch(self, live: LiveModel) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self._look(live)
        self._store.close()

    def _look(self, live: LiveModel) -> None:
        """Looks once."""
        state = live.state
        models = [model for model in (state.model, state.candidate) if model]
        problems = {
            model.features: self._problem(model.features, model.version)
            for model in models
            if model.features
        }
        for source, problem in problems.items():
            if problem and problem != self._problems.get(source):
                _log.warning("%s", problem)
        self._problems = problems

    @staticmethod
    def _never(source: FeatureSource, version: str) -> str | None:
        if source.specification is not None:
            return None
        return (
            f"requests must carry all columns: version {version} doesn't say by which "
            f"specification of {source.feature} the rows were made that it learned from"
        )

    def _problem(self, source: FeatureSource, version: str) -> str | None:
        if source.specification is None:
            return None
        try:
            state = self._store.state(source.project, source.feature)
        except StepError as error:
            return error.message
        if source.specification in state.kinds:
            return None
        there = f"it has those of {state.newest}" if state.newest else "it has none"
        return (
            f"the online store has no rows of {source.feature} by the specification "
            f"{source.specification}, from which version {version} learned: {there}"
        )


def _unavailable(message: str) -> RequestError:
    return RequestError(503, "features_unavailable", message, headers={"retry-after": "1"})
