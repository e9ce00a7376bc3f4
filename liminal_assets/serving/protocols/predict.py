"""Our own protocol, ``/predict``: rows in, one prediction per row out."""

from __future__ import annotations

import msgspec

from liminal_assets.serving.engine import Answer, Engine
from liminal_assets.serving.messages import Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols import arrow
from liminal_assets.serving.protocols.records import decode
from liminal_assets.serving.protocols.routes import Request, Scoring
from liminal_assets.serving.protocols.typed import Readers

__all__ = ["PredictProtocol"]


class PredictProtocol:
    """Answers ``/predict``.

    Args:
        engine: what it asks.
        max_bytes: the largest body.
    """

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        self._engine = engine
        self._max_bytes = max_bytes
        self._readers = Readers()
        self.routes = (Scoring("/predict", Response.refusal, self._predict),)

    def _predict(self, model: ServedModel, request: Request) -> Response:
        answer = self._answer(model, request)
        if request.bulk and arrow.ARROW in request.header(b"accept"):
            body = arrow.encode(answer)
            response = Response(200, body, version=model.version, kind=arrow.ARROW)
            response.headers.append((b"x-prediction-id", answer.id.encode()))
            return response
        return Response(200, encode(answer), version=model.version)

    def _answer(self, model: ServedModel, request: Request) -> Answer:
        engine = self._engine
        if request.bulk and request.header(b"content-type").startswith(arrow.ARROW):
            rows = arrow.from_stream(request.body, engine.max_rows, self._max_bytes)
            return engine.answer(model, rows, request.requested_at)
        read = self._readers.read(request.body, model.signature, engine.max_rows)
        if read is not None:
            return engine.answer_checked(model, *read, request.requested_at)
        rows = decode(request.body, model.signature, engine.max_rows)
        return engine.answer(model, rows, request.requested_at)


def encode(answer: Answer) -> bytes:
    """The answer in JSON: which version gave it, and an object per row."""
    scores = answer.scores.columns
    if len(answer.ids) == 1:
        one = {name: column.item() for name, column in scores.items()}
        predictions = [{**one, "prediction_id": answer.id}]
    else:
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
