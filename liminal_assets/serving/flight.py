"""What is known of a request while it is under way, from its head to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from liminal_assets.serving.auth import ANONYMOUS, Caller
from liminal_assets.serving.errors import RequestError

__all__ = ["FLIGHT", "Flight"]


class Flight:
    """One request.

    Attributes:
        caller: who asks.
        held: bytes of its body that count for the limit of all.
        deadline: when it is given up, by the clock of the event loop.
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

    __slots__ = (
        "answered",
        "asked",
        "caller",
        "deadline",
        "decoded",
        "encoded",
        "failure",
        "found",
        "held",
        "looked_up",
        "named",
        "prediction_id",
        "received",
        "rows",
        "span",
        "stale",
        "task",
        "version",
    )

    def __init__(self) -> None:
        self.caller: Caller = ANONYMOUS
        self.held = 0
        self.deadline = 0.0
        self.failure: RequestError | None = None
        self.task: asyncio.Task[Any] | None = None
        self.version: str | None = None
        self.named = False
        self.rows = 0
        self.prediction_id: str | None = None
        self.received = self.asked = self.answered = 0.0
        self.decoded = self.encoded = 0.0
        self.span: Any = None
        self.found: dict[Any, Mapping[str, tuple[int, str]]] = {}
        self.looked_up: tuple[float, float] | None = None
        self.stale = 0


FLIGHT: ContextVar[Flight | None] = ContextVar("FLIGHT", default=None)
"""The request that the code which runs now is for."""
