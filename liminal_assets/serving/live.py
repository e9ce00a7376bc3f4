"""Which version answers now, and how the next one takes over.

The next version is loaded and asked beside the one that answers; then one assignment makes it the
one that later requests see. A request keeps the version that it began with.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

from liminal_assets.errors import StepError
from liminal_assets.serving.model import ServedModel

__all__ = ["LiveModel", "ModelSource", "State"]

_RETRY_SECONDS = 30.0
"""After this time a version that couldn't be loaded is tried again."""

_log = logging.getLogger("liminal_assets.serving")


class ModelSource(Protocol):
    """Where versions come from."""

    def newest(self) -> str | None:
        """The version that should answer, cheaply; None while there is none.

        Raises:
            StepError: it can't be told now.
        """

    def load(self, version: str) -> ServedModel:
        """That version, in memory and asked once.

        Raises:
            StepError: it can't be loaded, or doesn't answer.
        """

    def waiting_for(self) -> str:
        """What to say while there is no version."""


@dataclass(frozen=True)
class State:
    """What a server knows of its model at one moment.

    Attributes:
        model: the version that answers; None before the first.
        wanted: the version that should answer.
        problem: why they differ, or why it isn't known what should answer.
    """

    model: ServedModel | None = None
    wanted: str | None = None
    problem: str | None = None


class LiveModel:
    """The version that answers, kept up to date by a thread.

    Args:
        source: where versions come from.
        every: seconds between two looks at the source.
    """

    def __init__(self, source: ModelSource, every: float = 2.0) -> None:
        self.state = State(problem="the model is being loaded")
        self._source = source
        self._every = every
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: tuple[str, float] | None = None

    @classmethod
    def fixed(cls, model: ServedModel) -> LiveModel:
        """One version for ever."""
        live = cls(_Fixed(model))
        live.refresh()
        return live

    def start(self) -> None:
        """Begins to watch the source."""
        if self._thread is None and not isinstance(self._source, _Fixed):
            self._thread = threading.Thread(target=self._watch, name="live-model", daemon=True)
            self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stops watching; the version stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def refresh(self) -> State:
        """Looks once whether another version should answer, and lets it."""
        before = self.state
        try:
            wanted = self._source.newest()
        except Exception as error:
            # whatever it is, the version that answers goes on, and the next look may succeed
            problem = f"the registry can't be read: {_said(error)}"
            return self._settle(replace(before, problem=problem))
        if wanted is None:
            return self._settle(replace(before, wanted=None, problem=self._source.waiting_for()))
        if before.model is not None and before.model.version == wanted:
            return self._settle(replace(before, wanted=wanted, problem=None))
        if self._failed and self._failed[0] == wanted and time.monotonic() < self._failed[1]:
            return before
        try:
            model = self._source.load(wanted)
        except Exception as error:
            return self._keep(before, wanted, _said(error))
        self._failed = None
        return self._settle(State(model, wanted))

    def _keep(self, before: State, wanted: str, reason: str) -> State:
        self._failed = (wanted, time.monotonic() + _RETRY_SECONDS)
        stays = f"; version {before.model.version} stays" if before.model else ""
        problem = f"version {wanted} can't be loaded{stays}: {reason}"
        return self._settle(replace(before, wanted=wanted, problem=problem))

    def _settle(self, state: State) -> State:
        before, self.state = self.state, state
        if state.problem and state.problem != before.problem:
            _log.warning(state.problem)
        if state.model and state.model is not before.model:
            _log.info("version %s of %s answers", state.model.version, state.model.name)
        return state

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._every)


def _said(error: Exception) -> str:
    if isinstance(error, StepError):
        return str(error)
    _log.error("unexpected", exc_info=error)
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class _Fixed:
    model: ServedModel

    def newest(self) -> str:
        return self.model.version

    def load(self, version: str) -> ServedModel:
        return self.model

    def waiting_for(self) -> str:
        return ""
