"""From the rows of a request to an answer: the same for every protocol.

A protocol asks :meth:`Engine.route` for a version, decodes its request with that version's
signature, and encodes what :meth:`Engine.answer` says.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.flight import FLIGHT
from liminal_assets.serving.live import LiveModel
from liminal_assets.serving.metrics import Metrics
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.records import Rows
from liminal_assets.serving.records import Answered
from liminal_assets.serving.shadow import Compared, Comparer
from liminal_assets.serving.spool import Spool
from liminal_assets.serving.validation import validated
from liminal_assets.steps.scores import Scores
from liminal_assets.storage.ids import new_id, row_ids

__all__ = ["Answer", "Engine", "place_of"]


@dataclass(frozen=True)
class Answer:
    """What one version says about the rows of one request.

    Attributes:
        model: the version.
        scores: its answers, in the order of the rows.
        id: the request's id.
        ids: the id of each row.
    """

    model: ServedModel
    scores: Scores
    id: str
    ids: Sequence[str]


class Engine:
    """Answers with whatever version is live.

    Args:
        live: the versions that answer.
        log: where answered rows go.
        max_rows: the most rows of one request.
        metrics: what counts the answers.
        timeout: the seconds after which nobody waits for an answer any more.
        sticky: the header of the requests that one version should answer (canary).
        comparer: asks the other version of a rollout in the background.
    """

    def __init__(
        self,
        live: LiveModel,
        *,
        log: Spool | None = None,
        max_rows: int = 10_000,
        metrics: Metrics | None = None,
        timeout: float = math.inf,
        sticky: str | None = None,
        comparer: Comparer | None = None,
    ) -> None:
        self.live = live
        self.log = log
        self.max_rows = max_rows
        self.metrics = metrics or Metrics()
        self.timeout = timeout
        self.comparer = comparer or Comparer(self.metrics)
        self.sticky = sticky.lower().encode("latin-1") if sticky else None

    def route(self, caller: bytes = b"") -> ServedModel:
        """The version for one request; the whole answer is its own, even if the next one takes
        over meanwhile.

        Args:
            caller: what the sticky header says: requests with the same value get the same version
                as long as the shares grow. Without it each request is drawn by itself.

        Raises:
            RequestError: 503 while there is none.
        """
        stable, state = self.stable(), self.live.state
        if state.share and state.candidate is not None:
            place = place_of(caller, state.candidate.version) if caller else random.random()  # noqa: S311
            if place * 100 < state.share:
                return state.candidate
        return stable

    def stable(self) -> ServedModel:
        """The version that answers unless a request is drawn for a candidate.

        Raises:
            RequestError: 503 while there is none.
        """
        state = self.live.state
        if state.model is None:
            raise RequestError(503, "not_ready", state.problem or "there is no model yet")
        return state.model

    def versions(self) -> Sequence[ServedModel]:
        """Every version that can be asked: the stable one first, then the candidate of a rollout.

        Raises:
            RequestError: 503 while there is none.
        """
        stable, candidate = self.stable(), self.live.state.candidate
        return (stable,) if candidate is None else (stable, candidate)

    def answer(self, model: ServedModel, rows: Rows, requested_at: float) -> Answer:
        """The answer to rows as a request wrote them.

        Args:
            requested_at: seconds since 1970.

        Raises:
            RequestError: 422 for values that are wrong or have no answer.
        """
        columns = validated(rows, model.signature)
        return self.answer_checked(model, columns, rows.count, requested_at)

    def answer_checked(
        self,
        model: ServedModel,
        columns: Mapping[str, Sequence[Any]],
        rows: int,
        requested_at: float,
    ) -> Answer:
        """The answer to values that the signature allows."""
        asked = time.time()
        scores = model.predict(columns, rows)
        answered = time.time()
        if answered - requested_at > self.timeout:
            raise RequestError(504, "timeout", f"the model had no answer after {self.timeout:g} s")
        request = new_id()
        ids = row_ids(request, rows)
        self.metrics.version(model.version).answered(rows, answered - requested_at)
        self._compare(model, columns, rows, scores)
        if self.log is not None:
            self.log.add(Answered(model, columns, scores, ids, requested_at, answered))
        if flight := FLIGHT.get():
            flight.rows, flight.prediction_id = rows, request
            flight.asked, flight.answered = asked, answered
        return Answer(model, scores, request, ids)

    def _compare(
        self, model: ServedModel, columns: Mapping[str, Sequence[Any]], rows: int, scores: Scores
    ) -> None:
        """Has the other version of a rollout asked the same, where that is wanted."""
        state = self.live.state
        stable, candidate = state.model, state.candidate
        if not state.shadow or stable is None or candidate is None:
            return
        by_candidate = model is candidate
        # a canary's candidate is compared in what it answers itself, a shadow in all
        if not by_candidate and (state.share or model is not stable):
            return
        if state.shadow >= 100 or random.random() * 100 < state.shadow:  # noqa: S311
            self.comparer.offer(Compared(stable, candidate, by_candidate, columns, rows, scores))


def place_of(caller: bytes, version: str) -> float:
    """Where a caller stands between 0 and 1 in the rollout of a version: those below the
    candidate's share are answered by it. Another version has another order."""
    digest = blake2b(caller, digest_size=8, salt=blake2b(version.encode(), digest_size=16).digest())
    return int.from_bytes(digest.digest(), "big") / 2**64
