"""A connection without a network: what a client sends goes in, what the server writes is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from liminal_assets.serving.guards.connections import GuardedProtocol

__all__ = ["Wire", "exchanged"]


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.tasks = 0
        """Requests that had a task of their own."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def exchanged(app: Any, parts: Iterable[bytes], *, hang_up: bool = True) -> Wire:
    """What the server writes on a connection on which these bytes come one after the other.

    Args:
        hang_up: whether the client goes when it has all answers.
    """
    config = uvicorn.Config(app, http=GuardedProtocol, lifespan="off", access_log=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    protocol, wire = GuardedProtocol(config, state, {}), Wire()
    protocol.connection_made(wire)
    for part in parts:
        if wire.closed:
            break
        protocol.data_received(part)
        wire.tasks += len(protocol.tasks)
        while protocol.tasks and (protocol.cycle is None or not protocol.cycle.more_body):
            await asyncio.sleep(0.001)
    if hang_up:
        protocol.connection_lost(None)
        while protocol.tasks:
            await asyncio.sleep(0.001)
    return wire
