"""Connections of clients that send too slowly, too much, or too many of them.

uvicorn gives a kept connection 5 s for its next request, and bounds bodies by reading no further
than the application does. Heads it doesn't bound: that is added here.
"""

from __future__ import annotations

import math
import resource
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from liminal_assets.serving.config import WorkerConfig

__all__ = ["MOST_CONNECTIONS", "GuardedProtocol", "server_options"]

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
    """A connection whose heads are bounded in size and time; and there are only so many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_since: float | None = time.monotonic()
        """Since when a head is awaited that has begun, or that is the first one."""

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503)
        else:
            self.loop.call_later(_HEAD_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """It sent something."""
        super().data_received(data)
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
