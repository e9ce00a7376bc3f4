"""A policy's way through the windows of the past: the decisions are those of the live sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Retrain
from liminal_assets.steps.decision import Decision, Retraining, Situation, TakingBack
from liminal_assets.steps.judgement import Judgement, judge
from liminal_assets.steps.memory import PolicyState
from liminal_assets.steps.observation import Observation
from liminal_assets.steps.policy import decide
from liminal_assets.steps.replay.candidates import Candidates, FailedTraining, Learned
from liminal_assets.steps.replay.looks import Looks
from liminal_assets.steps.replay.results import Action, ReplayStep, Tick
from liminal_assets.steps.retraining import (
    looks_at_partitions,
    partition_to_learn_from,
    promotion_of,
)
from liminal_assets.storage.journal import Decision as Decided

__all__ = ["replay_policy"]

_MOST_TICKS = 100
"""Looks of the policy after one window: it comes to rest after two or three."""


@dataclass
class _Scored:
    """A window that a version scored, and how many labels it had when it was last judged."""

    place: int
    number: int
    learned: Learned
    labelled: int


def replay_policy(
    candidates: Candidates, looks: Looks, monitor: Monitor, first: Learned, places: Sequence[int]
) -> tuple[ReplayStep, ...]:
    """What would have happened in some windows had the monitor watched them.

    A window is scored by the version in use and judged at its end, with the labels known by
    then; windows of before are judged again when labels came. A retraining is ready before the
    next window: it learns from what was known, and takes over if it passes ``validate``.

    Args:
        monitor: with its policy.
        first: the version in use at the beginning, version 1.
        places: the windows to replay, in order.
    """
    return _Run(candidates, looks, monitor, first).steps(places)


class _Run:
    """What has happened so far."""

    def __init__(
        self, candidates: Candidates, looks: Looks, monitor: Monitor, first: Learned
    ) -> None:
        self.candidates, self.looks, self.monitor = candidates, looks, monitor
        self.past = candidates.past
        self.policy = monitor.policy or Retrain(model=self.past.model.model, when=())
        self.versions = {1: first}
        self.champion = 1
        self.made = 1
        self.state = PolicyState()
        self.journal: list[Decided] = []
        self.scored: list[_Scored] = []
        self._write("promote", 1, None, first.end, {"metrics": dict(first.metrics)})

    def steps(self, places: Sequence[int]) -> tuple[ReplayStep, ...]:
        return tuple(self._step(place) for place in places)

    def _step(self, place: int) -> ReplayStep:
        window, number = self.past.windows[place], self.champion
        assert window.until is not None  # noqa: S101  # windows of the past have ended
        learned = self.versions[number]
        again = tuple(self._judged_again(window.until))
        seen = self._observe(place, number, window.until)
        judgement = judge(self.monitor, seen)
        count = self.past.truth.count(place, window.until)
        self.scored.append(_Scored(place, number, learned, count))
        ticks = tuple(self._ticks([*again, judgement], window.until))
        labelled, score = self.looks.realised(learned, place)
        compared = seen.drift.compared if seen.drift else ()
        return ReplayStep(
            window,
            number,
            learned.end,
            labelled,
            score,
            judgement,
            again,
            ticks,
            distances={c.column: (c.distance or 0.0) / c.threshold for c in compared},
        )

    def _observe(self, place: int, number: int, at: datetime) -> Observation:
        earlier = self.past.before(place)
        before = next((s.learned for s in self.scored if s.place == earlier), None)
        seen = self.looks.observe(self.monitor, self.versions[number], place, at, before)
        return replace(seen, model_version=str(number))

    def _judged_again(self, at: datetime) -> Sequence[Judgement]:
        """Windows whose rows got labels since they were judged."""
        found = []
        oldest = at - self.past.truth.spec.within
        for scored in self.scored:
            until = self.past.windows[scored.place].until
            if until and until < oldest:
                continue
            count = self.past.truth.count(scored.place, at)
            if count > scored.labelled:
                scored.labelled = count
                seen = self._observe(scored.place, scored.number, at)
                found.append(judge(self.monitor, seen))
        return found

    def _ticks(self, judgements: Sequence[Judgement], at: datetime) -> Sequence[Tick]:
        """What the policy decides until it has nothing more to do, as the sensor that looks every
        half minute."""
        ticks: list[Tick] = []
        news = judgements
        while len(ticks) < _MOST_TICKS:
            decision = decide(self.monitor, self.state, news, self._situation(at))
            self.state, news = decision.state, ()
            action = self._act(decision, at)
            ticks.append(Tick(decision, action))
            if action is None:
                break
        return ticks

    def _situation(self, at: datetime) -> Situation:
        cut = self.past.cut
        learned = {str(number): one.end for number, one in self.versions.items()}
        return Situation(
            learned=learned if cut else {},
            partitions=self.past.partitions(at) if looks_at_partitions(self.policy) else {},
            promotion=promotion_of(self.journal) if self.policy.rollback else None,
            zone=ZoneInfo(cut.timezone if cut else "UTC"),
        )

    def _act(self, decision: Decision, at: datetime) -> Action | None:
        if decision.rollback:
            return self._take_back(decision.rollback, at)
        return self._retrain(decision.retraining, at) if decision.retraining else None

    def _retrain(self, retraining: Retraining, at: datetime) -> Action:
        past, model = self.past, self.policy.model
        until = partition_to_learn_from(past.project, self.monitor, model, retraining)
        found = self.candidates.train(until or past.last_partition(at), at)
        if isinstance(found, FailedTraining):
            return Action("failed", None, found.message)
        self.made += 1
        self.versions[self.made] = found
        gate = self.candidates.gate(found, self.versions[self.champion])
        seconds = found.seconds + gate.seconds
        if not gate.passed:
            return Action("rejected", self.made, gate.reasons, found.rows, seconds)
        self._write("promote", self.made, self.champion, at, {"metrics": dict(found.metrics)})
        self.champion = self.made
        return Action("promoted", self.made, "", found.rows, seconds)

    def _take_back(self, decided: TakingBack, at: datetime) -> Action:
        to = int(decided.to)
        self._write("rollback", to, self.champion, at, dict(decided.evidence))
        self.champion = to
        return Action("taken back", to, decided.reason)

    def _write(
        self, action: str, number: int, previous: int | None, at: datetime, evidence: dict[str, Any]
    ) -> None:
        """An entry as the model's journal would have it."""
        place = len(self.journal) + 1
        entry = Decided(place, at, action, number, number, previous, "", "backtest", evidence)
        self.journal.append(entry)
