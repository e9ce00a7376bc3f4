"""What was seen in a window, and what a monitor makes of it: pure, for live runs and replays.

:func:`judge` is the only place where a breach is decided.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from liminal_assets.language.monitors import Kpi, Monitor, Performance
from liminal_assets.steps.drift import ColumnDistance, DriftReport
from liminal_assets.steps.report import Outcome, Records

__all__ = ["Cause", "Judgement", "Observation", "Window", "check_names", "is_answer", "judge"]


@dataclass(frozen=True)
class Window:
    """The rows that one judgement is about.

    Attributes:
        key: its name: the partition, or for served rows the period in which the window ends.
        since: the first moment; None for a partition by listed values.
        until: the moment after the last: the time of the event that a breach is.
        partition: the partition key of batch scores.
    """

    key: str
    since: datetime | None = None
    until: datetime | None = None
    partition: str | None = None


@dataclass(frozen=True)
class Observation:
    """What was measured in a window. Measures that weren't asked for, or can't be had, are None.

    Attributes:
        rows: the rows judged: those of ``model_version``.
        others: rows of other model versions in the window, left out.
        reference: what the rows are compared with, in words.
        drift: distances of the columns, those of the answers included.
        no_drift: why there is none.
        labelled: the rows whose truth is known.
        score: the metric over them; NaN where the rows don't define it.
        kpis: the values by name; None for a query without a number.
    """

    window: Window
    rows: int
    model_version: str | None = None
    others: int = 0
    reference: str = ""
    drift: DriftReport | None = None
    no_drift: str = ""
    labelled: int | None = None
    score: float | None = None
    kpis: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class Cause:
    """One bound that was broken."""

    check: str
    subject: str
    """The column, metric or KPI."""
    value: float | None
    bound: str
    """What was asked, such as ``at most 0.2``."""

    def __str__(self) -> str:
        value = "no number" if self.value is None else f"{self.value:.4g}"
        what = f"{self.subject}: " if self.subject != self.check else ""
        return f"{self.check}: {what}{value}, not {self.bound}"


@dataclass(frozen=True)
class Judgement:
    """What a monitor says about a window."""

    monitor: str
    window: Window
    model_version: str | None
    rows: int
    judged: bool
    """False for a window with too few rows."""
    causes: tuple[Cause, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    labelled: int | None = None
    """The rows whose truth is known."""
    score: float | None = None
    """The monitor's metric over them; None where they are too few to say it."""

    @property
    def breach(self) -> bool:
        """Whether any bound was broken."""
        return bool(self.causes)

    @property
    def key(self) -> str:
        """Names the window of a model version: the same however often it is judged."""
        return f"{self.monitor}:{self.window.key}:v{self.model_version or '-'}"

    @property
    def id(self) -> str:
        """16 hexadecimal digits: the same for the same causes in the same window."""
        broken = sorted(f"{cause.check}/{cause.subject}" for cause in self.causes)
        return hashlib.sha256("\0".join([self.key, *broken]).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Plain values that :meth:`from_dict` takes back; the outcomes are left out."""
        window = self.window
        return {
            "monitor": self.monitor,
            "window": window.key,
            "since": window.since.isoformat() if window.since else None,
            "until": window.until.isoformat() if window.until else None,
            "partition": window.partition,
            "model_version": self.model_version,
            "rows": self.rows,
            "judged": self.judged,
            "labelled": self.labelled,
            "score": self.score,
            "causes": [[c.check, c.subject, c.value, c.bound] for c in self.causes],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Judgement:
        """The judgement that :meth:`as_dict` gave, without its outcomes."""
        since, until = (
            datetime.fromisoformat(values[key]) if values[key] else None
            for key in ("since", "until")
        )
        return cls(
            monitor=values["monitor"],
            window=Window(values["window"], since, until, values["partition"]),
            model_version=values["model_version"],
            rows=values["rows"],
            judged=values["judged"],
            # events of before these were measured lack them
            labelled=values.get("labelled"),
            score=values.get("score"),
            causes=tuple(Cause(*cause) for cause in values["causes"]),
        )


def is_answer(column: str) -> bool:
    """Whether a column of scores is the model's answer."""
    return column in ("prediction", "probability") or column.startswith("probability_")


def check_names(monitor: Monitor) -> dict[str, str]:
    """The checks that a monitor makes and what each asks, in the order of its outcomes."""
    names: dict[str, str] = {}
    if drift := monitor.drift:
        asked = f"{drift.method} at most {drift.threshold:g}"
        names["drift"] = f"Every input column is near the reference: {asked}."
        names["prediction_drift"] = f"The predictions are near the reference's: {asked}."
    if performance := monitor.performance:
        names["performance"] = f"{performance.metric} is {_bound(performance)}."
    for kpi in monitor.kpis:
        low, high = kpi.between
        names[f"kpi_{kpi.kpi}"] = f"{kpi.kpi} is from {low:g} to {high:g}."
    return names


def judge(monitor: Monitor, seen: Observation) -> Judgement:
    """Compares what was seen in a window with the monitor's bounds.

    A window with fewer than ``min_rows`` rows passes every check, and the checks say that it
    wasn't judged.
    """
    few = seen.rows < monitor.min_rows
    causes: list[Cause] = []
    outcomes: list[Outcome] = []
    for outcome, broken in _findings(monitor, seen):
        if few:
            text = f"not judged: {seen.rows:,} rows, fewer than {monitor.min_rows:,}"
            outcomes.append(Outcome(outcome.name, True, "error", text, outcome.metadata))
        else:
            causes.extend(broken)
            outcomes.append(outcome)
    return Judgement(
        monitor.name,
        seen.window,
        seen.model_version,
        seen.rows,
        judged=not few,
        labelled=seen.labelled,
        score=_known_score(monitor, seen),
        causes=tuple(causes),
        outcomes=tuple(outcomes),
    )


def _known_score(monitor: Monitor, seen: Observation) -> float | None:
    """The metric, if the truth of enough rows is known and they define it."""
    if seen.score is None or math.isnan(seen.score) or (seen.labelled or 0) < monitor.min_rows:
        return None
    return seen.score


def _findings(monitor: Monitor, seen: Observation) -> Iterator[tuple[Outcome, Sequence[Cause]]]:
    if monitor.drift:
        columns = seen.drift.columns if seen.drift else ()
        inputs = [column for column in columns if not is_answer(column.column)]
        answers = [column for column in columns if is_answer(column.column)]
        yield _drift("drift", inputs, seen)
        yield _drift("prediction_drift", answers, seen)
    if monitor.performance:
        yield _performance(monitor.performance, monitor.min_rows, seen)
    for kpi in monitor.kpis:
        yield _kpi(kpi, (seen.kpis or {}).get(kpi.kpi))


def _drift(
    name: str, columns: Sequence[ColumnDistance], seen: Observation
) -> tuple[Outcome, Sequence[Cause]]:
    compared = [column for column in columns if column.distance is not None]
    broken = [
        Cause(name, c.column, c.distance, f"at most {c.threshold:g} ({c.method})")
        for c in compared
        if c.drifted
    ]
    if not compared:
        text = f"not judged: {seen.no_drift or 'there is no column to compare'}"
    elif broken:
        worst = ", ".join(f"{cause.subject} {cause.value:.3g}" for cause in broken[:5])
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        text = f"{len(broken)} of {len(compared)} columns drifted from {seen.reference}: "
        text += worst + more
    else:
        far = compared[0]
        text = f"{len(compared)} columns are near {seen.reference}; the farthest is "
        text += f"{far.column} with {far.distance:.3g} ({far.method})"
    metadata = {
        "columns": Records([column.record() for column in columns]) if columns else None,
        "drifted": [cause.subject for cause in broken],
        "reference": seen.reference or None,
    }
    return Outcome(name, not broken, "error", text, metadata), broken


def _performance(
    spec: Performance, min_rows: int, seen: Observation
) -> tuple[Outcome, Sequence[Cause]]:
    labelled, score = seen.labelled or 0, seen.score
    share = labelled / seen.rows if seen.rows else 0.0
    metadata = {spec.metric: score, "labelled_rows": labelled, "labelled_share": round(share, 4)}
    known = f"the truth of {labelled:,} of {seen.rows:,} rows ({share:.0%}) is known"

    def passed(text: str) -> tuple[Outcome, Sequence[Cause]]:
        return Outcome("performance", True, "error", text, metadata), ()

    if labelled < min_rows:
        return passed(f"not judged: {known}, fewer than {min_rows:,}")
    if score is None or math.isnan(score):
        return passed(f"not judged: {spec.metric} isn't defined for these rows; {known}")
    good = score >= spec.at_least if spec.at_least is not None else score <= (spec.at_most or 0.0)
    text = f"{spec.metric} is {score:.4g}"
    if good:
        return passed(f"{text}, {_bound(spec)}; {known}")
    cause = Cause("performance", spec.metric, score, _bound(spec))
    text = f"{text}, not {_bound(spec)}; {known}"
    return Outcome("performance", False, "error", text, metadata), [cause]


def _bound(spec: Performance) -> str:
    return (
        f"at least {spec.at_least:g}" if spec.at_least is not None else f"at most {spec.at_most:g}"
    )


def _kpi(kpi: Kpi, value: float | None) -> tuple[Outcome, Sequence[Cause]]:
    low, high = kpi.between
    name, bound = f"kpi_{kpi.kpi}", f"from {low:g} to {high:g}"
    metadata = {"value": value, "low": low, "high": high}
    if value is not None and low <= value <= high:
        return Outcome(name, True, "error", f"{kpi.kpi} is {value:.4g}, {bound}", metadata), ()
    shown = "no number" if value is None else f"{value:.4g}"
    text = f"{kpi.kpi} is {shown}, not {bound}"
    return Outcome(name, False, "error", text, metadata), [Cause(name, kpi.kpi, value, bound)]
