"""Backtest: a monitor's policy replayed over the past, and what it would have gained.

>>> found = la.steps.backtest(project, "late_arrival_watch", grid=True)
>>> found.project.gain(found.never), found.best.name
>>> print(found.yaml())
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Retrain
from liminal_assets.language.writing import to_yaml
from liminal_assets.steps.replay.baselines import (
    cadences,
    oracle,
    oracle_places,
    with_policy,
)
from liminal_assets.steps.replay.candidates import Candidates, FailedTraining, Learned
from liminal_assets.steps.replay.grid import (
    Grid,
    GridError,
    Variant,
    best_of,
    default_grid,
    settings_of,
    variants,
)
from liminal_assets.steps.replay.looks import Looks
from liminal_assets.steps.replay.past import Past
from liminal_assets.steps.replay.policies import replay_policy
from liminal_assets.steps.replay.results import Replay, without_alike
from liminal_assets.steps.replay.truth import NothingToReplayError

__all__ = ["Backtest", "Grid", "GridError", "NothingToReplayError", "Progress", "backtest"]

Progress = Callable[[str, int, int], None]
"""Hears what is done next, how many pieces of work are done and how many there are about."""

_FIRST_SHARE = 0.25
"""The share of the windows that the first model learns from, unless a range is named."""


@dataclass(frozen=True)
class Backtest:
    """What a monitor's policy would have done, and others in its place.

    Attributes:
        project_name: the project.
        monitor: the monitor as the project has it.
        metric: the monitor's metric.
        first: the model that each replay begins with.
        project: the policy as the project has it.
        never: never training again: what gains are measured against.
        others: fixed cadences, then the grid.
        oracle: the best model of each window, chosen with hindsight.
        trainings: how many models were trained for all of this.
        known_at_once: whether labels were taken as known at once, for nothing says when they came.
    """

    project_name: str
    monitor: Monitor
    metric: str
    first: Learned
    project: Replay
    never: Replay
    others: tuple[Replay, ...]
    oracle: Replay
    trainings: int
    known_at_once: bool

    @property
    def replays(self) -> tuple[Replay, ...]:
        """All of them: the project's policy first, the oracle last."""
        return (self.project, self.never, *self.others, self.oracle)

    @property
    def policies(self) -> tuple[Replay, ...]:
        """Those that a monitor could have."""
        return (self.project, self.never, *self.others)

    @cached_property
    def ranked(self) -> Mapping[Replay, int]:
        """Those that differ, the largest gains first, and how many alike each stands for. The best
        stands for its like."""
        order = sorted(self.replays, key=lambda one: (one is not self.best, -one.gain(self.never)))
        counts = without_alike(order)
        return dict(sorted(counts.items(), key=lambda item: -item[0].gain(self.never)))

    @property
    def windows(self) -> tuple[str, ...]:
        """The windows replayed."""
        return tuple(step.window.key for step in self.never.steps)

    @cached_property
    def best(self) -> Replay:
        """The policy with the largest gain per row trained on, among those that reach half of the
        largest gain; of those alike the one with the fewest alerts."""
        return best_of(self.policies, self.never)

    def yaml(self, replay: Replay | None = None) -> str:
        """What to write into the project for a policy; default: the best."""
        chosen = replay or self.best
        return to_yaml({"monitors": [{"monitor": self.monitor.name, **chosen.settings}]})

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "project": self.project_name,
            "monitor": self.monitor.name,
            "metric": self.metric,
            "windows": list(self.windows),
            "first_model": {
                "learned_until": self.first.end.isoformat(),
                "rows": self.first.rows,
                "metrics": dict(self.first.metrics),
            },
            "trainings": self.trainings,
            "labels_known_at_once": self.known_at_once,
            "best": self.best.name,
            "yaml": self.yaml(),
            "replays": [
                {**replay.as_dict(), "gain": replay.gain(self.never)} for replay in self.replays
            ],
        }


def backtest(
    project: Project,
    monitor: Monitor | str,
    *,
    windows: tuple[str, str] | None = None,
    grid: Grid | bool = False,
    tune_always: bool = False,
    progress: Progress | None = None,
) -> Backtest:
    """Replays a monitor's policy over past windows, beside never training again, fixed cadences
    and an oracle.

    In each window, in order: the version in use scores it; the monitor judges it with the labels
    known by its end; the policy decides; a retraining learns from what was known and takes over
    if it passes ``validate``. The code is that of live runs. Nothing is written to the project's
    tables, registry, journals or searches.

    Args:
        monitor: the monitor or its name.
        windows: the first and the last window to replay; the first model learns from what is
            before. Default: it learns from the first quarter of the windows, or as many more as
            it needs to pass ``validate``.
        grid: policies to replay besides, values by parameter; True: some worth a look.
        tune_always: search for parameters (``tune``) in each training, as live runs do; otherwise
            the first model's are kept, which takes a fraction of the time.
        progress: hears how far it is.

    Raises:
        NothingToReplayError: there are no windows of the past, or no labels.
        GridError: the grid can't be.
        StepError: the first model can't be trained or doesn't pass, or something can't be
            measured.
    """
    block = project.blocks.get(monitor) if isinstance(monitor, str) else monitor
    if not isinstance(block, Monitor):
        names = [known.name for known in project.spec.monitors]
        raise NothingToReplayError(
            f"no monitor is called {monitor!r}",
            hint=did_you_mean(str(monitor), names) or f"there are {', '.join(names) or 'none'}",
        )
    with tempfile.TemporaryDirectory(prefix="liminal-backtest-") as folder:
        past = Past(project, block, Path(folder))
        return _Backtest(past, progress, tune_always=tune_always).run(windows, grid)


class _Backtest:
    """One backtest at work."""

    def __init__(self, past: Past, progress: Progress | None, *, tune_always: bool) -> None:
        self.past, self.monitor = past, past.monitor
        self.candidates = Candidates(past, self._tell, tune_always=tune_always)
        self.looks = Looks(self.candidates)
        self._progress = progress
        self._replayed, self._work = 0, 0
        performance = past.monitor.performance
        self.direction = 1 if performance and performance.at_least is not None else -1

    def run(self, windows: tuple[str, str] | None, grid: Grid | bool) -> Backtest:
        """Everything."""
        start, end = self._range(windows)
        policies = list(self._policies(grid, end - start))
        self._work = _pieces(policies, range(start, end))
        start, first = self._first(start, end, fixed=windows is not None)
        places = range(start, end)
        self._work = _pieces(policies, places)
        found = [self._replay(variant, kind, first, places) for variant, kind in policies]
        self._tell("the oracle")
        steps = oracle(self.candidates, self.looks, first, places, self.direction)
        best = Replay("oracle", "oracle", steps, self.direction)
        own, never, *others = found
        return Backtest(
            project_name=self.past.project.name,
            monitor=self.monitor,
            metric=self.monitor.performance.metric if self.monitor.performance else "",
            first=first,
            project=own,
            never=never,
            others=tuple(others),
            oracle=best,
            trainings=self.candidates.trainings,
            known_at_once=not self.past.truth.waits,
        )

    def _tell(self, said: str) -> None:
        if self._progress:
            self._progress(said, self._replayed + self.candidates.trainings, self._work)

    def _range(self, windows: tuple[str, str] | None) -> tuple[int, int]:
        """The places of the first window and of the one after the last."""
        there = [window.key for window in self.past.windows]
        if windows is None:
            start = max(1, round(len(there) * _FIRST_SHARE))
            if start >= len(there):
                raise NothingToReplayError(
                    f"one window, {there[0]}, is too little: the first model learns from what is "
                    "before the windows to replay",
                    location=self.past.project.locate(self.monitor),
                    hint=f"materialise more of {self.past.source}",
                )
            return start, len(there)
        # a window of served rows is called by the two ends of its period: the first is enough
        by_name = {key.partition("..")[0]: place for place, key in enumerate(there)}
        first, last = (by_name.get(name.partition("..")[0]) for name in windows)
        for key, place in zip(windows, (first, last), strict=True):
            if place is None:
                raise NothingToReplayError(
                    f"there is no window {key!r} to replay",
                    location=self.past.project.locate(self.monitor),
                    hint=did_you_mean(key, there) or f"there are {there[0]}..{there[-1]}",
                )
        if first is None or last is None or first > last:
            raise NothingToReplayError(f"{windows[0]} comes after {windows[1]}")
        return first, last + 1

    def _first(self, start: int, end: int, *, fixed: bool) -> tuple[int, Learned]:
        """The model to begin with, and the first window that it scores."""
        reasons = ""
        for place in range(start, start + 1 if fixed else end):
            at = self.past.windows[place].since
            assert at is not None  # noqa: S101  # windows of the past have a beginning
            until = self.past.last_partition(at)
            if self.past.cut_by_time and until is None:
                reasons = "there are no partitions before it to learn from"
                continue
            found = self.candidates.train(until, at)
            if isinstance(found, FailedTraining):
                reasons = found.message
                continue
            gate = self.candidates.gate(found, None)
            if gate.passed:
                return place, found
            reasons = f"it doesn't pass its rules: {gate.reasons}"
        key = self.past.windows[start].key
        raise StepError(
            f"there is no model to begin with in {key}: {reasons}",
            location=self.past.project.locate(self.past.model),
            hint="begin later, so that it learns from more" if fixed else None,
        )

    def _policies(self, grid: Grid | bool, windows: int) -> Iterator[tuple[Variant, Any]]:
        """What to replay: the project's policy, never, then all others."""
        monitor, model = self.monitor, self.past.model.model
        settings = settings_of(monitor) or {"retrain": {"model": model, "when": []}}
        yield Variant("as the project has it", monitor, settings), "project"
        never = with_policy(monitor, Retrain(model=model, when=()))
        yield Variant("never", never, settings_of(never)), "baseline"
        for name, fixed in cadences(self.past.project, monitor, model, windows):
            yield Variant(name, fixed, settings_of(fixed)), "baseline"
        if grid is False:
            return
        if grid is True:
            labelled = [self.past.truth.known(p).size for p in range(len(self.past.windows))]
            grid = default_grid(self.past.project, monitor, round(median(labelled)))
        for variant in variants(monitor, model, grid):
            yield variant, "grid"

    def _replay(self, variant: Variant, kind: Any, first: Learned, places: Sequence[int]) -> Replay:
        self._tell(f"replaying: {variant.name}")
        steps = replay_policy(self.candidates, self.looks, variant.monitor, first, places)
        self._replayed += 1
        return Replay(variant.name, kind, steps, self.direction, variant.settings)


def _pieces(policies: Sequence[Any], places: Sequence[int]) -> int:
    """How many pieces of work there are: replays, the oracle's among them, and trainings."""
    return len(policies) + 1 + len(oracle_places(places)) + 1
