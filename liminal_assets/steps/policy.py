"""When to train again: a pure decision over judgements, the same live and in a replay.

Time here is the data's: a window's end, never the clock of the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from liminal_assets.steps.judgement import Judgement

__all__ = ["Decision", "PolicyState", "Retraining", "decide"]

_MOST_HANDLED = 200


@dataclass(frozen=True)
class PolicyState:
    """What the policy remembers between decisions.

    Attributes:
        held: breaches that wait: for a running retraining to end, or the cooldown to pass.
        last: the end of the newest window that a retraining was asked for.
        newest: the end of the newest window judged.
        handled: keys of breaches that a retraining was asked for, the newest last.
    """

    held: tuple[Judgement, ...] = ()
    last: datetime | None = None
    newest: datetime | None = None
    handled: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values that :meth:`from_dict` takes back."""
        return {
            "held": [judgement.as_dict() for judgement in self.held],
            "last": self.last.isoformat() if self.last else None,
            "newest": self.newest.isoformat() if self.newest else None,
            "handled": list(self.handled),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PolicyState:
        """The state that :meth:`as_dict` gave."""
        last, newest = (
            datetime.fromisoformat(values[key]) if values.get(key) else None
            for key in ("last", "newest")
        )
        held = tuple(Judgement.from_dict(item) for item in values.get("held", ()))
        return cls(held, last, newest, tuple(values.get("handled", ())))


@dataclass(frozen=True)
class Retraining:
    """One retraining and everything that it is for, the newest breach last."""

    breaches: tuple[Judgement, ...]

    @property
    def newest(self) -> Judgement:
        """The breach in the newest window: training goes up to its end."""
        return self.breaches[-1]

    @property
    def key(self) -> str:
        """Names the retraining: asked for twice, it happens once."""
        return self.newest.key

    @property
    def cause(self) -> str:
        """Why, in words, the newest breach first."""
        return "; ".join(
            f"{breach.window.key}: {', '.join(map(str, breach.causes))}"
            for breach in reversed(self.breaches)
        )


@dataclass(frozen=True)
class Decision:
    """To train again, or why not."""

    retraining: Retraining | None
    reason: str
    state: PolicyState


def decide(
    state: PolicyState,
    judgements: Iterable[Judgement],
    *,
    cooldown: timedelta | None = None,
    busy: str | None = None,
    learned: Mapping[str, datetime] | None = None,
) -> Decision:
    """Takes note of judgements and decides.

    Several breaches lead to one retraining. A breach that can't be answered now is held, and
    answered when it can, unless a later window of the same or a newer model version turns out
    well until then. One in a partition that the model learned from, or that a retraining already
    reached, needs no other: there is nothing new to learn from.

    Args:
        state: what :func:`decide` gave before.
        judgements: new ones, in any order.
        cooldown: the shortest time between the windows of two retrainings.
        busy: what is training the model right now, in words.
        learned: by model version, the end of the data that it learned from.
    """
    # of a window judged several times the last word counts
    new = sorted({judgement.key: judgement for judgement in judgements}.values(), key=_moment)
    good = [judgement for judgement in new if judgement.judged and not judgement.breach]
    waiting = (b for b in state.held if not any(_recovered(b, later) for later in good))
    state = replace(state, held=tuple(waiting))
    news = _News()
    for judgement in new:
        state = _noted(state, judgement, news, learned or {})
    if not state.held:
        return Decision(None, news.reason(bool(new)), state)
    names = ", ".join(breach.window.key for breach in state.held)
    if busy:
        return Decision(None, f"the breach in {names} waits: {busy}", state)
    newest = state.newest
    if cooldown and state.last and newest and newest < state.last + cooldown:
        until = (state.last + cooldown).isoformat(sep=" ", timespec="minutes")
        reason = f"the breach in {names} waits for a window that ends at {until} or later: "
        return Decision(None, f"{reason}the cooldown of the last retraining", state)
    retraining = Retraining(state.held)
    handled = (*state.handled, *(breach.key for breach in state.held))[-_MOST_HANDLED:]
    last = retraining.newest.window.until
    state = replace(state, held=(), last=_latest(state.last, last), handled=handled)
    return Decision(retraining, f"trains again: {retraining.cause}", state)


class _News:
    """Why new judgements lead to nothing."""

    def __init__(self) -> None:
        self.good: list[str] = []
        self.known: list[str] = []
        self.reached: list[str] = []

    def reason(self, any_new: bool) -> str:
        if not any_new:
            return "no window was judged since the last look"
        said = [
            _listed(self.good, "is within bounds", "are within bounds"),
            _listed(self.known, "is a breach already answered", "are breaches already answered"),
            _listed(
                self.reached,
                "is a breach in data that was already learned from",
                "are breaches in data that was already learned from",
            ),
        ]
        return "nothing to do: " + "; ".join(text for text in said if text)


def _listed(windows: Sequence[str], one: str, several: str) -> str:
    if not windows:
        return ""
    shown = ", ".join(windows[-5:]) + (f" and {len(windows) - 5} more" if windows[5:] else "")
    return f"{shown} {one if len(windows) == 1 else several}"


def _noted(
    state: PolicyState, judgement: Judgement, news: _News, learned: Mapping[str, datetime]
) -> PolicyState:
    key, until = judgement.key, judgement.window.until
    reached = _latest(state.last, learned.get(judgement.model_version or ""))
    state = replace(state, newest=_latest(state.newest, until))
    if not judgement.breach:
        news.good.append(judgement.window.key)
    elif key in state.handled:
        news.known.append(judgement.window.key)
    elif judgement.window.partition and reached and until and until <= reached:
        news.reached.append(judgement.window.key)
    else:
        others = [breach for breach in state.held if breach.key != key]
        return replace(state, held=tuple(sorted([*others, judgement], key=_moment)))
    return state


def _recovered(breach: Judgement, good: Judgement) -> bool:
    """Whether a window that turned out well makes an earlier breach obsolete."""
    if breach.key == good.key:
        return True
    return _moment(good) > _moment(breach) and _number(good) >= _number(breach)


def _number(judgement: Judgement) -> int:
    version = judgement.model_version or ""
    return int(version) if version.isdigit() else 0


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment), default=None)


def _moment(judgement: Judgement) -> tuple[float, str]:
    until = judgement.window.until
    return (until.timestamp() if until else 0.0, judgement.key)
