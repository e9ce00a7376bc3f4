"""Connections: of clients that send too slowly, too much, or too many of them; and short ways.

uvicorn gives a kept connection 5 s for its next request, and bounds bodies by reading no further
than the application does. Heads it doesn't bound: that is added here. It makes a task of every
request; here an application may answer one that is whole without.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.messages import Message, WriteWhole
from liminal_assets.serving.whole import takes_whole, write_whole

__all__ = ["MOST_CONNECTIONS", "GuardedProtocol", "server_options"]

AtOnce = Callable[[Message, bytes, WriteWhole], bool]
"""Answers a request that is there whole, if nothing has to be waited for; else False."""

_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto")

_HEAD_BYTES = 65_536
"""The longest request line and headers together."""
_HEAD_SECONDS = 10.0
"""The longest that they may take to come."""
MOST_CONNECTIONS = max(1, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100))
"""Of one worker, which needs some open files besides."""


def server_options(config: WorkerConfig) -> dict[str, Any]:
    """What uvicorn is told of a worker's connections."""
    options: dict[str, Any] = {
        "http": GuardedProtocol,
        "server_header": False,
        "timeout_graceful_shutdown": math.ceil(config.drain_seconds),
    }
    if config.tls is not None:
        options["ssl_certfile"] = config.tls.cert
        options["ssl_keyfile"] = config.tls.key or None
    return options


_REFUSALS = {
    408: b"408 Request Timeout",
    431: b"431 Request Header Fields Too Large",
    503: b"503 Service Unavailable",
}


class GuardedProtocol(HttpToolsProtocol):
    """A connection whose heads are bounded in size and time; and there are only so many.

    Where the application has ``at_once`` (:meth:`ServingApp.at_once`), it is asked first about
    requests that are whole when they are read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_since: float | None = time.monotonic()
        """Since when a head is awaited that has begun, or that is the first one."""
        self._at_once: AtOnce | None = getattr(self.config.app, "at_once", None)
        self._reading = False
        self._due: tuple[RequestResponseCycle, Any] | None = None
        """A request that isn't being answered yet."""
        self._proxied = False
        """Whether the client may say for whom it asks."""

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        app = self.app
        if isinstance(app, ProxyHeadersMiddleware) and self.client is not None:
            self._proxied = self.client[0] in app.trusted_hosts
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503)
        else:
            self.loop.call_later(_HEAD_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """It sent something."""
        self._reading = True
        super().data_received(data)
        self._reading = False
        if self._due is not None:
            self._answer_due()
        if self._head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self._head_since = time.monotonic()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._head_since = None
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A request is to be answered: when all that has come is read, for then it may be whole."""
        self._due = cycle, app
        if not self._reading:
            self._answer_due()

    def _answer_due(self) -> None:
        """Answers requests that are whole at once, where the application can. A task for each would
        cost as much as all else that a small one needs."""
        self._reading = True
        while self._due is not None:
            (cycle, app), self._due = self._due, None
            if not self._answered(cycle, app):
                super()._start_asgi_task(cycle, app)
        self._reading = False

    def _answered(self, cycle: RequestResponseCycle, app: Any) -> bool:
        if self._at_once is None or cycle.more_body or app is not self.app:
            return False
        if cycle.waiting_for_100_continue or self.transport.is_closing() or not takes_whole(cycle):
            return False
        scope = cycle.scope
        if self._proxied and any(name in _FORWARDED for name, _ in scope["headers"]):
            # uvicorn puts what they say in the place of the client
            return False
        return self._at_once(scope, bytes(cycle.body), partial(write_whole, cycle))

    def _look(self) -> None:
        """One timer per connection: one per request would cost each of them."""
        if self.transport.is_closing():
            return
        if self._head_since is None:
            self.loop.call_later(_HEAD_SECONDS, self._look)
            return
        left = self._head_since + _HEAD_SECONDS - time.monotonic()
        if left > 0:
            self.loop.call_later(left, self._look)
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head % _REFUSALS[status])
        self.transport.close()
