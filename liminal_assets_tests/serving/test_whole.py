"""An answer in one write is what uvicorn would send of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liminal_assets.serving.messages import Response
from liminal_assets_tests.serving.wire import Wire, exchanged

REQUEST = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n"


async def asked(request: bytes, *, wrapped: bool) -> Wire:
    response = Response(200, b'{"a":1}', version="7")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def passed_on(message: Any) -> None:
            await send(message)

        await receive()
        await response.send(passed_on if wrapped else send)

    return await exchanged(app, [request])


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
        _head(200, ((b"x-model-version", b"1\r\nx: y"),), True)
