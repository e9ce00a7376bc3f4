"""Answered rows on their way to the prediction log: kept in bounded memory, written by a thread."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from liminal_assets.errors import StepError
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import FieldType

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Answered", "LogState", "PredictionBuffer", "PredictionSink", "new_id", "row_ids"]

_log = logging.getLogger("liminal_assets.serving")


def new_id() -> str:
    """A prediction id: 32 hexadecimal digits that sort by time (milliseconds, then chance)."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def row_ids(request: str, rows: int) -> list[str]:
    """The id of each row of a request: its own for a single row, else ``<id>-<row>``."""
    return [request] if rows == 1 else [f"{request}-{row}" for row in range(rows)]


class PredictionSink(Protocol):
    """Where rows end up."""

    def append(self, rows: Any) -> int:
        """Writes rows, all or none.

        Raises:
            StepError: they can't be written now.
        """


@dataclass(frozen=True)
class Answered:
    """The rows of one answered request."""

    model: ServedModel
    columns: Mapping[str, Sequence[Any]]
    scores: Scores
    ids: Sequence[str]
    requested_at: float
    """Seconds since 1970."""
    scored_at: float


@dataclass(frozen=True)
class LogState:
    """How the log is doing: rows waiting, written and lost, and what keeps them from the disk."""

    waiting: int
    written: int
    lost: int
    problem: str | None


class PredictionBuffer:
    """Takes answered rows without delay and writes them in the background.

    Args:
        sink: where they go.
        max_rows: rows kept while they can't be written; past that the oldest are lost, and
            counted.
        flush_rows: rows that are written at once.
        flush_seconds: the longest that a row waits.
    """

    def __init__(
        self,
        sink: PredictionSink,
        *,
        max_rows: int = 100_000,
        flush_rows: int = 10_000,
        flush_seconds: float = 10.0,
    ) -> None:
        self._sink = sink
        self._max_rows = max_rows
        self._flush_rows = min(flush_rows, max_rows)
        self._flush_seconds = flush_seconds
        self._waiting: deque[Answered] = deque()
        self._rows = self._written = self._lost = 0
        self._problem: str | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to write in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
            self._thread.start()

    def add(self, answered: Answered) -> None:
        """Takes rows; never waits for the disk."""
        with self._lock:
            self._waiting.append(answered)
            self._rows += len(answered.ids)
            while self._rows > self._max_rows and len(self._waiting) > 1:
                oldest = len(self._waiting.popleft().ids)
                self._rows -= oldest
                self._lost += oldest
            full = self._rows >= self._flush_rows
        if full:
            self._wake.set()

    def flush(self) -> bool:
        """Writes what waits; False if the sink refuses, and the rows go on waiting."""
        with self._writing:
            with self._lock:
                taken, self._waiting = self._waiting, deque()
                self._rows = 0
            left = deque(taken)
            for _, group in itertools.groupby(taken, key=lambda answered: id(answered.model)):
                requests = list(group)
                if (rows := self._as_table(requests)) is not None:
                    try:
                        self._written += self._sink.append(rows)
                    except StepError as error:
                        return self._put_back(left, str(error))
                for _ in requests:
                    left.popleft()
            self._problem = None
            return True

    def close(self, seconds: float = 10.0) -> None:
        """Writes what waits and stops; gives up after some seconds, and says what is lost."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)
        deadline = time.monotonic() + seconds
        while not self.flush() and time.monotonic() < deadline:
            time.sleep(0.5)
        if self._rows:
            _log.error("%d predictions are lost: %s", self._rows, self._problem)

    @property
    def state(self) -> LogState:
        """How it is doing."""
        return LogState(self._rows, self._written, self._lost, self._problem)

    def _as_table(self, requests: Sequence[Answered]) -> pa.Table | None:
        """Rows that Arrow can't hold would keep all later ones from the disk: they are lost."""
        try:
            return _table(requests)
        except Exception:
            lost = sum(len(answered.ids) for answered in requests)
            _log.exception("%d predictions can't be logged", lost)
            self._lost += lost
            return None

    def _put_back(self, left: deque[Answered], problem: str) -> bool:
        if problem != self._problem:
            _log.warning("predictions wait in memory: %s", problem)
        self._problem = problem
        with self._lock:
            self._waiting.extendleft(reversed(left))
            self._rows += sum(len(answered.ids) for answered in left)
        return False

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            if not self.flush():
                # a full disk isn't asked again at once
                time.sleep(1.0)


def _table(requests: Sequence[Answered]) -> pa.Table:
    """Rows of requests that one version answered, in the columns of the prediction log."""
    import pyarrow as pa

    model = requests[0].model
    known = model.signature.known
    order = [*(field.name for field in model.signature.carried), *model.signature.names]
    columns: dict[str, Any] = {}
    for name in order:
        values = [value for request in requests for value in request.columns[name]]
        columns[name] = pa.array(_plain(values, known[name].type), _arrow_type(known[name].type))
    for name in requests[0].scores.columns:
        parts = [request.scores.columns[name] for request in requests]
        columns[name] = pa.chunked_array([pa.array(part) for part in parts])
    moment = pa.timestamp("us", "UTC")
    counts = [len(request.ids) for request in requests]
    for name, moments in {
        "scored_at": [request.scored_at for request in requests],
        "requested_at": [request.requested_at for request in requests],
    }.items():
        at = [datetime.fromtimestamp(seconds, timezone.utc) for seconds in moments]
        repeated = itertools.chain.from_iterable(map(itertools.repeat, at, counts))
        columns[name] = pa.array(list(repeated), moment)
    columns["model_version"] = pa.repeat(model.version, sum(counts))
    columns["prediction_id"] = [own for request in requests for own in request.ids]
    return pa.table(columns)


def _plain(values: list[Any], kind: FieldType) -> list[Any]:
    """Values of unknown type as text, so that every file has one type for a column."""
    return [None if v is None else str(v) for v in values] if kind == "any" else values


def _arrow_type(kind: FieldType) -> pa.DataType:
    import pyarrow as pa

    return {
        "boolean": pa.bool_(),
        "integer": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "string": pa.string(),
        "datetime": pa.timestamp("us"),
        "binary": pa.binary(),
        "any": pa.string(),
    }[kind]
