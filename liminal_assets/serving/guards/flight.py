"""What is known of a request while it is under way, from its head to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards.auth import ANONYMOUS, Caller

__all__ = ["FLIGHT", "Flight"]


class Flight:
    """One request.

    Attributes:
        caller: who asks.
        held: bytes of its body that count for the limit of all.
        deadline: when it is given up, by the monotonic clock.
        failure: why it was given up.
        task: what answers it.
        version: the version that answers.
        named: whether the request itself names its version.
        rows: rows that were answered.
        prediction_id: the id of the answer.
        received: when the request was there whole, in seconds since 1970; 0 before.
        decoded: when its rows were read and not yet checked, where it has a span; 0 where both are
            one step.
        asked: when the model was asked.
        answered: when it had answered.
        encoded: when its answer was written, where it has a span and waits for the log; else 0.
        found: what stores that were asked before have of the rows' entities, by where they are.
        looked_up: when a store was asked, and when it had answered.
        stale: rows that were answered though what the store has of them is old.
        span: its span of a trace, where there is one.
    """

    # of the class until they are said: most are never said of a request
    caller: Caller = ANONYMOUS
    held: int = 0
    deadline: float = 0.0
    failure: RequestError | None = None
    task: asyncio.Task[Any] | None = None
    version: str | None = None
    named: bool = False
    rows: int = 0
    prediction_id: str | None = None
    received: float = 0.0
    asked: float = 0.0
    answered: float = 0.0
    decoded: float = 0.0
    encoded: float = 0.0
    span: Any = None
    looked_up: tuple[float, float] | None = None
    stale: int = 0

    def __init__(self) -> None:
        self.found: dict[Any, Mapping[str, tuple[int, str]]] = {}


FLIGHT: ContextVar[Flight | None] = ContextVar("FLIGHT", default=None)
"""The request that the code which runs now is for."""
