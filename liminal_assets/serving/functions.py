"""Functions that answer beside a model, called as the endpoints of Apache Liminal's services are:
with the body, or with nothing; what they return is the answer."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.serving.config import Endpoints
from liminal_assets.serving.endpoints import (
    NoFunctionError,
    call_function,
    load_endpoints,
    response_of,
    takes_body,
)
from liminal_assets.serving.messages import Response
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.serving.protocols.routes import Called

__all__ = ["Functions"]

_FRAMED = frozenset({"connection", "content-length", "content-type", "transfer-encoding"})
"""Headers that are the server's to say; the type is in the answer's already."""
_OUTCOMES = {2: "ok", 3: "ok", 4: "client_error"}


class Functions:
    """The functions of a server.

    Args:
        functions: by path.
        metrics: what counts their answers.
        threads: how many of them run at once; a coroutine function needs none.
    """

    def __init__(
        self, functions: Mapping[str, Callable[..., Any]], metrics: Metrics, threads: int = 8
    ) -> None:
        self._functions = dict(functions)
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="endpoint")

    @classmethod
    def of(cls, said: Endpoints, metrics: Metrics) -> Functions:
        """Those of a worker, from the modules of its project.

        Raises:
            StepError: a module or a function isn't there.
        """
        sys.path.insert(0, str(Path(said.root).resolve()))
        entries = [
            {"endpoint": one.endpoint, "module": one.module, "function": one.function}
            for one in said.functions
        ]
        try:
            functions = load_endpoints({"endpoints": entries})
        except NoFunctionError as error:
            raise StepError(error.args[0]) from error
        # whatever a module of the user's raises as it is imported
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise StepError(
                f"the endpoints can't be imported from {said.root}: {reason}"
            ) from error
        return cls(functions, metrics, said.threads)

    @property
    def routes(self) -> Iterator[Called]:
        """A path for each."""
        for path, function in self._functions.items():
            summary = (inspect.getdoc(function) or function.__name__).splitlines()[0]
            answer = partial(self._answer, path, function, takes_body(function))
            yield Called(path, Response.refusal, answer, summary=summary)

    async def _answer(
        self, path: str, function: Callable[..., Any], with_body: bool, body: bytes
    ) -> Response:
        arguments = (body,) if with_body else ()
        began, outcome = time.perf_counter(), "server_error"
        try:
            if inspect.iscoroutinefunction(function):
                said = await _awaited(function, arguments)
            else:
                loop = asyncio.get_running_loop()
                said = await loop.run_in_executor(self._pool, call_function, function, arguments)
            response = _response(said)
            outcome = _OUTCOMES.get(response.status // 100, outcome)
            return response
        finally:
            seconds = time.perf_counter() - began
            count = self._metrics.count
            count("liminal_endpoint_requests", _REQUESTS, endpoint=path, outcome=outcome)
            count("liminal_endpoint_seconds", _SECONDS, seconds, endpoint=path)

    def close(self) -> None:
        """Takes no more calls; what was given up isn't waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _awaited(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    try:
        return await function(*arguments)
    except SystemExit as leaving:
        raise RuntimeError(f"the endpoint tried to end the server: {leaving}") from leaving


_REQUESTS = "Calls of endpoint functions by how they ended."
_SECONDS = "Seconds that endpoint functions took."


def _response(said: Any) -> Response:
    """What a function returned, as an answer of this server."""
    made = response_of(said)
    kind = made.headers.get("content-type", "application/octet-stream")
    response = Response(made.status, made.body, kind=_header("content-type", kind))
    for name, value in made.headers.items():
        if name not in _FRAMED:
            response.headers.append((_header(name, name), _header(name, value)))
    return response


def _header(name: str, value: str) -> bytes:
    """Part of a header.

    Raises:
        ValueError: it would begin another one, or is no text of a header.
    """
    if any(ord(character) < 32 for character in value):
        raise ValueError(f"the header {name!r} has a control character")
    return value.encode("latin-1")
