"""What labels say of two versions, measured beside the controller, which waits for nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

from liminal_assets.errors import StepError
from liminal_assets.steps.side_by_side import SideBySide

__all__ = ["LabelWatch"]

_EVERY_SECONDS = 10.0
_SPARING = 20.0
"""It measures one part of so many of the time at most: a long log takes long to join."""

_log = logging.getLogger("liminal_assets.serving")

Pair = tuple[str, str, float]


class LabelWatch:
    """Measures in a thread, from time to time, and answers with what it found last.

    Args:
        measure: what labels say of a stable version and a candidate, of requests since a moment.
        every: the shortest time from one measurement to the next, in seconds.
    """

    def __init__(
        self,
        measure: Callable[[str, str, datetime], SideBySide | None],
        *,
        every: float = _EVERY_SECONDS,
    ) -> None:
        self._measure = measure
        self._every = every
        self._found: tuple[Pair, SideBySide | None] | None = None
        self._next = 0.0
        self._measured = False
        self._thread: threading.Thread | None = None

    def __call__(self, stable: str, candidate: str, began: float) -> SideBySide | None:
        """What was found last; None before the first measurement of two versions.

        Args:
            began: when their rollout began, in seconds since 1970.
        """
        pair = (stable, candidate, began)
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and time.monotonic() >= self._next:
            self._thread = threading.Thread(
                target=self._look, args=(pair,), name="labels", daemon=True
            )
            self._thread.start()
        found = self._found
        return found[1] if found is not None and found[0] == pair else None

    def _look(self, pair: Pair) -> None:
        started = time.monotonic()
        stable, candidate, began = pair
        try:
            since = datetime.fromtimestamp(began, timezone.utc)
            self._found = pair, self._measure(stable, candidate, since)
        except StepError as error:
            _log.warning("versions %s and %s can't be compared: %s", stable, candidate, error)
        except Exception:
            _log.exception("unexpected")
        # the first one imports what it measures with
        took = time.monotonic() - started if self._measured else 0.0
        self._measured = True
        self._next = time.monotonic() + max(self._every, took * _SPARING)
