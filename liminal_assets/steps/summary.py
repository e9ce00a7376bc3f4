"""A judgement in a paragraph: what changed, how sure that is, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.observation import Cause, Observation

__all__ = ["Summary", "summary"]

_NAMED = 3
_WORDS = {
    "quality": "data quality",
    "drift": "drift",
    "prediction_drift": "drift of the predictions",
    "performance": "performance",
    "estimated_performance": "estimated performance",
    "slices": "slices",
}


class Summary(tuple[str, str, str]):
    """What changed, how sure that is, and what to do: each some sentences, or empty."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


def summary(monitor: Monitor, seen: Observation, judgement: Judgement) -> Summary:
    """The paragraph that a report begins with.

    Pure: it says nothing that the judgement doesn't hold.
    """
    if not judgement.judged and not judgement.breach:
        few = f"This window has {seen.rows:,} rows, fewer than the {monitor.min_rows:,} that a "
        wait = "judgement needs: nothing is said about it."
        return Summary((few + wait, "", _where_rows_went(seen)))
    what = " ".join(_what(seen, judgement))
    sure = " ".join(_how_sure(monitor, seen))
    return Summary((what, sure, " ".join(_to_do(monitor, seen, judgement))))


def _where_rows_went(seen: Observation) -> str:
    if seen.others:
        return f"{seen.others:,} rows are of other model versions: a later window will have more."
    return "Look whether anything asks the model, if it should have been asked."


def _what(seen: Observation, judgement: Judgement) -> Iterator[str]:
    if not judgement.breach:
        checks = len(judgement.outcomes)
        all_hold = "Its one check holds" if checks == 1 else f"All {checks} checks hold"
        version = f" of model version {seen.model_version}" if seen.model_version else ""
        yield f"Nothing of note changed. {all_hold} for {seen.rows:,} rows{version}."
        if seen.drift and seen.drift.compared:
            far = seen.drift.compared[0]
            yield (
                f"The column farthest from {seen.reference} is {far.column}: {far.distance:.3g} "
                f"of at most {far.threshold:.3g} ({far.method})."
            )
        return
    for check, causes in groupby(judgement.causes, key=lambda cause: cause.check):
        yield _broken(check, list(causes), seen)


def _broken(check: str, causes: list[Cause], seen: Observation) -> str:
    name = _WORDS.get(check, f"the KPI {check.removeprefix('kpi_')}")
    if check in ("drift", "prediction_drift") and seen.drift:
        shown = ", ".join(
            f"{c.subject} ({_times(c, seen):.1f} × its threshold)" for c in causes[:_NAMED]
        )
        count = "1 column is" if len(causes) == 1 else f"{len(causes)} columns are"
        compared = len(seen.drift.compared)
        text = f"{count} far from {seen.reference}, of {compared} compared: {shown}"
    else:
        shown = "; ".join(str(cause).removeprefix(f"{check}: ") for cause in causes[:_NAMED])
        text = shown
    more = f" and {len(causes) - _NAMED} more" if causes[_NAMED:] else ""
    return f"{name[0].upper()}{name[1:]}: {text}{more}."


def _times(cause: Cause, seen: Observation) -> float:
    """A distance in thresholds."""
    if seen.drift is None or cause.value is None:
        return 0.0
    return cause.value / seen.drift[cause.subject].threshold


def _how_sure(monitor: Monitor, seen: Observation) -> Iterator[str]:
    if seen.calibration:
        found = seen.calibration
        yield (
            f"Thresholds are set so that windows without drift raise at most {found.at_most} of "
            f"false alarms, over all columns together ({found.per_window:.1%} of the windows)."
        )
    elif seen.drift and seen.drift.compared and monitor.drift and monitor.drift.method == "psi":
        bins = monitor.drift.bins - 1
        chance = bins * (1 / max(seen.drift.rows, 1) + 1 / max(seen.drift.reference_rows, 1))
        yield f"By chance alone a column of numbers has a distance of about {chance:.2g} here."
    if monitor.labels and seen.rows:
        share = (seen.labelled or 0) / seen.rows
        yield f"The truth of {share:.0%} of the rows is known."
    yield from _estimated(monitor, seen)


def _estimated(monitor: Monitor, seen: Observation) -> Iterator[str]:
    found = seen.estimate
    if found is None or math.isnan(found.value):
        return
    band = f" ({found.band})" if found.band else ""
    yield f"Without labels, {found.metric} is estimated as {found.value:.4g}{band}."
    score = seen.score if (seen.labelled or 0) >= monitor.min_rows else None
    if score is None or math.isnan(score) or found.low is None or found.high is None:
        return
    if found.low <= score <= found.high:
        yield "What the labels say is within that."
    else:
        yield (
            f"The labels say {score:.4g}, which is outside of it: what the inputs mean may have "
            "changed (concept drift), which no estimate sees."
        )


def _to_do(monitor: Monitor, seen: Observation, judgement: Judgement) -> Iterator[str]:
    broken = {cause.check for cause in judgement.causes}
    if not broken:
        yield "There is nothing to do."
        return
    if "quality" in broken:
        yield "Look at where the data comes from first: measures of broken rows say little."
    drifted = broken & {"drift", "prediction_drift"}
    worse = broken & {"performance", "estimated_performance", "slices"}
    if worse:
        yield "The model is worse than asked: train it again, if newer rows with labels are there."
    elif drifted and _performance_holds(monitor, seen):
        yield "The model is as good as asked all the same: drift is no harm by itself."
    elif drifted:
        yield "Whether the model suffers isn't known yet: look at the columns, and wait for labels."
    if kpis := sorted(name.removeprefix("kpi_") for name in broken if name.startswith("kpi_")):
        yield f"Look at the query of {', '.join(kpis)}, and at what it is about."


def _performance_holds(monitor: Monitor, seen: Observation) -> bool:
    spec = monitor.performance
    if spec is None or seen.score is None or math.isnan(seen.score):
        return False
    if (seen.labelled or 0) < monitor.min_rows:
        return False
    if spec.at_least is not None:
        return seen.score >= spec.at_least
    return spec.at_most is not None and seen.score <= spec.at_most
