"""An answer in one write is what uvicorn would send of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from liminal_assets.serving.guards.connections import GuardedProtocol
from liminal_assets.serving.messages import Response

REQUEST = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def asked(request: bytes, *, wrapped: bool) -> Wire:
    response = Response(200, b'{"a":1}', version="7")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def passed_on(message: Any) -> None:
            await send(message)

        await receive()
        await response.send(passed_on if wrapped else send)

    config = uvicorn.Config(app, http=GuardedProtocol, lifespan="off", access_log=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    protocol, wire = GuardedProtocol(config, state, {}), Wire()
    protocol.connection_made(wire)
    protocol.data_received(request)
    while protocol.tasks:
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return wire


@pytest.mark.parametrize("end", [b"", b"connection: close\r\n"], ids=["kept", "closed"])
def test_it_is_written_at_once_as_uvicorn_writes_it(end: bytes) -> None:
    request = REQUEST + end + b"\r\n{}"
    one = asyncio.run(asked(request, wrapped=False))
    other = asyncio.run(asked(request, wrapped=True))
    assert b"".join(one.written) == b"".join(other.written)
    assert len(one.written) == 1
    assert len(other.written) == 2


def test_a_header_that_would_begin_another_is_refused() -> None:
    from liminal_assets.serving.whole import _head

    with pytest.raises(RuntimeError, match="header"):
        _head(((b"x-model-version", b"1\r\nx: y"),), True)
