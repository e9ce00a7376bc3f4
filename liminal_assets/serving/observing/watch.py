"""What is seen of requests from outside: counts, the access log, traces."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.guards.flight import Flight
from liminal_assets.serving.messages import Message, Response
from liminal_assets.serving.observing.access import AccessLog, Line
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.serving.observing.telemetry import Telemetry, trace_id

if TYPE_CHECKING:
    from liminal_assets.serving.app import ServingApp

__all__ = ["Watch"]

_REFRESH_SECONDS = 1.0
_TIDY_SECONDS = 30


class Watch:
    """Counts requests and writes about them.

    Args:
        metrics: what counts; by default for this process alone.
        access: the access log; without one nothing is written.
        telemetry: what makes traces; without it there are none.
    """

    def __init__(
        self,
        metrics: Metrics | None = None,
        access: AccessLog | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._access = access
        self._telemetry = telemetry
        self._ticking: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, config: WorkerConfig) -> Watch:
        """That of a worker.

        Raises:
            StepError: OpenTelemetry's SDK isn't installed, or the access log can't be opened.
        """
        try:
            access = AccessLog(config.access_log) if config.access_log else None
        except OSError as error:
            raise StepError(f"the access log can't be opened: {error}") from error
        return cls(
            Metrics(config.folders.metrics, besides=[config.folders.drift]),
            access,
            Telemetry(config.telemetry) if config.telemetry else None,
        )

    def start(self, app: ServingApp) -> None:
        """Begins to write, and to look at the rest of the server once a second."""
        if self._access is not None:
            self._access.start()
        self.metrics.watch(lambda: self._look(app))
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def close(self) -> None:
        """Writes and sends what waits."""
        with suppress(OSError):
            self.metrics.refresh()
        if self._access is not None:
            self._access.close()
        if self._telemetry is not None:
            self._telemetry.close()

    def begin(self, flight: Flight, scope: Message, route: str) -> None:
        """A request is there."""
        if self._telemetry is not None:
            self._telemetry.begin(flight, scope, route)

    def gone(self, flight: Flight) -> None:
        """Its client went away."""
        if flight.span is not None:
            flight.span.end()

    def end(self, flight: Flight, response: Response, code: str | None) -> None:
        """Its answer is ready.

        Args:
            code: why it was refused or failed.
        """
        if code is not None:
            self.metrics.refused(code)
            if flight.version is not None:
                version = self.metrics.version(flight.version)
                (version.failed if response.status >= 500 else version.refused)()
        if flight.span is not None and self._telemetry is not None:
            self._telemetry.end(flight, response, time.time())

    def sent(
        self, flight: Flight, scope: Message, response: Response, code: str | None, started: float
    ) -> None:
        """Its answer was sent."""
        if self._access is None or not self._access.wants(response.status):
            return
        client = scope.get("client")
        self._access.add(
            Line(
                time=round(started, 6),
                method=scope["method"],
                path=scope["path"],
                status=response.status,
                ms=round((time.time() - started) * 1e3, 3),
                bytes=len(response.body),
                rows=flight.rows,
                version=flight.version,
                prediction_id=flight.prediction_id,
                code=code,
                caller=flight.caller.name,
                client=client[0] if client else "",
                trace_id=trace_id(flight.span),
            )
        )

    async def _tick(self) -> None:
        for second in itertools.count():
            with suppress(OSError):
                self.metrics.refresh()
                if second % _TIDY_SECONDS == 0:
                    self.metrics.tidy()
            await asyncio.sleep(_REFRESH_SECONDS)

    def _look(self, app: ServingApp) -> None:
        metrics = self.metrics
        metrics.under_way.set(app.guard.under_way)
        if self._access is not None:
            dropped = metrics.gauge("liminal_access_log_dropped_lines", _DROPPED)
            dropped.set(self._access.dropped)
        if app.log is not None:
            state: Any = app.log.state
            for name in ("waiting", "written", "lost"):
                metrics.gauge("liminal_prediction_log_rows", _LOGGED, state=name).set(
                    getattr(state, name)
                )
        model = app.live.state.model
        if model is not None:
            said = {"model": model.name, "version": model.version, "run_id": model.run_id or ""}
            metrics.only_gauge("liminal_model_info", _MODEL, **said)


_LOGGED = "Rows of the prediction log: waiting in memory, written and lost by the live workers."
_DROPPED = "Lines that the access log couldn't take."
_MODEL = "1 for the version that answers."
