"""Our own protocol, ``/predict``: rows in, one prediction per row out."""

from __future__ import annotations

import msgspec

from liminal_assets.serving.engine import Answer, Engine
from liminal_assets.serving.messages import Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.records import decode
from liminal_assets.serving.protocols.routes import Request, Scoring
from liminal_assets.serving.protocols.typed import Readers

__all__ = ["PredictProtocol"]


class PredictProtocol:
    """Answers ``/predict``.

    Args:
        engine: what it asks.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers = Readers()
        self.routes = (Scoring("/predict", Response.refusal, self._predict),)

    def _predict(self, model: ServedModel, request: Request) -> Response:
        answer = self._answer(model, request)
        return Response(200, encode(answer), version=model.version)

    def _answer(self, model: ServedModel, request: Request) -> Answer:
        engine = self._engine
        read = self._readers.read(request.body, model.signature, engine.max_rows)
        if read is not None:
            return engine.answer_checked(model, *read, request.requested_at)
        rows = decode(request.body, model.signature, engine.max_rows)
        return engine.answer(model, rows, request.requested_at)


def encode(answer: Answer) -> bytes:
    """The answer in JSON: which version gave it, and an object per row."""
    scores = answer.scores.columns
    names = list(scores)
    values = [column.tolist() for column in scores.values()]
    predictions = [
        {**dict(zip(names, row, strict=True)), "prediction_id": own}
        for own, row in zip(answer.ids, zip(*values, strict=True), strict=True)
    ]
    said = {
        "model": answer.model.name,
        "model_version": answer.model.version,
        "prediction_id": answer.id,
        "predictions": predictions,
    }
    return msgspec.json.encode(said)
