"""Functions as the endpoints of a web server, as Apache Liminal's ``python_server`` has them.

    python -m liminal_assets.serving.endpoints --config service.json --port 8080

An image gets this file by itself, so it needs uvicorn and nothing else, and runs on Python 3.7.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import logging
import os
import socket
import sys
import time
import traceback
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Tuple  # noqa: UP035

__all__ = [
    "HEALTH",
    "READY",
    "EndpointApp",
    "NoFunctionError",
    "call_function",
    "load_endpoints",
    "main",
    "response_of",
    "takes_body",
]

HEALTH, READY = "/.liminal/healthz", "/.liminal/readyz"
"""Where the server tells how it is, whatever the user's endpoints are called; at ``/healthz`` and
``/readyz`` too, where they leave these free."""

_log = logging.getLogger("liminal.endpoints")

Headers = List[Tuple[bytes, bytes]]  # noqa: UP006
Endpoint = Callable[..., Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_TEXT = "text/html; charset=utf-8"
"""What Flask says of a string."""
_JSON = "application/json"
_BYTES = "application/octet-stream"
_PLAIN = "text/plain; charset=utf-8"
_WAITING = 256
"""Requests that may wait for a thread; more are told to come again."""


class Response:
    """Status, headers and body of an answer."""

    def __init__(self, status: int, body: bytes = b"", kind: str = _PLAIN) -> None:
        self.status = status
        self.body = body
        self.headers: Dict[str, str] = {"content-type": kind} if body else {}  # noqa: UP006

    async def send(self, send: Send, *, with_body: bool) -> None:
        """Sends it, for HEAD without the body."""
        headers: Headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in self.headers.items()
        ]
        if self.status != 204:
            headers.append((b"content-length", str(len(self.body)).encode()))
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body if with_body else b""})


class EndpointApp:
    """An ASGI application that calls a function for each path.

    A function gets the body as bytes, or nothing if it has no parameters. What it returns is the
    answer: text, bytes, anything that is JSON, or ``(answer, status)``, ``(answer, headers)``,
    ``(answer, status, headers)``; None is 204. An exception is 500, and in the log.

    Args:
        endpoints: the functions by path.
        threads: how many of them run at once; a coroutine function needs none.
        max_body_mb: the largest body of a request.
    """

    def __init__(
        self, endpoints: Mapping[str, Endpoint], *, threads: int = 8, max_body_mb: float = 16
    ) -> None:
        self._endpoints = dict(endpoints)
        self._takes_body = {path: takes_body(function) for path, function in endpoints.items()}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="endpoint")
        self._most = threads + _WAITING
        self._under_way = 0
        self._max_bytes = int(max_body_mb * 2**20)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            raise RuntimeError(f"there is no answer to {scope['type']}")
        began = time.perf_counter()
        path, method = str(scope["path"]), str(scope["method"])
        response, told = await self._respond(path, method, scope, receive)
        if response is None:
            return
        await response.send(send, with_body=method != "HEAD")
        if told:
            milliseconds = (time.perf_counter() - began) * 1000
            _log.info("%s %s %d %.1f ms", method, path, response.status, milliseconds)

    async def _respond(
        self, path: str, method: str, scope: Mapping[str, Any], receive: Receive
    ) -> Tuple[Response | None, bool]:  # noqa: UP006
        """The answer, None if nobody waits for it; and whether the log tells of it."""
        function = self._endpoints.get(path)
        if function is None:
            if path in (HEALTH, READY, "/healthz", "/readyz"):
                return Response(200, b"ok"), False
            if path == "/favicon.ico":
                return Response(204), False
            return Response(404, b"Page not found."), True
        if method not in ("GET", "HEAD", "POST"):
            status = 204 if method == "OPTIONS" else 405
            response = Response(status, b"" if status == 204 else b"GET and POST only.")
            response.headers["allow"] = "GET, HEAD, OPTIONS, POST"
            return response, True
        if self._under_way >= self._most:
            response = Response(503, b"Too many requests are waiting.")
            response.headers["retry-after"] = "1"
            return response, True
        self._under_way += 1
        try:
            body = await _body(scope, receive, self._max_bytes)
            if body is None:
                return None, False
            return await self._answer(path, function, body), True
        except _TooLargeError:
            limit = f"{self._max_bytes / 2**20:.3g} MiB"
            return Response(413, f"The body is larger than {limit}.".encode()), True
        finally:
            self._under_way -= 1

    async def _answer(self, path: str, function: Endpoint, body: bytes) -> Response:
        arguments = (body,) if self._takes_body[path] else ()
        try:
            if inspect.iscoroutinefunction(function):
                said = await function(*arguments)
            else:
                loop = asyncio.get_running_loop()
                said = await loop.run_in_executor(self._pool, call_function, function, arguments)
            return response_of(said)
        except Exception:
            incident = uuid.uuid4().hex[:12]
            _log.exception("%s failed (incident %s)", path, incident)
            text = f"The endpoint failed; the server's log says why under incident {incident}."
            return Response(500, text.encode())


def call_function(function: Endpoint, arguments: Tuple[Any, ...]) -> Any:  # noqa: UP006
    """What a function returns.

    Raises:
        RuntimeError: it tried to end the process.
    """
    try:
        return function(*arguments)
    except SystemExit as leaving:
        # one request doesn't end the server
        raise RuntimeError(f"the endpoint tried to end the server: {leaving}") from leaving


def response_of(said: Any) -> Response:
    """The answer that a function's result makes.

    Raises:
        TypeError: there is no way to send it.
    """
    if isinstance(said, tuple) and 2 <= len(said) <= 3:
        response = response_of(said[0])
        for extra in said[1:]:
            if isinstance(extra, int) and 100 <= extra <= 599:
                response.status = int(extra)
            elif isinstance(extra, dict):
                # a name counts once, however it is written
                named = {str(name).lower(): str(value) for name, value in extra.items()}
                response.headers.update(named)
            else:
                raise TypeError(f"{extra!r} is neither a status nor headers")
        if response.status == 204:
            response.body = b""
        return response
    if isinstance(said, BaseException):
        raise said
    if said is None:
        return Response(204)
    if isinstance(said, str):
        return Response(200, said.encode(), _TEXT)
    if isinstance(said, (bytes, bytearray, memoryview)):
        return Response(200, bytes(said), _BYTES)
    return Response(200, json.dumps(said, ensure_ascii=False).encode(), _JSON)


def takes_body(function: Endpoint) -> bool:
    """Whether a function can be called with one argument."""
    try:
        inspect.signature(function).bind(b"")
    except TypeError:
        return False
    except ValueError:  # of a function written in C nothing may be known
        return True
    return True


class _TooLargeError(Exception):
    """A body is larger than it may be."""


class NoFunctionError(Exception):
    """A module hasn't got the function of an endpoint."""


async def _body(scope: Mapping[str, Any], receive: Receive, limit: int) -> bytes | None:
    """The body of a request; None if the client went away."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 18 or int(value) > limit):
            raise _TooLargeError
    parts: List[bytes] = []  # noqa: UP006
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _TooLargeError
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def load_endpoints(config: Mapping[str, Any]) -> Dict[str, Endpoint]:  # noqa: UP006
    """The functions that a configuration names, by path.

    Raises:
        NoFunctionError: a module has no such function.
    """
    endpoints: Dict[str, Endpoint] = {}  # noqa: UP006
    for entry in config.get("endpoints", ()):
        module = importlib.import_module(entry["module"])
        function = getattr(module, entry["function"], None)
        if not callable(function):
            at = getattr(module, "__file__", None) or module.__name__
            raise NoFunctionError(
                f"endpoint {entry['endpoint']}: {at} has no function {entry['function']!r}"
            )
        endpoints["/" + entry["endpoint"].lstrip("/")] = function
    return endpoints


def main(arguments: List[str] | None = None) -> int:  # noqa: UP006
    """Serves the endpoints of a configuration until SIGTERM or Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(description="Serve functions as endpoints.")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("service.json"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 80))
    parser.add_argument("--packages", help="a folder in which uvicorn is looked for last")
    parser.add_argument("--check-health", action="store_true", help="ask one that runs")
    said = parser.parse_args(arguments)
    if said.check_health:
        return _check_health(said.port)
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    config = json.loads(said.config.read_text())
    _find_modules(Path.cwd())
    try:
        endpoints = load_endpoints(config)
    except NoFunctionError as error:
        _log.error("%s", error.args[0])
        return 1
    except Exception as error:
        _log.error("the endpoints can't be imported from %s\n%s", Path.cwd(), _told(error))
        return 1
    if said.packages:
        sys.path.append(said.packages)
    return _serve(EndpointApp(endpoints, **config.get("server", {})), said.host, said.port)


def _told(error: Exception) -> str:
    """A traceback without the frames of imports and of this file."""
    told = traceback.TracebackException.from_exception(error)
    frames = [
        frame
        for frame in told.stack
        if not frame.filename.startswith("<frozen ")
        and frame.filename not in (__file__, importlib.__file__)
    ]
    told.stack = traceback.StackSummary.from_list(frames)
    return "".join(told.format()).rstrip()


def _find_modules(folder: Path) -> None:
    """Has modules looked for in the folder of the user's code, not in that of this file."""
    own = str(Path(__file__).resolve().parent)
    sys.path[:] = [str(folder), *(path for path in sys.path if path != own)]


def _serve(app: EndpointApp, host: str, port: int) -> int:
    import uvicorn

    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(2048)
    except OSError as error:
        _log.error("port %d of %s can't be used: %s; PORT chooses another", port, host, error)
        return 1
    _log.info("%d endpoints at port %d", len(app._endpoints), bound.getsockname()[1])
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    uvicorn.Server(config).run(sockets=[bound])
    return 0


def _check_health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{HEALTH}", timeout=4):
            return 0
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
