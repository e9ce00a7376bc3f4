"""What a retraining policy remembers of the windows that it saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from liminal_assets.steps.judgement import Judgement, Window

__all__ = ["PolicyState", "Seen", "latest", "moment_of", "version_number"]

_MOST_WINDOWS = 400
_MOST_HANDLED = 200
_MOST_ASKED = 100


@dataclass(frozen=True)
class Seen:
    """A window of a model version, as it was judged last.

    Attributes:
        rows: the rows judged.
        labelled: those of them whose truth is known.
        score: the monitor's metric over these, if they are enough.
        learned_rows: how many rows there were when the model last learned from the window.
        learned_labels: how many of them had their label then.
    """

    window: str
    version: str
    until: datetime | None
    partition: str | None
    judged: bool
    breach: bool
    rows: int
    labelled: int
    score: float | None
    learned_rows: int = 0
    learned_labels: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Names it."""
        return self.window, self.version

    def learned(self) -> Seen:
        """The same once the model has learned from it."""
        return replace(self, learned_rows=self.rows, learned_labels=self.labelled)

    def as_window(self) -> Window:
        """The window itself."""
        return Window(self.window, None, self.until, self.partition)


@dataclass(frozen=True)
class PolicyState:
    """What the policy remembers between decisions.

    Attributes:
        held: breaches that wait: for more of them, a running retraining to end, or the cooldown
            to pass.
        last: the end of the newest window that a retraining was asked for.
        newest: the end of the newest window judged.
        handled: keys of breaches that a retraining was asked for, the newest last.
        asked: the ends of the windows of earlier retrainings, in order.
        reached: the end of the data that the model learned from last, by whatever trained it.
        first: where counting begins if it isn't known what the model learned from.
        windows: what was seen, the newest last.
    """

    held: tuple[Judgement, ...] = ()
    last: datetime | None = None
    newest: datetime | None = None
    handled: tuple[str, ...] = ()
    asked: tuple[datetime, ...] = ()
    reached: datetime | None = None
    first: datetime | None = None
    windows: Mapping[tuple[str, str], Seen] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values that :meth:`from_dict` takes back."""
        return {
            "held": [judgement.as_dict() for judgement in self.held],
            **{name: _text(getattr(self, name)) for name in _MOMENTS},
            "handled": list(self.handled),
            "asked": [moment.isoformat() for moment in self.asked],
            "windows": [
                [_text(value) if isinstance(value, datetime) else value for value in _values(seen)]
                for seen in self.windows.values()
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PolicyState:
        """The state that :meth:`as_dict` gave, or that an earlier version of it did."""
        windows = (
            Seen(window, version, _moment(until), *rest)
            for window, version, until, *rest in values.get("windows", ())
        )
        return cls(
            held=tuple(Judgement.from_dict(item) for item in values.get("held", ())),
            handled=tuple(values.get("handled", ())),
            asked=tuple(datetime.fromisoformat(text) for text in values.get("asked", ())),
            windows={seen.key: seen for seen in windows},
            **{name: _moment(values.get(name)) for name in _MOMENTS},
        )

    def seeing(self, judgements: Iterable[Judgement], learned: datetime | None) -> PolicyState:
        """The same after some windows were judged, the last word of each counting.

        Args:
            learned: the end of the data that the model learned from last.
        """
        windows = dict(self.windows)
        newest = self.newest
        for judgement in judgements:
            seen = _seen(judgement)
            before = windows.get(seen.key) or _other_version(windows.values(), seen.window)
            if before is not None:
                counts = (before.learned_rows, before.learned_labels)
                seen = replace(seen, learned_rows=counts[0], learned_labels=counts[1])
            elif _within(seen, learned):
                seen = seen.learned()
            windows[seen.key] = seen
            newest = latest(newest, seen.until)
        if learned and (self.reached is None or learned > self.reached):
            # something else trained the model
            windows = {
                key: seen.learned() if _within(seen, learned) else seen
                for key, seen in windows.items()
            }
        kept = sorted(windows.values(), key=_order)[-_MOST_WINDOWS:]
        return replace(
            self,
            windows={seen.key: seen for seen in kept},
            newest=newest,
            reached=latest(self.reached, learned),
        )

    def trained(self, until: datetime | None, breaches: Iterable[str]) -> PolicyState:
        """The same after a retraining up to a moment was asked for, with the keys of the breaches
        that it answers."""
        moment = until or self.newest
        return replace(
            self,
            held=(),
            handled=(*self.handled, *breaches)[-_MOST_HANDLED:],
            last=latest(self.last, until),
            reached=latest(self.reached, until),
            asked=(*self.asked, moment)[-_MOST_ASKED:] if moment else self.asked,
            windows={
                key: seen.learned() if until is None or _within(seen, until) else seen
                for key, seen in self.windows.items()
            },
        )

    def each_window(self) -> list[Seen]:
        """The windows in order, each as the newest model version has it."""
        found: dict[str, Seen] = {}
        for seen in self.windows.values():
            other = found.get(seen.window)
            if other is None or version_number(seen.version) >= version_number(other.version):
                found[seen.window] = seen
        return sorted(found.values(), key=_order)

    def scored(self, version: str, after: datetime | None) -> list[Seen]:
        """The windows of a version whose performance is known, in order, those that it learned
        from left out."""
        return sorted(
            (
                seen
                for seen in self.windows.values()
                if seen.version == version and seen.score is not None and not _within(seen, after)
            ),
            key=_order,
        )

    def new_rows(self) -> int:
        """The rows in windows that came since the model last learned."""
        return sum(max(0, seen.rows - seen.learned_rows) for seen in self.each_window())

    def new_labels(self) -> int:
        """The rows that got their label since."""
        return sum(max(0, seen.labelled - seen.learned_labels) for seen in self.each_window())


_MOMENTS = ("last", "newest", "reached", "first")


def _values(seen: Seen) -> Iterator[Any]:
    return (getattr(seen, name) for name in Seen.__dataclass_fields__)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _seen(judgement: Judgement) -> Seen:
    window = judgement.window
    return Seen(
        window.key,
        judgement.model_version or "",
        window.until,
        window.partition,
        judgement.judged,
        judgement.breach,
        judgement.rows,
        judgement.labelled or 0,
        judgement.score,
    )


def _other_version(windows: Iterable[Seen], window: str) -> Seen | None:
    same = (seen for seen in windows if seen.window == window)
    return max(same, key=lambda seen: version_number(seen.version), default=None)


def _within(seen: Seen, until: datetime | None) -> bool:
    return bool(until and seen.until and seen.until <= until)


def _order(seen: Seen) -> tuple[float, str, int]:
    moment = seen.until.timestamp() if seen.until else 0.0
    return moment, seen.window, version_number(seen.version)


def latest(*moments: datetime | None) -> datetime | None:
    """The latest of the moments that are known."""
    return max((moment for moment in moments if moment), default=None)


def version_number(version: str | None) -> int:
    """The number of a model version, 0 for one without."""
    return int(version) if version and version.isdigit() else 0


def moment_of(judgement: Judgement) -> tuple[float, str]:
    """Orders judgements by their windows."""
    until = judgement.window.until
    return (until.timestamp() if until else 0.0, judgement.key)
