"""``/feedback``: the truth about predictions, which comes later than they do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from liminal_assets.serving.engine import Engine
from liminal_assets.serving.errors import Problem, RequestError
from liminal_assets.serving.guards.flight import FLIGHT
from liminal_assets.serving.log.records import masked
from liminal_assets.serving.log.segments import Feedback
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.messages import Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.records import decode
from liminal_assets.serving.protocols.routes import Request, Scoring
from liminal_assets.serving.validation import validated
from liminal_assets.steps.labels import label_text
from liminal_assets.steps.signature import Field, Signature
from liminal_assets.storage.ids import new_id, row_ids

__all__ = ["FeedbackProtocol"]

_AHEAD_SECONDS = 3600.0
"""How much further a caller's clock may be: a label of the future would win over all others."""


class FeedbackProtocol:
    """Takes labels: of a prediction by its id, or of an entity.

    Args:
        engine: knows the version that answers, and so the type of a label.
        log: keeps them.
    """

    def __init__(self, engine: Engine, log: Spool) -> None:
        self._engine = engine
        self._log = log
        self._entity = () if _unusable(log) else tuple(log.settings.entity)
        self.routes = (
            Scoring("/feedback", Response.refusal, self._take, counted=False, fields=self.fields),
        )

    def fields(self, model: ServedModel) -> Signature:
        """What a label says."""
        known = model.signature.known
        about = (known[n].type if n in known else "any" for n in self._entity)
        return Signature(
            (
                Field("prediction_id", "string", required=False),
                *(
                    Field(name, kind, required=False)
                    for name, kind in zip(self._entity, about, strict=True)
                ),
                *([Field("at", "datetime", required=False)] if self._entity else []),
                Field("label", model.label_type),
                Field("labelled_at", "datetime", required=False),
            )
        )

    def _take(self, model: ServedModel, request: Request) -> Response:
        signature = self.fields(model)
        rows = decode(request.body, signature, self._engine.max_rows)
        columns = validated(rows, signature)
        received = time.time()
        if problems := list(self._problems(columns, rows.count, received)):
            count = "1 label is" if len(problems) == 1 else f"{len(problems)} labels are"
            message = f"{count} wrong; {problems[0].field}: {problems[0].message}"
            raise RequestError(422, "invalid_values", message, problems)
        ids = row_ids(new_id(), rows.count)
        kinds = {name: signature.known[name].type for name in self._entity}
        for row, own in enumerate(ids):
            values = {name: column[row] for name, column in columns.items()}
            self._log.add_feedback(self._feedback(own, values, kinds, received))
        self._engine.metrics.count("liminal_labels", _TAKEN, rows.count)
        if flight := FLIGHT.get():
            flight.rows = rows.count
        return Response.of({"accepted": rows.count, "feedback_ids": ids})

    def _problems(
        self, columns: Mapping[str, Sequence[Any]], rows: int, received: float
    ) -> Iterator[Problem]:
        """What is wrong with labels whose every value is right."""
        for row in range(rows):
            by_id = columns["prediction_id"][row] is not None
            given = [name for name in self._entity if columns[name][row] is not None]
            if by_id and not columns["prediction_id"][row].strip():
                yield Problem(row, "prediction_id", "must not be empty")
            elif by_id and given:
                message = f"is about prediction {columns['prediction_id'][row][:50]} already"
                yield Problem(row, given[0], message, "send one of the two")
            elif not by_id and len(given) < len(self._entity):
                missing = next(name for name in self._entity if name not in given)
                yield Problem(row, missing, "is missing", _one_of(self._entity))
            elif not by_id and not given:
                yield Problem(row, "prediction_id", "is missing")
            elif by_id and self._entity and columns["at"][row] is not None:
                yield Problem(row, "at", "goes with an entity, not with a prediction's id")
            when = columns["labelled_at"][row]
            if when is not None and _seconds(when) > received + _AHEAD_SECONDS:
                yield Problem(row, "labelled_at", "is in the future")

    def _feedback(
        self, own: str, values: Mapping[str, Any], kinds: Mapping[str, str], received: float
    ) -> Feedback:
        about = values["prediction_id"]
        at, labelled = values.get("at"), values["labelled_at"]
        return Feedback(
            own,
            received,
            label_text(values["label"]),
            about,
            () if about is not None else [self._kept(n, kinds[n], values[n]) for n in self._entity],
            None if at is None else _seconds(at),
            None if labelled is None else _seconds(labelled),
        )

    def _kept(self, name: str, kind: str, value: Any) -> tuple[str, str, Any]:
        """A part of an entity as the prediction log has it."""
        recording = self._log.settings.recording
        if name in recording.mask:
            return name, "string", masked(recording, name, value)
        return (name, "string", str(value)) if kind == "any" else (name, kind, value)


def _unusable(log: Spool) -> bool:
    """Whether the log has no column, or none of that name, to find an entity by."""
    mask = log.settings.recording.mask
    words = ("prediction_id", "at", "label", "labelled_at")
    return any(name in words or mask.get(name) in ("drop", "null") for name in log.settings.entity)


def _one_of(entity: Sequence[str]) -> str:
    return f"a label is about a 'prediction_id', or about {' and '.join(map(repr, entity))}"


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp()


_TAKEN = "Labels that were taken by /feedback."
