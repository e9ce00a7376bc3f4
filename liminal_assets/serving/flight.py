"""What is known of a request while it is under way, from its head to its answer."""

from __future__ import annotations

import asyncio
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
        asked: when the model was asked.
        answered: when it had answered.
        span: its span of a trace, where there is one.
    """

    __slots__ = (
        "answered",
        "asked",
        "caller",
        "deadline",
        "failure",
        "held",
        "named",
        "prediction_id",
        "received",
        "rows",
        "span",
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
        self.span: Any = None


FLIGHT: ContextVar[Flight | None] = ContextVar("FLIGHT", default=None)
"""The request that the code which runs now is for."""
