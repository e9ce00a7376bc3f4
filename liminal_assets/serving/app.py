"""The ASGI application: paths, limits and status codes.

No framework: what it would do for one path costs more than the model's answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import msgspec

from liminal_assets.serving.documents import Documents
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.live import LiveModel
from liminal_assets.serving.log import Answered, PredictionBuffer, new_id, row_ids
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocol import decode, encode
from liminal_assets.serving.validation import validated
from liminal_assets.steps.signature import Signature

__all__ = ["ServingApp", "create_app"]

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_INLINE_BYTES = 16_384
"""Larger bodies are answered in a thread, so that health checks don't wait for them."""
_JSON = b"application/json"
_HTML = b"text/html; charset=utf-8"

_log = logging.getLogger("liminal_assets.serving")


def create_app(
    pipeline: Any,
    signature: Any,
    *,
    name: str = "model",
    version: str = "1",
    run_id: str | None = None,
    example: Mapping[str, Any] | None = None,
    max_rows: int = 10_000,
    max_body_mb: float = 16.0,
    log: PredictionBuffer | None = None,
) -> ServingApp:
    """An ASGI application around a team's own fitted pipeline.

    Args:
        pipeline: a fitted scikit-learn pipeline or estimator.
        signature: an MLflow signature, its ``to_dict()``, or a frame like the one it learned from.
        name: the model's name in answers.
        version: its version in answers.
        run_id: the MLflow run that made it.
        example: a row for the documentation.
        max_rows: the most rows of one request.
        max_body_mb: the largest body of one request.
        log: where answered rows go.

    Raises:
        StepError: the signature names no columns, or the pipeline can't answer the example.
    """
    model = ServedModel.of(
        pipeline,
        Signature.of(signature),
        name=name,
        version=version,
        run_id=run_id,
        example=example,
    )
    live = LiveModel.fixed(model)
    return ServingApp(live, log=log, max_rows=max_rows, max_body_mb=max_body_mb)


class ServingApp:
    """Answers HTTP with whatever version is live.

    Args:
        live: the version that answers.
        log: where answered rows go.
        title: the deployment's name in the documentation.
        max_rows: the most rows of one request.
        max_body_mb: the largest body of one request.
    """

    def __init__(
        self,
        live: LiveModel,
        *,
        log: PredictionBuffer | None = None,
        title: str = "model",
        max_rows: int = 10_000,
        max_body_mb: float = 16.0,
    ) -> None:
        self.live = live
        self.log = log
        self.title = title
        self._max_rows = max_rows
        self._max_bytes = int(max_body_mb * 1024 * 1024)
        self._stopping = False
        self._pool: ThreadPoolExecutor | None = None
        self._documents: Documents | None = None
        self._pages: Mapping[str, Callable[[], _Response]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/version": self._version,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        try:
            if path == "/predict":
                _only(method, "POST")
                response = await self._predict(scope, receive)
            elif page := self._pages.get(path):
                _only(method, "GET", "HEAD")
                response = page()
            else:
                known = ", ".join(["/predict", *self._pages])
                raise RequestError(404, "not_found", f"there is no {path[:200]}; there are {known}")
        except _DisconnectedError:
            return
        except RequestError as error:
            response = self._refusal(error)
        except Exception:
            incident = new_id()
            _log.exception("incident %s: a request failed", incident)
            message = f"the server failed; its log says why under incident {incident}"
            response = self._refusal(RequestError(500, "internal", message))
        await response.send(send, body=method != "HEAD")

    async def _predict(self, scope: Message, receive: Receive) -> _Response:
        requested_at = time.time()
        body = await _body(scope, receive, self._max_bytes)
        # one look: the whole answer is this version's, even if the next takes over meanwhile
        model = self.live.state.model
        if model is None:
            problem = self.live.state.problem or "there is no model yet"
            raise RequestError(503, "not_ready", problem)
        if len(body) <= _INLINE_BYTES and not model.slow:
            answer = self._answer(model, body, requested_at)
        else:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(
                self._threads, self._answer, model, body, requested_at
            )
        return _Response(200, answer, version=model.version)

    def _answer(self, model: ServedModel, body: bytes, requested_at: float) -> bytes:
        rows = decode(body, model.signature, self._max_rows)
        columns = validated(rows, model.signature)
        scores = model.predict(columns, rows.count)
        request = new_id()
        ids = row_ids(request, rows.count)
        if self.log is not None:
            self.log.add(Answered(model, columns, scores, ids, requested_at, time.time()))
        head = {"model": model.name, "model_version": model.version, "prediction_id": request}
        return encode(head, scores, ids)

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            # one: two that wait for one another's cores and for Python's lock are slower
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="predict")
        return self._pool

    def _refusal(self, error: RequestError) -> _Response:
        model = self.live.state.model
        version = model.version if model else None
        said = {"error": error.as_dict(), "model_version": version}
        response = _Response(error.status, msgspec.json.encode(said), version=version)
        if error.status == 503:
            response.headers.append((b"retry-after", b"1"))
        if error.allow:
            response.headers.append((b"allow", error.allow.encode()))
        return response

    def _healthz(self) -> _Response:
        return _Response(200, b'{"status":"alive"}')

    def _readyz(self) -> _Response:
        state = self.live.state
        problem = "the server is stopping" if self._stopping else state.problem
        ready = state.model is not None and not self._stopping
        said = {
            "ready": ready,
            "model_version": state.model.version if state.model else None,
            "problem": problem,
        }
        return _Response(200 if ready else 503, msgspec.json.encode(said))

    def _version(self) -> _Response:
        state = self.live.state
        model = state.model
        said = {
            "model": model.name if model else None,
            "model_version": model.version if model else None,
            "run_id": model.run_id if model else None,
            "loaded_at": model.loaded_at.isoformat(timespec="milliseconds") if model else None,
            "champion": state.wanted,
            "problem": state.problem,
            "prediction_log": asdict(self.log.state) if self.log else None,
        }
        return _Response(200, msgspec.json.encode(said))

    def _openapi(self) -> _Response:
        return _Response(200, self._documentation().openapi)

    def _docs(self) -> _Response:
        return _Response(200, self._documentation().page, kind=_HTML)

    def _documentation(self) -> Documents:
        """The documents of the version that answers now."""
        model = self.live.state.model
        if self._documents is None or self._documents.model is not model:
            self._documents = Documents.of(self.title, model, self._max_rows)
        return self._documents

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.live.start()
                if self.log is not None:
                    self.log.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _close(self) -> None:
        """Ends the threads; requests are answered by now, and their rows get written."""
        self._stopping = True
        self.live.stop(timeout=0)
        if self._pool is not None:
            self._pool.shutdown()
        if self.log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.log.close)


class _Response:
    """Status, headers and body of one answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes, *, version: str | None = None, kind: bytes = _JSON
    ) -> None:
        self.status = status
        self.body = body
        self.headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if version is not None:
            self.headers.append((b"x-model-version", version.encode("latin-1", "replace")))

    async def send(self, send: Send, *, body: bool = True) -> None:
        """Sends it; without the body for HEAD."""
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body if body else b""})


class _DisconnectedError(Exception):
    """The client went away before its request was complete."""


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        message = f"it answers {' and '.join(allowed)} only"
        raise RequestError(405, "method_not_allowed", message, allow=", ".join(allowed))


async def _body(scope: Message, receive: Receive, limit: int) -> bytes:
    """The body of a request.

    Raises:
        RequestError: 413 as soon as it is known to be too large.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise _DisconnectedError
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> RequestError:
    return RequestError(
        413, "body_too_large", f"the body is larger than {limit / 1024 / 1024:.3g} MiB"
    )
