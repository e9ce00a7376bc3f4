"""Paths as data: what answers them, and how each says that it can't."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.messages import Message, Response
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.signature import Signature

__all__ = [
    "Called",
    "Page",
    "Refusal",
    "Request",
    "Route",
    "Router",
    "Scoring",
    "Single",
    "other_method",
]

Refusal = Callable[[RequestError, "str | None"], Response]
"""The form in which a protocol says why it can't answer; and the version that answers now."""

_BULK = (b"application/vnd.apache.arrow", b"application/vnd.apache.parquet", b"text/csv")
"""Contents whose readers are imported on first use."""


class Request:
    """One request, its body read.

    Attributes:
        headers: names in lower case, and values.
        variables: the parts of the path that the route names.
        requested_at: seconds since 1970.
        bulk: whether a thread should answer, however small the body is.
        encoded: whether the body says that it is compressed.
    """

    __slots__ = ("body", "bulk", "encoded", "headers", "path", "requested_at", "variables")

    def __init__(
        self,
        scope: Message,
        body: bytes = b"",
        variables: Mapping[str, str] | None = None,
        requested_at: float = 0.0,
    ) -> None:
        self.path: str = scope["path"]
        self.headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        self.body = body
        self.variables = variables or {}
        self.requested_at = requested_at
        self.bulk = self.encoded = False
        for name, value in self.headers:
            if name == b"content-type":
                self.bulk = self.bulk or value.startswith(_BULK)
            elif name == b"accept" and (_BULK[0] in value or value.startswith(_BULK)):
                self.bulk = True
            elif name == b"content-encoding":
                self.encoded = True

    def header(self, name: bytes) -> bytes:
        """The value of a header; empty without it."""
        for own, value in self.headers:
            if own == name:
                return value
        return b""


@dataclass(frozen=True)
class Route:
    """A path. ``{name}`` stands for one part of it."""

    path: str
    refusal: Refusal

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """What the path looks like, where it has parts that vary."""
        if "{" not in self.path:
            return None
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path)))


@dataclass(frozen=True)
class Page(Route):
    """What the server tells of itself, at once."""

    answer: Callable[[Request], Response]
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(frozen=True)
class Single:
    """A question about one row, where something else asks the model.

    Attributes:
        read: the checked values in the order of the signature; None: it isn't about one row, or
            not as it should be.
        write: what the request is answered, from these values, what the model says and when it was
            asked (seconds since 1970).
    """

    read: Callable[[ServedModel, Request], list[Any] | None]
    write: Callable[[ServedModel, Request, list[Any], dict[str, Any], float], Response]


@dataclass(frozen=True)
class Scoring(Route):
    """A question to a version of the model; large or slow ones are answered in a thread.

    Attributes:
        counted: whether it is for a version, which a rollout may choose and is judged by. Others
            are told the one that answers usually.
        fields: what a row of the request says, where that isn't what the model takes.
        choose: the version that a request names; without it, or if it names none, the request goes
            where traffic goes.
        single: how a request for one row is read and answered apart from asking the model.
    """

    answer: Callable[[ServedModel, Request], Response]
    methods: tuple[str, ...] = field(default=("POST",))
    counted: bool = True
    choose: Callable[[Request], ServedModel | None] | None = None
    single: Single | None = None
    fields: Callable[[ServedModel], Signature] | None = None


@dataclass(frozen=True)
class Called(Route):
    """A function of the user's, which gets the body and is no part of a model.

    Attributes:
        summary: what it does, in one line.
    """

    answer: Callable[[bytes], Awaitable[Response]]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    summary: str = ""


class Router:
    """Finds the route of a path.

    Args:
        routes: a path once.
        refusal: how requests to unknown paths are refused; those below ``/v2`` as the first route
            there.

    Raises:
        StepError: two are at one path.
    """

    def __init__(self, routes: Iterable[Page | Scoring | Called], refusal: Refusal) -> None:
        self.routes = tuple(routes)
        self._refusal = refusal
        paths = [route.path for route in self.routes]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise StepError(f"the server has {twice} already", hint="choose another path")
        self._exact = {route.path: route for route in self.routes if route.pattern is None}
        self._varying = [(route.pattern, route) for route in self.routes if route.pattern]

    def find(self, path: str) -> tuple[Page | Scoring | Called | None, Mapping[str, str]]:
        """The route of a path, if there is one, and its variable parts."""
        if route := self._exact.get(path):
            return route, {}
        for pattern, route in self._varying:
            if found := pattern.fullmatch(path):
                return route, found.groupdict()
        return None, {}

    def unknown(self, path: str) -> RequestError:
        """What to say of a path that there isn't: 404, with those that there are."""
        known = ", ".join(route.path for route in self.routes)
        return RequestError(404, "not_found", f"there is no {path[:200]}; there are {known}")

    def refusal(self, path: str) -> Refusal:
        """The form of refusals for a path, known or not."""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        for route in self.routes:
            if route.path.split("/", 2)[1] == first:
                return route.refusal
        return self._refusal


def other_method(method: str, methods: Sequence[str]) -> Response:
    """The answer to OPTIONS.

    Raises:
        RequestError: 405 for any other method.
    """
    allow = ", ".join([*methods, "OPTIONS"])
    if method != "OPTIONS":
        message = f"it answers {' and '.join(methods)} only"
        raise RequestError(405, "method_not_allowed", message, allow=allow)
    response = Response(204, b"")
    response.headers = [(b"allow", allow.encode())]
    return response
