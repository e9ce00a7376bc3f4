"""Our own protocol, ``/predict``: rows in, one prediction per row out."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from liminal_assets.serving.engine import Answer, Engine
from liminal_assets.serving.messages import Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols import arrow
from liminal_assets.serving.protocols.records import decode
from liminal_assets.serving.protocols.routes import Request, Scoring, Single
from liminal_assets.serving.protocols.typed import Readers, Table

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
        single = Single(self._read_one, self._write_one)
        self.routes = (Scoring("/predict", Response.refusal, self._predict, single=single),)

    def _predict(self, model: ServedModel, request: Request) -> Response:
        engine = self._engine
        if not request.bulk:
            read = self._readers.read(request.body, model.reading, engine.max_rows)
            if isinstance(read, Table):
                answer = engine.answer_checked(model, read.columns, read.rows, request.requested_at)
                return Response(200, encode(answer), version=model.version)
            if read is not None:
                engine.check_one(model, read)
                asked = time.time()
                return self._write_one(model, request, read, model.predict_one(read), asked)
        answer = self._answer(model, request)
        if request.bulk and arrow.ARROW in request.header(b"accept"):
            body = arrow.encode(answer)
            response = Response(200, body, version=model.version, kind=arrow.ARROW)
            response.headers.append((b"x-prediction-id", answer.id.encode()))
            return response
        return Response(200, encode(answer), version=model.version)

    def _read_one(self, model: ServedModel, request: Request) -> list[Any] | None:
        read = self._readers.read(request.body, model.reading, 1)
        if read is None or isinstance(read, Table):
            return None
        self._engine.check_one(model, read)
        return read

    def _write_one(
        self,
        model: ServedModel,
        request: Request,
        values: list[Any],
        said: dict[str, Any],
        asked: float,
    ) -> Response:
        own = self._engine.answered_one(model, values, said, request.requested_at, asked)
        return Response(200, encode_one(model, said, own), version=model.version)

    def _answer(self, model: ServedModel, request: Request) -> Answer:
        engine = self._engine
        if request.bulk and request.header(b"content-type").startswith(arrow.ARROW):
            rows = arrow.from_stream(request.body, engine.max_rows, self._max_bytes)
            return engine.answer(model, rows, request.requested_at)
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
    return _said(answer.model, answer.id, predictions)


def encode_one(model: ServedModel, said: dict[str, Any], own: str) -> bytes:
    """The same of one row."""
    said["prediction_id"] = own
    return _said(model, own, [said])


def _said(model: ServedModel, request: str, predictions: list[dict[str, Any]]) -> bytes:
    return _ENCODE(
        {
            "model": model.name,
            "model_version": model.version,
            "prediction_id": request,
            "predictions": predictions,
        }
    )


_ENCODE = msgspec.json.Encoder().encode
