"""What came of a replay, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from liminal_assets.steps.decision import Decision
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.observation import Window

__all__ = ["Action", "Replay", "ReplayStep", "Tick", "mean_score", "without_alike"]


@dataclass(frozen=True)
class Action:
    """What a decision led to.

    Attributes:
        outcome: ``promoted``; ``rejected`` by the gate; ``failed``, without any model;
            ``taken back``.
        version: the version that it made, or went back to; None where it made none.
        said: why it was rejected or failed.
        rows: how many rows the training learned from.
        seconds: how long it and its evaluation took.
    """

    outcome: Literal["promoted", "rejected", "failed", "taken back"]
    version: int | None
    said: str = ""
    rows: int = 0
    seconds: float = 0.0

    @property
    def trained(self) -> bool:
        """Whether the model was trained, or should have been."""
        return self.outcome != "taken back"


@dataclass(frozen=True)
class Tick:
    """One look of the policy: what it decided and what that led to."""

    decision: Decision
    action: Action | None = None


@dataclass(frozen=True)
class ReplayStep:
    """One window and all that followed from it until the next.

    Attributes:
        version: the version that scored it.
        learned_until: the end of the data that this version learned from.
        judgement: what the monitor said when the window ended; None of an oracle.
        again: windows of before, judged again because labels came.
        labelled: the rows whose truth is known by now.
        score: the monitor's metric over these.
        ticks: what the policy decided.
        trainings: what was trained without any decision, by an oracle.
        distances: how far each column was from the reference, in thresholds.
    """

    window: Window
    version: int
    learned_until: datetime
    labelled: int
    score: float | None
    judgement: Judgement | None = None
    again: tuple[Judgement, ...] = ()
    ticks: tuple[Tick, ...] = ()
    trainings: tuple[Action, ...] = ()
    distances: Mapping[str, float] = field(default_factory=dict)

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was done."""
        return (*(tick.action for tick in self.ticks if tick.action), *self.trainings)

    @property
    def mark(self) -> str:
        """One character of what happened: ``R`` a new version, ``x`` one that was rejected or
        failed, ``<`` one that was taken back, ``!`` an alert, ``.`` nothing."""
        outcomes = [action.outcome for action in self.actions]
        for mark, names in (("R", {"promoted"}), ("x", {"rejected", "failed"})):
            if names & set(outcomes):
                return mark
        if outcomes:
            return "<"
        judged = [*([self.judgement] if self.judgement else []), *self.again]
        return "!" if any(judgement.breach for judgement in judged) else "."


@dataclass(frozen=True, eq=False)
class Replay:
    """One policy's way through the windows.

    Attributes:
        name: what it is called.
        kind: ``project`` (as the project has it), ``baseline``, ``grid`` or ``oracle``.
        settings: what the YAML would say, by section of the monitor.
        direction: 1 where a larger metric is better, -1 where a smaller one is.
    """

    name: str
    kind: Literal["project", "baseline", "grid", "oracle"]
    steps: tuple[ReplayStep, ...] = field(repr=False)
    direction: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alerts(self) -> int:
        """Windows in which a bound was broken."""
        judged = [j for s in self.steps for j in (s.judgement, *s.again) if j and j.breach]
        return len({judgement.window.key for judgement in judged})

    def count(self, outcome: str) -> int:
        """How many actions had an outcome."""
        return sum(action.outcome == outcome for action in self._actions)

    @property
    def _actions(self) -> list[Action]:
        return [action for step in self.steps for action in step.actions]

    @property
    def retrainings(self) -> int:
        """How often the model was trained again, or should have been."""
        return sum(action.trained for action in self._actions)

    @property
    def rows(self) -> int:
        """The rows that all trainings learned from."""
        return sum(action.rows for action in self._actions)

    @property
    def seconds(self) -> float:
        """How long all trainings took."""
        return sum(action.seconds for action in self._actions)

    @property
    def score(self) -> float | None:
        """The mean of the monitor's metric over the windows, weighted by their labelled rows."""
        return mean_score(self.steps)

    @property
    def timeline(self) -> str:
        """One character per window; see :attr:`ReplayStep.mark`."""
        return "".join(step.mark for step in self.steps)

    def gain(self, other: Replay) -> float:
        """How much better than another it did, in units of the metric."""
        mine, theirs = self.score, other.score
        return 0.0 if mine is None or theirs is None else self.direction * (mine - theirs)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "settings": dict(self.settings),
            "alerts": self.alerts,
            "retrainings": self.retrainings,
            "promoted": self.count("promoted"),
            "rejected": self.count("rejected"),
            "failed": self.count("failed"),
            "taken_back": self.count("taken back"),
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "score": self.score,
            "timeline": self.timeline,
            "windows": [_step(step) for step in self.steps],
        }


def without_alike(replays: Sequence[Replay]) -> dict[Replay, int]:
    """The first of those policies of a grid that led to the same in every window, and how many
    others each stands for; all others."""
    first: dict[tuple[Any, ...], Replay] = {}
    counts: dict[Replay, int] = {}
    for replay in replays:
        key: tuple[Any, ...] = (replay.name,)
        if replay.kind == "grid":
            key = (replay.timeline, replay.alerts, replay.rows, replay.score)
        kept = first.setdefault(key, replay)
        counts[kept] = counts.get(kept, -1) + 1
    return counts


def mean_score(steps: Sequence[ReplayStep]) -> float | None:
    """The mean of the metric, weighted by labelled rows; None where no window defines it."""
    known = [(step.labelled, step.score) for step in steps if step.score is not None]
    total = sum(labelled for labelled, _ in known)
    return sum(labelled * score for labelled, score in known) / total if total else None


def _step(step: ReplayStep) -> dict[str, Any]:
    judgement = step.judgement
    return {
        "window": step.window.key,
        "version": step.version,
        "learned_until": step.learned_until.isoformat(),
        "labelled": step.labelled,
        "score": step.score,
        "breach": judgement.breach if judgement else None,
        "causes": [str(cause) for cause in judgement.causes] if judgement else [],
        "distances_in_thresholds": {name: round(far, 4) for name, far in step.distances.items()},
        "judged_again": [again.as_dict() for again in step.again],
        "decisions": [_tick(tick) for tick in step.ticks],
    }


def _tick(tick: Tick) -> dict[str, Any]:
    decision, action = tick.decision, tick.action
    said: dict[str, Any] = {"reason": decision.reason}
    if decision.retraining:
        said["retraining"] = decision.retraining.record()
    if decision.rollback:
        said["rollback"] = {**decision.rollback.evidence, "to": decision.rollback.to}
    if action:
        said |= {
            "outcome": action.outcome,
            "version": action.version,
            "said": action.said or None,
            "rows": action.rows,
            "seconds": round(action.seconds, 3),
        }
    return said
