"""Two versions compared on the same requests: one has answered, the other is asked in the
background. An answer never waits for it; what comes too fast is dropped and counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.log.records import Answered
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.steps.scores import Scores

__all__ = ["Compared", "Comparer", "agreeing"]

_MOST_REQUESTS = 1_000
_MOST_ROWS = 20_000
"""What waits at most; a single larger request is compared if nothing else waits."""
_YIELD_SECONDS = 0.002
"""The answers that were just made are sent first."""

_log = logging.getLogger("liminal_assets.serving")


@dataclass(frozen=True)
class Compared:
    """A request that one of two versions has answered.

    Attributes:
        stable: the version that a candidate is compared with.
        candidate: the candidate.
        by_candidate: whether the candidate has answered; else the stable version.
        columns: the checked values.
        rows: how many.
        scores: the answer.
        ids: the id of each row.
        requested_at: seconds since 1970.
        again: looks up what the other version takes, where it was looked up for this one.
    """

    stable: ServedModel
    candidate: ServedModel
    by_candidate: bool
    columns: Mapping[str, Sequence[Any]]
    rows: int
    scores: Scores
    ids: Sequence[str] = ()
    requested_at: float = 0.0
    again: Callable[[], Mapping[str, Sequence[Any]]] | None = None


class Comparer:
    """Asks the other version, in a thread.

    Args:
        metrics: what counts.
        tolerance: numbers disagree that differ by more than this part of the stable version's.
        slices: columns by whose values rows are counted besides.
        log: where goes what the other version said.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        tolerance: float = 0.1,
        slices: Sequence[str] = (),
        log: Spool | None = None,
    ) -> None:
        self._metrics = metrics
        self._tolerance = tolerance
        self._slices = tuple(slices)
        self._log = log
        self._waiting: deque[Compared] = deque()
        self._rows = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def offer(self, answered: Compared) -> None:
        """Takes a request, unless too much waits."""
        with self._lock:
            requests, rows = len(self._waiting), self._rows + answered.rows
            full = requests >= _MOST_REQUESTS or (requests > 0 and rows > _MOST_ROWS)
            if not full:
                self._waiting.append(answered)
                self._rows += answered.rows
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
        if full:
            pair = self._metrics.pair(answered.stable.version, answered.candidate.version)
            pair.dropped()
        self._wake.set()

    def close(self) -> None:
        """Ends; what waits isn't compared any more."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def compare(self, answered: Compared) -> None:
        """Asks the other version now, and counts."""
        pair = self._metrics.pair(answered.stable.version, answered.candidate.version)
        other = answered.stable if answered.by_candidate else answered.candidate
        try:
            known = answered.again() if answered.again else answered.columns
            columns = {name: known[name] for name in other.signature.names}
            scores = other.predict(columns, answered.rows)
        except (KeyError, RequestError):
            # other columns, or values that it can't answer
            scores = None
        except Exception:
            _log.exception("version %s failed in the background", other.version)
            scores = None
        if scores is None:
            # that the stable version can't answer what the candidate did is no fault of it
            if not answered.by_candidate:
                pair.failed()
            return
        self._keep(other, scores, answered)
        ours, theirs = (
            (scores, answered.scores) if answered.by_candidate else (answered.scores, scores)
        )
        agree = agreeing(ours, theirs, self._tolerance)
        pair.compared(int(agree.sum()), int((~agree).sum()))
        for where, rows in self._parts(answered.columns, answered.rows):
            part = agree[rows]
            pair.compared(int(part.sum()), int((~part).sum()), where)

    def _keep(self, other: ServedModel, scores: Scores, answered: Compared) -> None:
        """Logs what the other version said, beside the answer, for when labels arrive."""
        if self._log is None:
            return
        said = Answered(
            other, {}, scores, answered.ids, answered.requested_at, time.time(), shadow=True
        )
        # while a log that must keep answers can't, it takes none
        with suppress(RequestError):
            self._log.add(said)

    def _parts(
        self, columns: Mapping[str, Sequence[Any]], rows: int
    ) -> Iterator[tuple[str, list[int]]]:
        for name in self._slices:
            if name in columns:
                by_value: dict[Any, list[int]] = {}
                for row in range(rows):
                    by_value.setdefault(columns[name][row], []).append(row)
                for value, places in by_value.items():
                    yield f"{name}={value}", places

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            time.sleep(_YIELD_SECONDS)
            while self._waiting and not self._closed:
                with self._lock:
                    answered = self._waiting.popleft()
                    self._rows -= answered.rows
                self.compare(answered)


def agreeing(stable: Scores, candidate: Scores, tolerance: float) -> np.ndarray[Any, Any]:
    """For each row whether both say the same: the same label, or a number that differs by no more
    than ``tolerance`` of the stable version's."""
    ours, theirs = np.asarray(stable.prediction), np.asarray(candidate.prediction)
    numbers = not stable.probabilities and ours.dtype.kind == theirs.dtype.kind == "f"
    same = np.abs(theirs - ours) <= tolerance * np.abs(ours) if numbers else ours == theirs
    return np.broadcast_to(np.asarray(same, dtype=bool), ours.shape)
