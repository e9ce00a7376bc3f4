"""Whether a candidate goes on, waits or goes back: a judgement over counts, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from liminal_assets.language.deployments import Rollout
from liminal_assets.serving.observing.counts import PairCounts, VersionCounts
from liminal_assets.steps.side_by_side import Measured, SideBySide

__all__ = ["Seen", "Verdict", "evidence_of", "excess_refusals", "judge", "pair_since"]

_SURE = 3.0
"""Standard errors by which the candidate must refuse more requests than the stable version."""


@dataclass(frozen=True)
class Seen:
    """What a step has shown.

    Attributes:
        seconds: how long it lasts.
        stable: the requests that the stable version answered since the rollout began.
        candidate: those that the candidate answered in this step.
        pair: the rows of this step that both answered.
        labelled: what labels say of requests since the rollout began; None while there are none.
    """

    seconds: float
    stable: VersionCounts = field(default_factory=VersionCounts)
    candidate: VersionCounts = field(default_factory=VersionCounts)
    pair: PairCounts = field(default_factory=PairCounts)
    labelled: SideBySide | None = None

    @property
    def compared(self) -> int:
        """Rows that both answered, and requests that one of them couldn't."""
        return self.pair.agree + self.pair.disagree + self.pair.failed


@dataclass(frozen=True)
class Verdict:
    """What becomes of a candidate, and why."""

    action: Literal["wait", "go_on", "roll_back"]
    reason: str


def judge(rollout: Rollout, seen: Seen) -> Verdict:
    """The verdict over a step.

    A limit is broken as soon as what was counted breaks it over ``min_requests``: with 2 failures
    where 1 of 100 may fail, the 98 others make no difference any more. Nothing goes on without
    ``min_requests``, nor where a metric is judged without ``min_labels``: no news isn't good news.

    A metric goes up and down as labels arrive, and is looked at again and again: on the way a
    candidate is taken back only if it is worse than it may be by three standard errors, and at the
    end by the number itself.
    """
    if broken := next(chain(_broken(rollout, seen), _worse(rollout, seen, _SURE)), None):
        return Verdict("roll_back", broken)
    shadow = rollout.strategy == "shadow"
    needed = rollout.min_requests
    wait = rollout.for_ if shadow else rollout.wait
    if not shadow and seen.candidate.requests < needed:
        return Verdict("wait", f"{seen.candidate.requests} of {needed} requests answered")
    if rollout.compares and seen.compared < needed:
        return Verdict("wait", f"{seen.compared} of {needed} rows compared")
    if rollout.rollback_on.metric is not None:
        labels = seen.labelled.whole if seen.labelled else Measured(0)
        if labels.rows < rollout.min_labels:
            return Verdict("wait", f"{labels.rows} of {rollout.min_labels} labels are there")
        if labels.worse_by is None:
            said = f"{rollout.rollback_on.metric} isn't defined by {labels.rows} labels"
            return Verdict("wait", said)
    if wait is not None and seen.seconds < wait.total_seconds():
        left = wait.total_seconds() - seen.seconds
        return Verdict("wait", f"{math.ceil(left)} s left")
    if worse := next(_worse(rollout, seen, 0.0), None):
        return Verdict("roll_back", worse)
    return Verdict("go_on", f"within its limits after {seen.seconds:.0f} s")


def _broken(rollout: Rollout, seen: Seen) -> Iterator[str]:
    limits, least = rollout.rollback_on, rollout.min_requests
    if limits.error_rate is not None:
        if rollout.strategy == "shadow":
            failed, tried = float(seen.pair.failed), seen.compared
        else:
            failed = seen.candidate.server_errors + excess_refusals(seen.stable, seen.candidate)
            tried = seen.candidate.requests
        if failed > limits.error_rate * max(tried, least):
            yield f"error rate {failed / tried:.3g} of {tried}, limit {limits.error_rate:g}"
    if limits.disagreement is not None:
        rows = seen.pair.agree + seen.pair.disagree
        if seen.pair.disagree > limits.disagreement * max(rows, least):
            said = f"disagreement {seen.pair.disagreement:.3g} over {rows} rows"
            yield f"{said}, limit {limits.disagreement:g}"
    if limits.p99_ms is not None and seen.candidate.ok >= least:
        slowest = _milliseconds(seen.candidate, 0.99)
        if slowest is not None and slowest > limits.p99_ms:
            yield f"p99 {slowest:.3g} ms of {seen.candidate.ok} requests, limit {limits.p99_ms:g}"


def _worse(rollout: Rollout, seen: Seen, sure: float) -> Iterator[str]:
    """Where labels say that the candidate is worse than it may be, by so many standard errors."""
    limits, found = rollout.rollback_on, seen.labelled
    if limits.metric is None or found is None:
        return
    parts = [("", found.whole, limits.worse_by)]
    parts += [(f" of {name}", one, limits.slice_worse_by) for name, one in found.slices.items()]
    for where, one, most in parts:
        if most is None or one.worse_by is None or one.rows < rollout.min_labels:
            continue
        if sure and one.error is None:
            continue
        if one.worse_by > most + sure * (one.error or 0.0):
            yield (
                f"{found.metric}{where} {one.candidate:.4g} against {one.stable:.4g} of "
                f"{one.rows} labels: worse by {one.worse_by:.3g}, limit {most:g}"
            )


def excess_refusals(stable: VersionCounts, candidate: VersionCounts) -> float:
    """The candidate's refusals (4xx) that can't be the callers' mistakes: the stable version
    refuses clearly fewer (two proportions, three standard errors)."""
    ours, theirs = candidate.requests, stable.requests
    if not ours or not theirs:
        return 0.0
    difference = candidate.client_errors / ours - stable.client_errors / theirs
    pooled = (candidate.client_errors + stable.client_errors) / (ours + theirs)
    error = math.sqrt(pooled * (1 - pooled) * (1 / ours + 1 / theirs))
    if difference <= _SURE * error:
        return 0.0
    return candidate.client_errors - stable.client_errors / theirs * ours


def pair_since(now: PairCounts, before: PairCounts) -> PairCounts:
    """What was compared after ``before``; all of it if counting began again meanwhile."""
    if before.agree + before.disagree > now.agree + now.disagree:
        return now
    slices = {}
    for name, (agree, disagree) in now.slices.items():
        agreed, disagreed = before.slices.get(name, (0, 0))
        slices[name] = (agree - agreed, disagree - disagreed)
    return PairCounts(
        now.agree - before.agree,
        now.disagree - before.disagree,
        now.failed - before.failed,
        now.dropped - before.dropped,
        slices,
    )


def evidence_of(seen: Seen) -> dict[str, Any]:
    """What a decision rests on, as the journal keeps it."""
    said: dict[str, Any] = {
        "seconds": round(seen.seconds, 3),
        "stable": _version(seen.stable),
        "candidate": _version(seen.candidate),
    }
    if seen.compared or seen.pair.dropped:
        said["compared"] = _pair(seen.pair)
    if seen.labelled is not None:
        said["labelled"] = _labelled(seen.labelled)
    return said


def _version(counts: VersionCounts) -> Mapping[str, Any]:
    return {
        "requests": counts.requests,
        "refused": counts.client_errors,
        "failed": counts.server_errors,
        "error_rate": round(counts.error_rate, 6),
        "p50_ms": _milliseconds(counts, 0.5),
        "p99_ms": _milliseconds(counts, 0.99),
    }


def _pair(counts: PairCounts) -> Mapping[str, Any]:
    return {
        "rows": counts.agree + counts.disagree,
        "disagreement": round(counts.disagreement, 6),
        "failed": counts.failed,
        "dropped": counts.dropped,
        "slices": {
            name: {"rows": agree + disagree, "disagreement": _share(disagree, agree + disagree)}
            for name, (agree, disagree) in sorted(counts.slices.items())
        },
    }


def _labelled(found: SideBySide) -> Mapping[str, Any]:
    return {
        "metric": found.metric,
        **_measured(found.whole),
        "slices": {name: _measured(one) for name, one in found.slices.items()},
    }


def _measured(one: Measured) -> Mapping[str, Any]:
    numbers = {
        "stable": one.stable,
        "candidate": one.candidate,
        "worse_by": one.worse_by,
        "error": one.error,
    }
    return {
        "labels": one.rows,
        **{name: None if n is None else round(n, 6) for name, n in numbers.items()},
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _milliseconds(counts: VersionCounts, quantile: float) -> float | None:
    seconds = counts.quantile(quantile)
    return None if seconds is None else round(seconds * 1000, 3)
