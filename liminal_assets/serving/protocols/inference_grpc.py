"""The Open Inference Protocol, version 2, over gRPC: the same model beside HTTP, in the same loop.

A call is a request like any other: who may ask, limits, threads, counts and logs are the
application's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from liminal_assets.errors import StepError
from liminal_assets.serving.config import Grpc, Tls
from liminal_assets.serving.engine import Answer
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards.connections import MOST_CONNECTIONS
from liminal_assets.serving.messages import Message, Receive, Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.inference import Served
from liminal_assets.serving.protocols.inference_messages import SERVICE, messages
from liminal_assets.serving.protocols.routes import Page, Request, Scoring
from liminal_assets.serving.protocols.tensors import Tensor, from_raw, rows_of, tensors_of, to_raw

__all__ = ["GrpcServer"]

Answering = Callable[[Response], Awaitable[None]]
Respond = Callable[
    [Message, Receive, "Page | Scoring", Mapping[str, str], Answering], Awaitable[None]
]
"""How the application answers a request."""

_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_SMALL = 65_536
"""Bytes of a message up to which it doesn't count for the limit of all: what HTTP reads at once."""

_CONNECTION_SECONDS = 600.0
"""After that long a client is to connect anew, to whichever worker: calls under way end where they
are. Else those of a worker that ended would stay with the others."""

_MOST_CALLS = 1_000
"""At once, health checks included; the application refuses sooner what it has to do work for."""

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class GrpcServer:
    """Answers gRPC until it is stopped.

    Args:
        served: what the protocol says.
        respond: how the application answers.
        settings: where it listens.
        max_bytes: the largest message.
    """

    def __init__(self, served: Served, respond: Respond, settings: Grpc, max_bytes: int) -> None:
        self.port = settings.port
        self._served = served
        self._respond = respond
        self._settings = settings
        self._max_bytes = max_bytes
        self._messages = messages()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            StepError: the port is taken.
        """
        options = [
            ("grpc.max_receive_message_length", self._max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
            ("grpc.max_connection_age_ms", int(_CONNECTION_SECONDS * 1000)),
            # the workers share the port
            ("grpc.so_reuseport", 1),
        ]
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MOST_CALLS)
        server.add_generic_rpc_handlers((self._handlers(),))
        host = self._settings.host
        at = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        try:
            if self._settings.tls:
                self.port = server.add_secure_port(at, _credentials(self._settings.tls))
            else:
                self.port = server.add_insecure_port(at)
        except (RuntimeError, OSError) as error:
            raise StepError(
                f"gRPC can't listen at {at}: {error}", hint="'grpc_port:' chooses another port"
            ) from error
        await server.start()
        self._server = server

    async def stop(self, grace: float) -> None:
        """Takes no more calls; those under way have some seconds."""
        if self._server is not None:
            await self._server.stop(grace)

    def _handlers(self) -> Any:
        pages = {
            "ServerLive": lambda request: self._said("ServerLive", live=True),
            "ServerReady": lambda request: self._said("ServerReady", ready=self._ready),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda request: self._said("ServerMetadata", **self._served.server()),
            "ModelMetadata": lambda request: self._said(
                "ModelMetadata", **self._served.metadata(**request.variables)
            ),
        }
        routes: dict[str, Page | Scoring] = {
            name: Page(f"/{SERVICE}/{name}", refusal, answer, methods=("POST",))
            for name, answer in pages.items()
        }
        routes["ModelInfer"] = Scoring(
            f"/{SERVICE}/ModelInfer", refusal, self._infer, choose=self._asked
        )
        # on the wire one message is a stream of one; so it is read only once its caller is let in
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(self._call(name, route))
            for name, route in routes.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _call(self, name: str, route: Page | Scoring) -> Callable[[Any, Any], Awaitable[bytes]]:
        async def call(requests: Any, context: Any) -> bytes:
            variables: Mapping[str, str] = {}
            if isinstance(route, Page):
                asked = await context.read()
                variables = _named(self._messages[f"{name}Request"], asked)
            answers: list[Response] = []

            async def send(response: Response) -> None:
                answers.append(response)
                context.set_trailing_metadata(_trailing(response))

            scope = _scope(route.path, context)
            await self._respond(scope, _messages_of(context), route, variables, send)
            if not answers:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "there was no message")
            (response,) = answers
            if response.status != 200:
                status = _STATUS.get(response.status, grpc.StatusCode.INTERNAL)
                await context.abort(status, response.body.decode())
            return response.body

        return call

    def _said(self, message: str, /, **said: Any) -> Response:
        return Response(200, self._messages[f"{message}Response"](**said).SerializeToString())

    @property
    def _ready(self) -> bool:
        return self._served.problem() is None

    def _model_ready(self, request: Request) -> Response:
        try:
            self._served.model(**request.variables)
        except RequestError:
            return self._said("ModelReady", ready=False)
        return self._said("ModelReady", ready=self._ready)

    def _asked(self, request: Request) -> ServedModel | None:
        # these two fields have the same numbers there; all others are skipped
        names = _named(self._messages["ModelReadyRequest"], request.body)
        return self._served.model(**names) if names["version"] else None

    def _infer(self, model: ServedModel, request: Request) -> Response:
        try:
            asked = self._messages["ModelInferRequest"].FromString(request.body)
        except DecodeError as error:
            raise _wrong(f"the message is no ModelInferRequest: {error}") from None
        self._served.check(model, asked.model_name)
        engine = self._served.engine
        rows = rows_of(_tensors(asked), model.signature, engine.max_rows)
        answer = engine.answer(model, rows, request.requested_at)
        return self._answered(asked, answer)

    def _answered(self, asked: Any, answer: Answer) -> Response:
        tensors = tensors_of(answer.scores, [output.name for output in asked.outputs])
        raw = bool(asked.raw_input_contents)
        said = self._messages["ModelInferResponse"](
            model_name=asked.model_name,
            model_version=answer.model.version,
            id=asked.id or answer.id,
            parameters={"prediction_id": self._messages["InferParameter"](string_param=answer.id)},
            outputs=[_output(tensor, raw) for tensor in tensors],
            raw_output_contents=[to_raw(tensor) for tensor in tensors] if raw else [],
        )
        response = Response(200, said.SerializeToString(), version=answer.model.version)
        response.headers.append((b"x-prediction-id", answer.id.encode()))
        return response


def refusal(error: RequestError, version: str | None) -> Response:
    """Why a call can't be answered: the text of its status."""
    return Response(error.status, error.sentence.encode(), version=version)


def _wrong(message: str) -> RequestError:
    return RequestError(400, "invalid_tensors", message)


def _messages_of(context: Any) -> Receive:
    """The message of a call, as the body of a request."""
    waiting: list[bytes] = []

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop()}
        said = await context.read()
        if said is grpc.aio.EOF:
            return {"type": "http.disconnect"}
        if len(said) <= _SMALL:
            return {"type": "http.request", "body": said}
        # a second part, as large bodies have one: these count for the limit of all
        waiting.append(said)
        return {"type": "http.request", "body": b"", "more_body": True}

    return receive


def _scope(path: str, context: Any) -> Message:
    """What the application knows of a request, of a call."""
    headers = [
        (key.encode(), value if isinstance(value, bytes) else value.encode())
        for key, value in context.invocation_metadata()
        # of a message these say nothing, whatever a caller makes of them
        if not key.startswith("content-")
    ]
    host, _, port = unquote(context.peer()).partition(":")[2].rpartition(":")
    client = (host.strip("[]"), int(port)) if port.isdigit() else None
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": headers,
        "query_string": b"",
        "client": client,
    }


def _named(message: Any, body: Any) -> dict[str, str]:
    """The name and version of the model that a message asks for."""
    try:
        said = message.FromString(b"" if body is grpc.aio.EOF else body)
    except DecodeError:
        # of no model then, and told as such
        said = message()
    names = message.DESCRIPTOR.fields_by_name
    return {name: getattr(said, name) for name in ("name", "version") if name in names}


def _trailing(response: Response) -> tuple[tuple[str, str], ...]:
    """Headers that say something of the answer."""
    return tuple(
        (name.decode(), value.decode("ascii", "replace").replace("\ufffd", "?"))
        for name, value in response.headers
        if name.startswith(b"x-") or name == b"retry-after"
    )


def _tensors(asked: Any) -> list[Tensor]:
    raw = list(asked.raw_input_contents)
    if raw and len(raw) != len(asked.inputs):
        raise _wrong(f"{len(raw)} raw_input_contents for {len(asked.inputs)} inputs")
    tensors = []
    for i, one in enumerate(asked.inputs):
        if raw:
            values = from_raw(one.name, one.datatype, raw[i])
        elif contents := _CONTENTS.get(one.datatype):
            values = list(getattr(one.contents, contents))
            if one.datatype in ("FP32", "FP64"):
                # as in binary, NaN is how a missing number is written
                values = np.asarray(values)
        else:
            raise _wrong(f"{one.name}: contents can't be of datatype {one.datatype!r}")
        tensors.append(Tensor(one.name, one.datatype, list(one.shape), values))
    return tensors


def _output(tensor: Tensor, raw: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype}
    said["shape"] = tensor.shape
    if not raw:
        values = tensor.values if isinstance(tensor.values, list) else tensor.values.tolist()
        if tensor.datatype == "BYTES":
            values = [value.encode() for value in values]
        said["contents"] = {_CONTENTS[tensor.datatype]: values}
    return said


def _credentials(tls: Tls) -> Any:
    with open(tls.cert, "rb") as chain, open(tls.key or tls.cert, "rb") as own:
        return grpc.ssl_server_credentials([(own.read(), chain.read())])
