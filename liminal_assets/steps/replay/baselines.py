"""What a policy is held against: never training again, a fixed cadence, and an oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from liminal_assets.language.alarm_rates import window_interval
from liminal_assets.language.base import write_duration
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import partitions_of
from liminal_assets.language.retraining import Retrain, Trigger
from liminal_assets.steps.replay.candidates import Candidates, Learned
from liminal_assets.steps.replay.looks import Looks
from liminal_assets.steps.replay.results import Action, ReplayStep

__all__ = ["MOST_MODELS", "cadences", "oracle", "oracle_places", "with_policy"]

MOST_MODELS = 24
"""The most models that a baseline trains: of more windows the oracle takes every other one."""
_CADENCES = {
    "week": timedelta(days=7),
    "month": timedelta(days=365.25 / 12),
    "quarter": timedelta(days=365.25 / 4),
    "year": timedelta(days=365.25),
}
_SHOWN_CADENCES = 2


def with_policy(monitor: Monitor, policy: Retrain) -> Monitor:
    """The monitor with another policy."""
    on_breach = monitor.on_breach.model_copy(update={"retrain": None, "cooldown": None})
    return monitor.model_copy(update={"retrain": policy, "on_breach": on_breach})


def cadences(
    project: Project, monitor: Monitor, model: str, windows: int
) -> Iterator[tuple[str, Monitor]]:
    """Fixed cadences by name: the two shortest that train at most :data:`MOST_MODELS` times."""
    length = window_interval(project, monitor)
    if length is None:
        return
    each = Trigger.model_validate(_each_window(project, monitor, length))
    found = [("every window", each, length)]
    found += [
        (f"every {name}", Trigger.model_validate({"every": name}), long)
        for name, long in _CADENCES.items()
        # a month is a month though February is shorter
        if long > length * 1.2
    ]
    fitting = [
        (name, trigger)
        for name, trigger, long in found
        if 1 <= windows * (length / long) <= MOST_MODELS
    ]
    for name, trigger in fitting[:_SHOWN_CADENCES]:
        yield name, with_policy(monitor, Retrain(model=model, when=(trigger,)))


def _each_window(project: Project, monitor: Monitor, length: timedelta) -> dict[str, object]:
    """What is due in every window."""
    cut = monitor.partitions
    if cut:
        # a month is one though February is shorter
        return {"every": write_duration(length) if cut.every == "hour" else cut.every}
    # windows that slide end wherever partitions do
    slides = monitor.name in project.blocks and partitions_of(project, monitor) is None
    return {"every": write_duration(length)} if slides else {"fresh": 1}


def oracle_places(places: Sequence[int]) -> list[int]:
    """The windows after which the oracle trains, evenly spread; none after the last."""
    able = list(places[:-1])
    every = -(-len(able) // MOST_MODELS) or 1
    return able[::every]


def oracle(
    candidates: Candidates, looks: Looks, first: Learned, places: Sequence[int], direction: int
) -> tuple[ReplayStep, ...]:
    """In each window the best of the models that could have been trained by then, chosen with
    hindsight: no policy can do better with these models, and none can know as much."""
    past, after = candidates.past, set(oracle_places(places))
    there = [first]
    steps: list[ReplayStep] = []
    for place in places:
        window = past.windows[place]
        assert window.until is not None  # noqa: S101  # windows of the past have ended
        scores = [(looks.realised(one, place), one) for one in there]
        known = [(score, -n) for n, ((_, score), _) in enumerate(scores) if score is not None]
        best = -max(((direction * score, n) for score, n in known), default=(0.0, 0))[1]
        (labelled, score), used = scores[best]
        actions: list[Action] = []
        if place in after:
            found = candidates.train(past.last_partition(window.until), window.until)
            if isinstance(found, Learned) and found not in there:
                there.append(found)
                actions.append(Action("promoted", len(there), "", found.rows, found.seconds))
        steps.append(
            ReplayStep(
                window,
                best + 1,
                used.end,
                labelled,
                score,
                trainings=tuple(actions),
            )
        )
    return tuple(steps)
