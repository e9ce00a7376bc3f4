"""What keeps a server answering: who may ask, how much at once, and for how long."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from liminal_assets.serving.config import Limits, WorkerConfig
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards.auth import ANONYMOUS, Authenticator, Caller
from liminal_assets.serving.guards.flight import Flight
from liminal_assets.serving.messages import Message

__all__ = ["Guard", "Rates", "given_up"]

_SWEEP_SECONDS = 0.25
"""How late a request may be given up: one look at all is cheaper than a timer each."""

_GRPC = "/inference.GRPCInferenceService"
_HEALTH = (
    *("/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"),
    *(f"{_GRPC}/ServerLive", f"{_GRPC}/ServerReady"),
)
"""What asks whether the server is there: neither key nor rate."""
_PAGES: Mapping[str, tuple[str, ...]] = {
    "metrics": ("/metrics",),
    "docs": ("/docs", "/openapi.json"),
}


class Guard:
    """Lets requests in, and gives up on those that take too long.

    Args:
        limits: how much at once, and for how long.
        authenticator: who may ask; without one anyone may.
    """

    def __init__(
        self, limits: Limits | None = None, authenticator: Authenticator | None = None
    ) -> None:
        self.limits = limits = limits or Limits()
        self.authenticator = authenticator
        self._rates = Rates(limits.rate, limits.burst) if limits.rate else None
        self._under_way: dict[Flight, None] = {}
        self._held = 0
        self._most_held = int(limits.bodies_mb * 1024 * 1024)
        self._sweeper: asyncio.Task[None] | None = None
        public = authenticator.config.public if authenticator else ()
        self.public = frozenset([*_HEALTH, *(path for name in public for path in _PAGES[name])])
        """The paths that need neither key nor rate."""

    @classmethod
    def of(cls, config: WorkerConfig) -> Guard:
        """That of a worker.

        Raises:
            StepError: keys can't be read.
        """
        return cls(config.limits, Authenticator(config.auth) if config.auth else None)

    @property
    def under_way(self) -> int:
        """Requests that are being answered."""
        return len(self._under_way)

    def start(self) -> None:
        """Begins to give up on requests; in the event loop that answers."""
        if self.authenticator is not None:
            self.authenticator.start()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def stop(self) -> None:
        """Ends that."""
        if self.authenticator is not None:
            self.authenticator.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def identify(self, scope: Message) -> Caller:
        """Who asks.

        Raises:
            RequestError: 401 or 403; 429 for who asks too often.
        """
        if self.authenticator is None or scope["path"] in self.public:
            caller = ANONYMOUS
        else:
            caller = self.authenticator.check(scope["headers"])
        if self._rates is not None and scope["path"] not in self.public:
            self._rates.admit(caller.name or _address(scope))
        return caller

    def admit(self, flight: Flight, scope: Message) -> None:
        """Looks whether a request may be answered now.

        Raises:
            RequestError: 401, 403 or 429 as :meth:`identify`, 503 while there are too many.
        """
        if self.authenticator is not None or self._rates is not None:
            flight.caller = self.identify(scope)
        if len(self._under_way) >= self.limits.under_way:
            raise _overloaded("too many requests are under way")

    def enter(self, flight: Flight, scope: Message) -> None:
        """Lets a request in; :meth:`leave` must follow.

        Raises:
            RequestError: as :meth:`admit`.
        """
        self.admit(flight, scope)
        flight.task = asyncio.current_task()
        flight.deadline = time.monotonic() + self.limits.timeout_seconds
        self._under_way[flight] = None

    def leave(self, flight: Flight) -> None:
        """The request needs nothing more."""
        self._under_way.pop(flight, None)
        if flight.held:
            self._held -= flight.held
            flight.held = 0

    def hold(self, flight: Flight, size: int) -> None:
        """More of a large body is there.

        Raises:
            RequestError: 503 while the bodies of all take too much memory.
        """
        if self._held + size > self._most_held:
            raise _overloaded("the bodies of the requests under way take too much memory")
        self._held += size
        flight.held += size

    def received(self, flight: Flight) -> None:
        """The request is there whole; from now on it is the model that takes time."""
        flight.deadline = time.monotonic() + self.limits.timeout_seconds

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for flight in [late for late in self._under_way if late.deadline < now]:
                if flight.failure is None and flight.task is not None:
                    flight.failure = self._too_late(flight)
                    flight.task.cancel()

    def _too_late(self, flight: Flight) -> RequestError:
        seconds = f"{self.limits.timeout_seconds:g} s"
        if not flight.received:
            message = f"the request wasn't complete after {seconds}"
            return RequestError(408, "slow_request", message, headers={"connection": "close"})
        return RequestError(504, "timeout", f"there was no answer after {seconds}")


def given_up(flight: Flight) -> RequestError | None:
    """Why a request was cancelled; None if that wasn't its guard."""
    if flight.failure is not None and flight.task is not None and sys.version_info >= (3, 11):
        with suppress(RuntimeError):
            flight.task.uncancel()
    return flight.failure


def _overloaded(message: str) -> RequestError:
    return RequestError(503, "overloaded", message, headers={"retry-after": "1"})


def _address(scope: Message) -> str:
    client = scope.get("client")
    return client[0] if client else ""


class Rates:
    """How often each caller asks: the generic cell rate algorithm (ITU-T I.371), one number each.

    Args:
        rate: requests a second.
        burst: requests at once after a pause.
        most: callers that are told apart.
    """

    def __init__(self, rate: float, burst: int, most: int = 10_000) -> None:
        self._step = 1.0 / rate
        self._ahead = (burst - 1) * self._step
        self._most = most
        self._free_at: dict[str, float] = {}

    def admit(self, caller: str) -> None:
        """Counts a request.

        Raises:
            RequestError: 429 with the seconds to wait.
        """
        now = time.monotonic()
        free_at = max(self._free_at.get(caller, 0.0), now)
        if free_at - now > self._ahead + 1e-9:
            wait = math.ceil(free_at - now - self._ahead)
            raise RequestError(
                429,
                "too_many_requests",
                f"more than {1 / self._step:g} requests a second",
                headers={"retry-after": str(max(1, wait))},
            )
        if caller not in self._free_at and len(self._free_at) >= self._most:
            self._free_at = {name: at for name, at in self._free_at.items() if at > now}
            if len(self._free_at) >= self._most:
                # more callers at once than are told apart: those known longest are forgotten
                self._free_at.pop(next(iter(self._free_at)))
        self._free_at[caller] = free_at + self._step
