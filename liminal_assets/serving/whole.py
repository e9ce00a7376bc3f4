"""A whole answer in one write, where uvicorn itself is asked to send it.

uvicorn takes an answer as two messages, looks at every header with two regular expressions and
writes twice: a fifth of what a small request costs. An answer that is there whole needs none of
that; its head is made once for all that are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

__all__ = ["write_whole"]

_OK = 200


def write_whole(send: Any, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Writes an answer with status 200.

    Args:
        send: what the application was given.
        headers: without ``connection`` and ``transfer-encoding``; with ``content-length``.

    Returns:
        Whether it did. Not for another server, for something that wraps ``send``, or a client that
        reads slowly: they get messages.
    """
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle:
        return False
    if cycle.response_started or cycle.access_log or cycle.flow.write_paused:
        return False
    if cycle.disconnected:
        return True
    # default headers are another list each second, for it says what time it is
    head = _head((*cycle.default_headers, *headers), cycle.keep_alive)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(head + body)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


@lru_cache(maxsize=256)
def _head(headers: tuple[tuple[bytes, bytes], ...], keep_alive: bool) -> bytes:
    lines = [STATUS_LINE[_OK]]
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise RuntimeError("Invalid HTTP header.")
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    return b"".join([*lines, b"\r\n"])
