"""What a retraining policy knows and what it decides, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from liminal_assets.steps.judgement import Judgement, Window
from liminal_assets.steps.memory import PolicyState

__all__ = ["Decision", "Promotion", "Reason", "Retraining", "Situation", "TakingBack"]

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Promotion:
    """How the version in use came to be so.

    Attributes:
        version: the version in use.
        previous: the one that it replaced.
        validation: its metrics on the rows held out.
    """

    version: str
    previous: str
    validation: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """What is the case besides the windows: looked up live, replayed in a replay.

    Attributes:
        busy: what is training the model right now, in words.
        learned: by model version, the end of the data that it learned from.
        partitions: the ends of the complete partitions of the model's feature, by key.
        promotion: how the version in use came to be so; None if it replaced none.
        canary: which deployment is trying a version right now, in words.
        zone: the time zone in which lengths of time are counted.
    """

    busy: str | None = None
    learned: Mapping[str, datetime] = field(default_factory=dict)
    partitions: Mapping[str, datetime] = field(default_factory=dict)
    promotion: Promotion | None = None
    canary: str | None = None
    zone: tzinfo = _UTC


@dataclass(frozen=True)
class Reason:
    """One reason to train again.

    Attributes:
        kind: ``breach``, ``labels``, ``every`` or ``fresh``.
        text: the reason in words.
        evidence: what it rests on, as plain values.
    """

    kind: str
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Retraining:
    """One retraining and everything that it is for.

    Attributes:
        key: names it: asked for twice, it happens once.
        reasons: why, the first first.
        breaches: the breaches that it answers, the newest last.
        window: the newest window that it is about: training goes up to its end.
    """

    key: str
    reasons: tuple[Reason, ...]
    breaches: tuple[Judgement, ...]
    window: Window

    @property
    def cause(self) -> str:
        """Why, in words, the newest breach first."""
        return "; ".join(reason.text for reason in self.reasons)

    @property
    def evidence(self) -> dict[str, Any]:
        """What it rests on, as plain values by the kind of reason."""
        return {reason.kind: dict(reason.evidence) for reason in self.reasons}

    def record(self) -> dict[str, Any]:
        """All of it but the words, as plain values."""
        return {
            "key": self.key,
            "window": self.window.key,
            "causes": [breach.id for breach in self.breaches],
            "windows": [breach.window.key for breach in self.breaches],
            "reasons": self.evidence,
        }


@dataclass(frozen=True)
class TakingBack:
    """A version that goes back to the one before.

    Attributes:
        version: the version in use.
        to: the one that it replaced.
        reason: why, in words.
        evidence: what it rests on, as plain values.
    """

    version: str
    to: str
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """To train again, to take a version back, or why neither."""

    retraining: Retraining | None
    reason: str
    state: PolicyState
    rollback: TakingBack | None = None
