"""What was seen in a window, and what a monitor makes of it: pure, for live runs and replays.

:func:`judge` is the only place where a breach is decided.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.findings import ROW_COUNT, Finding, bound_of, findings
from liminal_assets.steps.observation import Cause, Observation, Window, is_answer
from liminal_assets.steps.report import Outcome

__all__ = ["Cause", "Judgement", "Observation", "Window", "check_names", "is_answer", "judge"]


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
            "causes": [
                [c.check, c.subject, c.value, c.bound, *([c.said] if c.said else [])]
                for c in self.causes
            ],
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


def check_names(monitor: Monitor) -> dict[str, str]:
    """The checks that a monitor makes and what each asks, in the order of its outcomes."""
    names: dict[str, str] = {}
    if monitor.quality:
        names["quality"] = "The rows are as whole as the reference's, and as many as usual."
    if drift := monitor.drift:
        asked = f"{drift.method} at most {drift.threshold:g}"
        if monitor.alarms and not drift.threshold_given:
            asked = f"{drift.method} within what chance gives but {monitor.alarms.at_most}"
        names["drift"] = f"Every input column is near the reference: {asked}."
        names["prediction_drift"] = f"The predictions are near the reference's: {asked}."
    if performance := monitor.performance:
        bound = bound_of(performance)
        if performance.labels:
            shown = "" if performance.judges_realised else "Shown, not judged: "
            names["performance"] = f"{shown}{performance.metric} is {bound}."
        if performance.estimate:
            shown = "" if performance.judges_estimate else "Shown, not judged: "
            said = f"{shown}{performance.metric} as estimated without labels is {bound}."
            names["estimated_performance"] = said
    if monitor.slices:
        by = ", ".join(monitor.slices.by)
        names["slices"] = f"Each slice by {by} is within the bounds of slices."
    for kpi in monitor.kpis:
        low, high = kpi.between
        names[f"kpi_{kpi.kpi}"] = f"{kpi.kpi} is from {low:g} to {high:g}."
    return names


def judge(monitor: Monitor, seen: Observation) -> Judgement:
    """Compares what was seen in a window with the monitor's bounds.

    In a window with fewer than ``min_rows`` rows only the number of rows itself is judged
    (``quality.rows``): the other checks pass and say that it wasn't.
    """
    few = seen.rows < monitor.min_rows
    causes: list[Cause] = []
    outcomes: list[Outcome] = []
    for found in findings(monitor, seen):
        kept = _of_few(found, seen, monitor) if few else found
        outcomes.append(kept.outcome)
        causes.extend(kept.causes)
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


def _of_few(found: Finding, seen: Observation, monitor: Monitor) -> Finding:
    """What a check says of a window with too few rows."""
    text = f"not judged: {seen.rows:,} rows, fewer than {monitor.min_rows:,}"
    causes = [cause for cause in found.causes if (cause.check, cause.subject) == ROW_COUNT]
    if causes:
        text = f"{causes[0]}; the columns are {text}"
    outcome = found.outcome
    return Finding(
        Outcome(outcome.name, not causes, outcome.severity, text, outcome.metadata), causes
    )
