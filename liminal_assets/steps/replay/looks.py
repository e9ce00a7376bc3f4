"""Looks at windows of the past with the code that looks at windows live."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from statistics import median
from typing import Any

from liminal_assets.language.monitors import Monitor, Performance
from liminal_assets.steps.counting import USUAL_WINDOWS
from liminal_assets.steps.monitor import observe
from liminal_assets.steps.observation import Observation
from liminal_assets.steps.performance import answered
from liminal_assets.steps.replay.candidates import Candidates, Learned
from liminal_assets.steps.windows import WatchedRows

__all__ = ["Looks"]

_MEASURED = {"min_rows", "quality", "drift", "performance", "slices", "kpis", "alarms"}
"""What a monitor says that an observation depends on."""
_BOUNDS = {
    "drift": {"threshold", "slice_threshold"},
    "performance": {"at_least", "at_most", "slice_at_least", "slice_at_most"},
}
"""What it says of that which nothing is measured by."""


class Looks:
    """Observations, each made once.

    Args:
        candidates: the models that answer.
    """

    def __init__(self, candidates: Candidates) -> None:
        self._candidates, self._past = candidates, candidates.past
        self._seen: dict[tuple[Any, ...], Observation] = {}
        self._scores: dict[tuple[int, int], tuple[int, float | None]] = {}

    def observe(
        self,
        monitor: Monitor,
        learned: Learned,
        place: int,
        at: datetime,
        previous: Learned | None = None,
    ) -> Observation:
        """What a monitor measures in a window that a model scored, at a moment.

        Args:
            previous: the model that scored the window before; None where nothing was scored.
        """
        if not (monitor.drift and monitor.drift.reference == "previous"):
            previous = None
        # calibration looks at which thresholds are given; otherwise they change no measure
        bounds = None if monitor.alarms else _BOUNDS
        settings = monitor.model_dump_json(include=_MEASURED, exclude=bounds)
        key = (
            settings,
            learned.id,
            place,
            self._past.truth.count(place, at),
            previous.id if previous else None,
        )
        if key not in self._seen:
            watched = self._watched(monitor, learned, place, at, previous)
            self._seen[key] = observe(self._past.isolated, monitor, watched)
        seen = self._seen[key]
        if seen.drift is None or monitor.drift is None or monitor.alarms:
            return seen
        return replace(seen, drift=seen.drift.held_to(monitor.drift))

    def realised(self, learned: Learned, place: int) -> tuple[int, float | None]:
        """The labelled rows of a window and the metric over them, with every label that is known
        by now; None where the rows don't define it."""
        key = (learned.id, place)
        if key not in self._scores:
            monitor = self._past.monitor
            watched = self._watched(monitor, learned, place, None, None)
            found = answered(self._past.isolated, monitor, _performance(monitor), watched)
            labelled, score = found.score() if found else (0, None)
            known = None if score is None or math.isnan(score) else score
            self._scores[key] = (labelled, known)
        return self._scores[key]

    def _watched(
        self,
        monitor: Monitor,
        learned: Learned,
        place: int,
        at: datetime | None,
        previous: Learned | None,
    ) -> WatchedRows:
        past, candidates = self._past, self._candidates
        training = candidates.reference(learned)
        watched = WatchedRows(
            past.windows[place],
            candidates.scores(learned, place),
            str(learned.id),
            reference=training,
            reference_name="the training rows",
            labels=past.truth.labels(place, at),
            training=training,
            usual_rows=self._usual_rows(place) if monitor.quality else None,
            served=past.deployment.batch is None,
        )
        if monitor.drift and monitor.drift.reference == "previous":
            name, earlier = "there is no window before this one", past.before(place)
            if previous is None or earlier is None:
                return replace(watched, reference=None, reference_name=name)
            before, name = candidates.scores(previous, earlier), past.windows[earlier].key
            return replace(watched, reference=before, reference_name=f"the rows of {name}")
        return watched

    def _usual_rows(self, place: int) -> float | None:
        counts: list[int] = []
        earlier = self._past.before(place)
        while earlier is not None and len(counts) < USUAL_WINDOWS:
            counts.append(self._past.counts[earlier])
            earlier = self._past.before(earlier)
        return float(median(counts)) if counts else None


def _performance(monitor: Monitor) -> Performance:
    """The monitor's section with labels, which :class:`Past` has checked."""
    assert monitor.performance is not None  # noqa: S101
    return monitor.performance
