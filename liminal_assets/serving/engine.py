"""From the rows of a request to an answer: the same for every protocol.

A protocol asks :meth:`Engine.route` for a version, decodes its request with that version's
signature, and encodes what :meth:`Engine.answer` says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.flight import FLIGHT
from liminal_assets.serving.ids import new_id, row_ids
from liminal_assets.serving.live import LiveModel
from liminal_assets.serving.metrics import Metrics
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.records import Rows
from liminal_assets.serving.records import Answered
from liminal_assets.serving.spool import Spool
from liminal_assets.serving.validation import validated
from liminal_assets.steps.scores import Scores

__all__ = ["Answer", "Engine"]


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
    """

    def __init__(
        self,
        live: LiveModel,
        *,
        log: Spool | None = None,
        max_rows: int = 10_000,
        metrics: Metrics | None = None,
        timeout: float = math.inf,
    ) -> None:
        self.live = live
        self.log = log
        self.max_rows = max_rows
        self.metrics = metrics or Metrics()
        self.timeout = timeout

    def route(self) -> ServedModel:
        """The version for one request; the whole answer is its own, even if the next one takes
        over meanwhile.

        Raises:
            RequestError: 503 while there is none.
        """
        state = self.live.state
        if state.model is None:
            raise RequestError(503, "not_ready", state.problem or "there is no model yet")
        return state.model

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
        if self.log is not None:
            self.log.add(Answered(model, columns, scores, ids, requested_at, answered))
        if flight := FLIGHT.get():
            flight.rows, flight.prediction_id = rows, request
            flight.asked, flight.answered = asked, answered
        return Answer(model, scores, request, ids)
