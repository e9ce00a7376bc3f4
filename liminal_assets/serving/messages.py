"""HTTP over ASGI: bodies within a limit, and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.whole import cycle_of, takes_whole, write_whole

__all__ = [
    "HTML",
    "JSON",
    "DisconnectedError",
    "Message",
    "Receive",
    "Response",
    "Send",
    "WriteWhole",
    "read_body",
]

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
WriteWhole = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], None]
"""Writes status, headers and body of an answer at once."""

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"


_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""An answer is what its type says, and is nobody else's."""
_JSON_HEADERS = ((b"content-type", JSON), *_ALWAYS)


class DisconnectedError(Exception):
    """The client went away before its request was complete."""


class Response:
    """Status, headers and body of one answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes, *, version: str | None = None, kind: bytes = JSON
    ) -> None:
        self.status = status
        self.body = body
        length = (b"content-length", b"%d" % len(body))
        self.headers = [
            length,
            *(_JSON_HEADERS if kind is JSON else ((b"content-type", kind), *_ALWAYS)),
        ]
        if version is not None:
            self.headers.append((b"x-model-version", version.encode("latin-1", "replace")))

    @classmethod
    def of(cls, said: Any, status: int = 200) -> Response:
        """A value as JSON."""
        return cls(status, msgspec.json.encode(said))

    @classmethod
    def refused(
        cls, error: RequestError, said: Any, version: str | None, *, status: int | None = None
    ) -> Response:
        """Why a request can't be answered, as a protocol says it."""
        body = msgspec.json.encode(said)
        return cls(status or error.status, body, version=version)

    def explain(self, error: RequestError) -> None:
        """The headers that go with a refusal, in whichever form a protocol writes it."""
        said = {"retry-after": "1"} if error.status == 503 else {}
        if error.allow:
            said["allow"] = error.allow
        for name, value in {**said, **error.headers}.items():
            self.headers.append((name.encode(), value.encode("latin-1", "replace")))

    @classmethod
    def refusal(cls, error: RequestError, version: str | None) -> Response:
        """Why a request can't be answered, as this server says it."""
        return cls.refused(error, {"error": error.as_dict(), "model_version": version}, version)

    async def send(self, send: Send, *, body: bool = True) -> None:
        """Sends it; without the body for HEAD."""
        cycle = cycle_of(send)
        if body and self.status == 200 and cycle is not None and takes_whole(cycle):
            write_whole(cycle, self.status, self.headers, self.body)
            return
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body if body else b""})


async def read_body(
    scope: Message, receive: Receive, limit: int, hold: Callable[[int], None]
) -> bytes:
    """The body of a request.

    Args:
        hold: is told of the bytes of a large body as they come, and may refuse them.

    Raises:
        RequestError: 413 as soon as it is known to be too large, 415 if it is compressed, and what
            ``hold`` raises.
        DisconnectedError: the client went away.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
        if name == b"content-encoding" and value.lower() not in _UNCHANGED:
            raise _encoded(value)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            hold(len(part))
            parts.append(part)
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise DisconnectedError
    if len(body) > limit:
        raise _too_large(limit)
    return body


_UNCHANGED = (b"", b"identity")


def _encoded(how: bytes) -> RequestError:
    """What a few bytes would unpack to isn't known before."""
    message = (
        f"a body in content-encoding {how.decode('latin-1')[:50]!r} isn't read: send it as it is"
    )
    return RequestError(415, "encoded_body", message, headers={"accept-encoding": "identity"})


def _too_large(limit: int) -> RequestError:
    return RequestError(
        413, "body_too_large", f"the body is larger than {limit / 1024 / 1024:.3g} MiB"
    )
