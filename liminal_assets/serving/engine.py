"""From the rows of a request to an answer: the same for every protocol.

A protocol asks :meth:`Engine.route` for a version, decodes its request with that version's
signature, and encodes what :meth:`Engine.answer` says.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.control.shadow import Compared, Comparer
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.features.lookups import Lookups
from liminal_assets.serving.guards.flight import FLIGHT
from liminal_assets.serving.log.records import Answered
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.serving.protocols.records import Rows
from liminal_assets.serving.validation import validated
from liminal_assets.steps.scores import Scores
from liminal_assets.storage.ids import new_id, row_ids

__all__ = ["Answer", "Engine", "OtherVersion", "Sent", "Sticky", "place_of"]


@dataclass(frozen=True)
class Sticky:
    """What requests have in common that one version should answer (canary).

    Attributes:
        header: the name of a header, or of gRPC's metadata.
        entity: the columns that name what a row is about.
    """

    header: bytes | None = None
    entity: tuple[str, ...] = ()

    @classmethod
    def of(cls, header: str | None, entity: Sequence[str] = ()) -> Sticky:
        """Header names know no case."""
        return cls(header.lower().encode("latin-1") if header else None, tuple(entity))


class OtherVersion(Exception):  # noqa: N818  # it is no error
    """The rows of a request belong to the candidate: it is to answer."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__(model.version)
        self.model = model


@dataclass(frozen=True)
class Sent:
    """A request whose rows were completed.

    Attributes:
        rows: as it wrote them.
        names: the columns that it held.
    """

    rows: Rows
    names: Sequence[str]


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
        sticky: what requests have in common that one version should answer (canary).
        comparer: asks the other version of a rollout in the background.
        lookups: completes rows that carry only their entity.
    """

    def __init__(
        self,
        live: LiveModel,
        *,
        log: Spool | None = None,
        max_rows: int = 10_000,
        metrics: Metrics | None = None,
        timeout: float = math.inf,
        sticky: Sticky | None = None,
        comparer: Comparer | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self.live = live
        self.lookups = lookups
        self.log = log
        self.max_rows = max_rows
        self.metrics = metrics or Metrics()
        self.timeout = timeout
        self.comparer = comparer or Comparer(self.metrics)
        self._sticky = sticky or Sticky()

    def route(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> ServedModel:
        """The version for one request; the whole answer is its own, even if the next one takes
        over meanwhile.

        Where the entity decides it is the stable one, which knows how to read the rows; see
        :class:`OtherVersion`.

        Args:
            headers: those of the request, or the metadata of a call, in lower case. Requests that
                say the same in the sticky one get the same version as long as the shares grow;
                without it each request is drawn by itself.

        Raises:
            RequestError: 503 while there is none.
        """
        stable, state, sticky = self.stable(), self.live.state, self._sticky
        if not state.share or state.candidate is None or sticky.entity:
            return stable
        caller = b""
        if sticky.header is not None:
            caller = next((value for name, value in headers if name == sticky.header), b"")
        return state.candidate if _drawn(caller, state.candidate, state.share) else stable

    def stable(self) -> ServedModel:
        """The version that answers unless a request is drawn for a candidate.

        Raises:
            RequestError: 503 while there is none.
        """
        state = self.live.state
        if state.model is None:
            raise RequestError(503, "not_ready", state.problem or "there is no model yet")
        return state.model

    @property
    def version_now(self) -> str | None:
        """The version that answers now."""
        model = self.live.state.model
        return model.version if model else None

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
            NeededError: what rows leave out is to be looked up first.
            RequestError: 422 for values that are wrong or have no answer, 503 while what rows leave
                out can't be looked up.
        """
        flight = FLIGHT.get()
        # rows that had to be looked up come twice
        if flight is not None and flight.span is not None and not flight.decoded:
            flight.decoded = time.time()
        if self.lookups is None or model.features is None:
            columns = validated(rows, model.signature)
            return self.answer_checked(model, columns, rows.count, requested_at)
        columns, names = self.lookups.columns(model.features, model.reading, rows)
        sent = Sent(rows, names) if names is not None else None
        return self.answer_checked(model, columns, rows.count, requested_at, sent)

    def answer_checked(
        self,
        model: ServedModel,
        columns: Mapping[str, Sequence[Any]],
        rows: int,
        requested_at: float,
        sent: Sent | None = None,
    ) -> Answer:
        """The answer to values that the signature allows.

        Args:
            sent: what the request itself held, where others were looked up.

        Raises:
            OtherVersion: the entity of the first row belongs to the candidate.
        """
        if self._sticky.entity:
            self._check_entity(model, columns)
        asked = time.time()
        scores = model.predict(columns, rows)
        answered = self._counted(model, rows, requested_at)
        ids = row_ids(request := new_id(), rows)
        names = sent.names if sent is not None else None
        self._keep(Answered(model, columns, scores, ids, requested_at, answered, names), sent)
        _tell(rows, request, asked, answered)
        return Answer(model, scores, request, ids)

    def check_one(self, model: ServedModel, values: Sequence[Any]) -> None:
        """Looks whether a version is the one to ask about a row.

        Raises:
            OtherVersion: the entity of the row belongs to the candidate.
        """
        if self._sticky.entity:
            self._check_entity(model, _columns(model, values))

    def answered_one(
        self,
        model: ServedModel,
        values: Sequence[Any],
        said: Mapping[str, Any],
        requested_at: float,
        asked: float,
    ) -> str:
        """The id of the answer to one row, which is counted, compared and logged.

        Args:
            values: what the signature allows, in its order.
            said: the answer by column.
            requested_at: seconds since 1970.
            asked: when the model was asked.
        """
        answered = self._counted(model, 1, requested_at)
        request = new_id()
        if self.log is not None or self.live.state.shadow:
            columns, scores = _columns(model, values), Scores.of_row(said)
            self._keep(Answered(model, columns, scores, [request], requested_at, answered))
        _tell(1, request, asked, answered)
        return request

    def _counted(self, model: ServedModel, rows: int, requested_at: float) -> float:
        """When the model had answered; it is counted.

        Raises:
            RequestError: 504, nobody waits for the answer any more.
        """
        answered = time.time()
        if answered - requested_at > self.timeout:
            raise RequestError(504, "timeout", f"the model had no answer after {self.timeout:g} s")
        self.metrics.version(model.version).answered(rows, answered - requested_at)
        return answered

    def _keep(self, answered: Answered, sent: Sent | None = None) -> None:
        """Has the answer compared and logged, where that is wanted."""
        if self.live.state.shadow:
            self._compare(answered, sent)
        if self.log is not None:
            self.log.add(answered)

    def _check_entity(self, model: ServedModel, columns: Mapping[str, Sequence[Any]]) -> None:
        """Hands a request on whose entity belongs to the candidate. A request of several rows is
        answered whole by one version: that of its first."""
        state, flight = self.live.state, FLIGHT.get()
        candidate = state.candidate
        if not state.share or candidate is None or model is not state.model:
            return
        if flight is not None and flight.named:
            return
        values = [columns[name][0] if name in columns else None for name in self._sticky.entity]
        caller = repr(values).encode() if any(value is not None for value in values) else b""
        if _drawn(caller, candidate, state.share):
            raise OtherVersion(candidate)

    def _compare(self, answered: Answered, sent: Sent | None) -> None:
        """Has the other version of a rollout asked the same, where that is wanted."""
        state, model = self.live.state, answered.model
        stable, candidate = state.model, state.candidate
        if not state.shadow or stable is None or candidate is None:
            return
        by_candidate = model is candidate
        # a canary's candidate is compared in what it answers itself, a shadow in all
        if not by_candidate and (state.share or model is not stable):
            return
        if state.shadow >= 100 or random.random() * 100 < state.shadow:  # noqa: S311
            self.comparer.offer(
                Compared(
                    stable,
                    candidate,
                    by_candidate,
                    answered.columns,
                    len(answered.ids),
                    answered.scores,
                    answered.ids,
                    answered.requested_at,
                    self._again(stable if by_candidate else candidate, model, sent),
                )
            )

    def _again(
        self, other: ServedModel, model: ServedModel, sent: Sent | None
    ) -> Callable[[], Mapping[str, Sequence[Any]]] | None:
        """Looks up for another version what was looked up by another specification than its own."""
        if self.lookups is None or sent is None or other.features in (None, model.features):
            return None
        return partial(self.lookups.again, other.features, other.reading, sent.rows)


def _drawn(caller: bytes, candidate: ServedModel, share: float) -> bool:
    """Whether a request is for the candidate, which answers ``share`` percent."""
    place = place_of(caller, candidate.version) if caller else random.random()  # noqa: S311
    return place * 100 < share


def _columns(model: ServedModel, values: Sequence[Any]) -> dict[str, list[Any]]:
    """The values of one row as columns."""
    return {name: [value] for name, value in zip(model.signature.known, values, strict=True)}


def _tell(rows: int, request: str, asked: float, answered: float) -> None:
    """Says in the flight what became of it."""
    if flight := FLIGHT.get():
        flight.rows, flight.prediction_id = rows, request
        flight.asked, flight.answered = asked, answered


def place_of(caller: bytes, version: str) -> float:
    """Where a caller stands between 0 and 1 in the rollout of a version: those below the
    candidate's share are answered by it. Another version has another order."""
    digest = blake2b(caller, digest_size=8, salt=blake2b(version.encode(), digest_size=16).digest())
    return int.from_bytes(digest.digest(), "big") / 2**64
