"""The Open Inference Protocol, version 2, over HTTP, with the extension for binary tensors.

Source: https://github.com/kserve/open-inference-protocol; the extension is Triton's
(``protocol/extension_binary_data.md`` of triton-inference-server/server).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from liminal_assets.serving.engine import Answer, Engine
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.messages import JSON, Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.records import loads
from liminal_assets.serving.protocols.routes import Page, Request, Scoring
from liminal_assets.serving.protocols.tensors import (
    Tensor,
    from_raw,
    inputs_of,
    outputs_of,
    rows_of,
    tensors_of,
    to_raw,
)

__all__ = ["SERVER", "InferenceProtocol", "Served"]

SERVER = "liminal-assets"
_LENGTH = b"inference-header-content-length"
_DEEPEST = 8
"""Lists within lists that a tensor in JSON may have."""


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: Any = None
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Infer(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


class Served:
    """What the protocol says of the server and its one model, over HTTP and gRPC alike.

    Args:
        engine: what it asks.
        problem: why the server isn't ready now; None if it is.
        alias: a second name of the model, that of its deployment.
    """

    def __init__(self, engine: Engine, problem: Callable[[], str | None], alias: str) -> None:
        self.engine = engine
        self.problem = problem
        self._alias = alias

    def server(self) -> dict[str, Any]:
        """Metadata of the server."""
        try:
            own = version(SERVER)
        except PackageNotFoundError:
            own = "0"
        return {"name": SERVER, "version": own, "extensions": ["binary_tensor_data"]}

    def model(self, name: str, version: str = "") -> ServedModel:
        """The version of that number: the one that answers now, or the candidate of a rollout.
        Without a number it is the former.

        Raises:
            RequestError: 404 if the model or its version is another one; 503 while there is none.
        """
        versions = self.engine.versions()
        self.check(versions[0], name)
        for model in versions:
            if version in ("", model.version):
                return model
        stable, *candidates = (repr(model.version) for model in versions)
        others = (
            f"version {stable} does"
            if not candidates
            else (f"versions {stable} and, on trial, {candidates[0]} do")
        )
        message = f"version {version[:200]!r} doesn't answer; {others}"
        raise RequestError(404, "not_found", message)

    def check(self, model: ServedModel, name: str) -> None:
        """Refuses another name.

        Raises:
            RequestError: 404.
        """
        if name not in (model.name, self._alias):
            message = f"there is no model {name[:200]!r}; there is {model.name!r}"
            raise RequestError(404, "not_found", message)

    def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """Metadata of the model."""
        model = self.model(name, version)
        return {
            "name": name,
            "versions": [version.version for version in self.engine.versions()],
            "platform": SERVER,
            "inputs": inputs_of(model.signature),
            "outputs": outputs_of(model),
        }


class InferenceProtocol:
    """Answers the paths below ``/v2``."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._engine = served.engine
        model = "/v2/models/{name}"
        pages: dict[str, Callable[[Request], Response]] = {
            "/v2": lambda request: Response.of(self._served.server()),
            "/v2/health/live": lambda request: Response.of({"live": True}),
            "/v2/health/ready": self._ready,
        }
        for path in (model, model + "/versions/{version}"):
            pages[path] = self._metadata
            pages[path + "/ready"] = self._model_ready
        self.routes: tuple[Page | Scoring, ...] = (
            *(Page(path, refusal, answer) for path, answer in pages.items()),
            Scoring(model + "/infer", refusal, self._infer),
            Scoring(model + "/versions/{version}/infer", refusal, self._infer, choose=self._asked),
        )

    def _ready(self, request: Request) -> Response:
        ready = self._served.problem() is None
        return Response.of({"ready": ready}, 200 if ready else 503)

    def _metadata(self, request: Request) -> Response:
        return Response.of(self._served.metadata(**request.variables))

    def _model_ready(self, request: Request) -> Response:
        model = self._served.model(**request.variables)
        ready = self._served.problem() is None
        name = request.variables["name"]
        return Response.of(
            {"name": name, "version": model.version, "ready": ready}, 200 if ready else 503
        )

    def _asked(self, request: Request) -> ServedModel:
        return self._served.model(**request.variables)

    def _infer(self, model: ServedModel, request: Request) -> Response:
        self._served.check(model, request.variables["name"])
        asked, tensors = _read(request)
        rows = rows_of(tensors, model.signature, self._engine.max_rows)
        answer = self._engine.answer(model, rows, request.requested_at)
        return _response(request.variables["name"], asked, answer)


def refusal(error: RequestError, version: str | None) -> Response:
    """Why a request can't be answered, as the protocol says it."""
    status = 400 if error.status == 422 else error.status
    return Response.refused(error, {"error": error.sentence}, version, status=status)


def _wrong(message: str) -> RequestError:
    return RequestError(400, "invalid_tensors", message)


def _read(request: Request) -> tuple[_Infer, list[Tensor]]:
    body, length = request.body, request.header(_LENGTH)
    if length and not (length.isdigit() and len(length) < 18 and int(length) <= len(body)):
        raise _wrong("Inference-Header-Content-Length is no length within the body")
    head = int(length) if length else len(body)
    try:
        asked = msgspec.convert(loads(body[:head]), _Infer)
    except msgspec.ValidationError as error:
        raise _wrong(f"the request is not as the protocol has it: {error}") from None
    binary = memoryview(body)[head:]
    tensors, at = [], 0
    for one in asked.inputs:
        size = one.parameters.get("binary_data_size")
        if size is None:
            values = _flat(one)
        elif type(size) is int and 0 <= size <= len(binary) - at:
            values = from_raw(one.name, one.datatype, binary[at : at + size])
            at += size
        else:
            raise _wrong(f"{one.name}: binary_data_size is larger than the binary data")
        tensors.append(Tensor(one.name, one.datatype, one.shape, values))
    if at != len(binary):
        raise _wrong(f"{len(binary) - at} bytes of binary data belong to no input")
    return asked, tensors


def _flat(one: _Input) -> list[Any]:
    """The values of a tensor in JSON, which may be nested as its shape is."""
    if not isinstance(one.data, list):
        raise _wrong(f"{one.name}: it has neither 'data' nor binary data")
    values = one.data
    for _ in range(_DEEPEST):
        if not values or not all(isinstance(value, list) for value in values):
            return values
        values = [value for part in values for value in part]
    raise _wrong(f"{one.name}: 'data' is nested too deeply")


def _response(name: str, asked: _Infer, answer: Answer) -> Response:
    tensors = tensors_of(answer.scores, [output.name for output in asked.outputs])
    every = bool(asked.parameters.get("binary_data_output"))
    in_binary = {output.name: output.parameters.get("binary_data") for output in asked.outputs}
    outputs, raw = [], []
    for tensor in tensors:
        said: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
        }
        wanted = in_binary.get(tensor.name)
        if every if wanted is None else wanted:
            raw.append(to_raw(tensor))
            said["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            said["data"] = _listed(tensor.values)
        outputs.append(said)
    head = msgspec.json.encode(
        {
            "model_name": name,
            "model_version": answer.model.version,
            "id": asked.id or answer.id,
            "parameters": {"prediction_id": answer.id},
            "outputs": outputs,
        }
    )
    kind = b"application/octet-stream" if raw else JSON
    response = Response(200, b"".join([head, *raw]), version=answer.model.version, kind=kind)
    response.headers.append((b"x-prediction-id", answer.id.encode()))
    if raw:
        response.headers.append((_LENGTH, b"%d" % len(head)))
    return response


def _listed(values: Any) -> Sequence[Any]:
    return values if isinstance(values, list) else values.tolist()  # type: ignore[no-any-return]
