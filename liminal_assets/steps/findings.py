"""What each check of a monitor finds in an observation: pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.language.monitors import Kpi, Monitor, Performance
from liminal_assets.steps.drift import ColumnDistance
from liminal_assets.steps.observation import Cause, Observation, is_answer
from liminal_assets.steps.quality import quality_findings
from liminal_assets.steps.report import Outcome, Records

if TYPE_CHECKING:
    from liminal_assets.steps.slices import SliceMeasure

__all__ = ["ROW_COUNT", "Finding", "bound_of", "findings"]

ROW_COUNT = ("quality", "rows")
"""Check and subject of the bound on the number of rows."""
_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """The outcome of one check and the bounds that it found broken."""

    outcome: Outcome
    causes: Sequence[Cause] = ()


def findings(monitor: Monitor, seen: Observation) -> Iterator[Finding]:
    """What every check of a monitor finds, in the order of its checks."""
    if monitor.quality:
        yield _quality(monitor, seen)
    if monitor.drift:
        columns = seen.drift.columns if seen.drift else ()
        inputs = [column for column in columns if not is_answer(column.column)]
        answers = [column for column in columns if is_answer(column.column)]
        yield _drift("drift", inputs, monitor, seen)
        yield _drift("prediction_drift", answers, monitor, seen)
    if monitor.performance:
        if monitor.performance.labels:
            yield _performance(monitor.performance, monitor.min_rows, seen)
        if monitor.performance.estimate:
            yield _estimated(monitor.performance, seen)
    if monitor.slices:
        yield _slices(monitor, seen)
    for kpi in monitor.kpis:
        yield _kpi(kpi, (seen.kpis or {}).get(kpi.kpi))


def _listed(causes: Sequence[Cause]) -> str:
    worst = ", ".join(f"{cause.subject} {cause.value:.3g}" for cause in causes[:_NAMED])
    return worst + (f" and {len(causes) - _NAMED} more" if causes[_NAMED:] else "")


def _quality(monitor: Monitor, seen: Observation) -> Finding:
    report = seen.quality
    if monitor.quality is None or report is None:
        return Finding(Outcome("quality", True, "error", "not judged: there are no rows"))
    measured = quality_findings(monitor.quality, report)
    causes = [
        Cause("quality", found.subject, found.value, found.bound, found.said)
        for found in measured
        if found.broken
    ]
    if causes:
        shown = "; ".join(str(cause).removeprefix("quality: ") for cause in causes[:_NAMED])
        more = f"; and {len(causes) - _NAMED} more" if causes[_NAMED:] else ""
        text = f"{len(causes)} of {len(measured)} bounds broken: {shown}{more}"
    elif measured:
        text = f"{len(report.columns)} columns are within their {len(measured)} bounds"
    else:
        text = "not judged: the window has no rows, and there are no earlier windows"
    metadata = {
        "columns": Records(report.records()) if report.columns else None,
        "broken": [cause.subject for cause in causes],
        "usual_rows": report.usual_rows,
        "duplicates": report.duplicates,
    }
    return Finding(Outcome("quality", not causes, "error", text, metadata), causes)


def _drift(
    name: str, columns: Sequence[ColumnDistance], monitor: Monitor, seen: Observation
) -> Finding:
    compared = [column for column in columns if column.distance is not None]
    broken = [
        Cause(name, c.column, c.distance, f"at most {c.threshold:.3g} ({c.method})")
        for c in compared
        if c.drifted
    ]
    if not compared:
        text = f"not judged: {seen.no_drift or 'there is no column to compare'}"
    elif broken:
        text = f"{len(broken)} of {len(compared)} columns drifted from {seen.reference}: "
        text += _listed(broken)
    else:
        far = compared[0]
        text = f"{len(compared)} columns are near {seen.reference}; the farthest is "
        text += f"{far.column} with {far.distance:.3g} ({far.method})"
    metadata: dict[str, Any] = {
        "columns": Records([column.record() for column in columns]) if columns else None,
        "drifted": [cause.subject for cause in broken],
        "reference": seen.reference or None,
    }
    if seen.calibration:
        text += f"; thresholds for {seen.calibration.at_most} of false alarms"
        metadata["false_alarms_per_window"] = seen.calibration.per_window
    return Finding(Outcome(name, not broken, "error", text, metadata), broken)


def _performance(spec: Performance, min_rows: int, seen: Observation) -> Finding:
    labelled, score = seen.labelled or 0, seen.score
    share = labelled / seen.rows if seen.rows else 0.0
    metadata: dict[str, Any] = {
        spec.metric: score,
        "labelled_rows": labelled,
        "labelled_share": round(share, 4),
    }
    known = f"the truth of {labelled:,} of {seen.rows:,} rows ({share:.0%}) is known"

    def passed(text: str) -> Finding:
        return Finding(Outcome("performance", True, "error", text, metadata))

    if labelled < min_rows:
        return passed(f"not judged: {known}, fewer than {min_rows:,}")
    if score is None or math.isnan(score):
        return passed(f"not judged: {spec.metric} isn't defined for these rows; {known}")
    text = f"{spec.metric} is {score:.4g}"
    if not spec.judges_realised:
        return passed(f"{text}, not judged; {known}")
    if _holds(spec, score):
        return passed(f"{text}, {bound_of(spec)}; {known}")
    cause = Cause("performance", spec.metric, score, bound_of(spec))
    text = f"{text}, not {bound_of(spec)}; {known}"
    return Finding(Outcome("performance", False, "error", text, metadata), [cause])


def _estimated(spec: Performance, seen: Observation) -> Finding:
    found, name = seen.estimate, "estimated_performance"
    if found is None:
        return Finding(Outcome(name, True, "error", f"not estimated: {seen.no_estimate}"))
    metadata: dict[str, Any] = {
        "estimated": found.value,
        "low": found.low,
        "high": found.high,
        "realised": seen.score,
        "calibrated_on_rows": found.calibrated_on,
    }
    if math.isnan(found.value):
        text = f"not judged: {spec.metric} isn't defined for these rows"
        return Finding(Outcome(name, True, "error", text, metadata))
    text = f"{spec.metric} is estimated as {found.value:.4g}"
    text += f" ({found.band})" if found.band else ", without a band: the reference has no labels"
    if not spec.judges_estimate:
        return Finding(Outcome(name, True, "error", f"{text}, not judged", metadata))
    if _holds(spec, found.value):
        outcome = Outcome(name, True, "error", f"{text}, {bound_of(spec)}", metadata)
        return Finding(outcome)
    cause = Cause(name, spec.metric, found.value, bound_of(spec))
    outcome = Outcome(name, False, "error", f"{text}, not {bound_of(spec)}", metadata)
    return Finding(outcome, [cause])


def _holds(spec: Performance, value: float) -> bool:
    return value >= spec.at_least if spec.at_least is not None else value <= (spec.at_most or 0.0)


def bound_of(spec: Performance) -> str:
    """What a metric is held to, in words."""
    return (
        f"at least {spec.at_least:g}" if spec.at_least is not None else f"at most {spec.at_most:g}"
    )


def _slices(monitor: Monitor, seen: Observation) -> Finding:
    spec = monitor.slices
    least = (spec.min_rows if spec else None) or monitor.min_rows
    causes = [cause for measured in seen.slices for cause in _of_slice(monitor, measured, least)]
    judged = sum(measured.rows >= least for measured in seen.slices)
    if causes:
        text = f"{len(causes)} bounds of slices broken: {_listed(causes)}"
    else:
        text = f"{judged} of {len(seen.slices)} slices have at least {least:,} rows, "
        text += "and are within bounds"
    metadata = {
        "slices": Records([measured.record() for measured in seen.slices]) or None,
        "broken": [cause.subject for cause in causes],
    }
    return Finding(Outcome("slices", not causes, "error", text, metadata), causes)


def _of_slice(monitor: Monitor, measured: SliceMeasure, least: int) -> Iterator[Cause]:
    performance, drift = monitor.performance, monitor.drift
    if performance:
        low, high = performance.slice_at_least, performance.slice_at_most
        score = measured.score if (measured.labelled or 0) >= least else None
        subject = f"{performance.metric} of {measured.name}"
        if score is not None and not math.isnan(score):
            if low is not None and score < low:
                yield Cause("slices", subject, score, f"at least {low:g}")
            if high is not None and score > high:
                yield Cause("slices", subject, score, f"at most {high:g}")
    if drift and drift.slice_threshold and measured.rows >= least and measured.drift is not None:
        most = drift.slice_threshold
        if measured.drift > most:
            subject = f"drift of {measured.name}"
            yield Cause("slices", subject, measured.drift, f"at most {most:g} ({drift.method})")


def _kpi(kpi: Kpi, value: float | None) -> Finding:
    low, high = kpi.between
    name, bound = f"kpi_{kpi.kpi}", f"from {low:g} to {high:g}"
    metadata = {"value": value, "low": low, "high": high}
    if value is not None and low <= value <= high:
        text = f"{kpi.kpi} is {value:.4g}, {bound}"
        return Finding(Outcome(name, True, "error", text, metadata))
    shown = "no number" if value is None else f"{value:.4g}"
    text = f"{kpi.kpi} is {shown}, not {bound}"
    cause = Cause(name, kpi.kpi, value, bound)
    return Finding(Outcome(name, False, "error", text, metadata), [cause])
