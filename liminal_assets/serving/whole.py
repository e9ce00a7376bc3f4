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

__all__ = ["cycle_of", "takes_whole", "write_whole"]


def cycle_of(send: Any) -> RequestResponseCycle | None:
    """What uvicorn answers a request with; None for another server, or something that wraps
    ``send``."""
    cycle = getattr(send, "__self__", None)
    return cycle if type(cycle) is RequestResponseCycle else None


def takes_whole(cycle: RequestResponseCycle) -> bool:
    """Whether an answer may be written past uvicorn's messages: not to a client that reads slowly,
    and not where uvicorn has an access log of its own."""
    return not (cycle.response_started or cycle.access_log or cycle.flow.write_paused)


def write_whole(
    cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> None:
    """Writes an answer; nothing to a client that went away.

    Args:
        headers: without ``connection`` and ``transfer-encoding``; with ``content-length``.
    """
    if cycle.disconnected:
        return
    # default headers are another list each second, for it says what time it is
    head = _head(status, (*cycle.default_headers, *headers), cycle.keep_alive)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(head + body)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


@lru_cache(maxsize=256)
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...], keep_alive: bool) -> bytes:
    lines = [STATUS_LINE[status]]
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise RuntimeError("Invalid HTTP header.")
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    return b"".join([*lines, b"\r\n"])
