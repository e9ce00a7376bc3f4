"""The judgement over a rollout: limits, enough requests, and no news that isn't good news."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liminal_assets.language.deployments import Rollout
from liminal_assets.serving.control.rollout import (
    Seen,
    evidence_of,
    excess_refusals,
    judge,
    pair_since,
)
from liminal_assets.serving.observing.counts import PairCounts, VersionCounts
from liminal_assets.serving.observing.metrics import BUCKETS
from liminal_assets.steps.side_by_side import Measured, SideBySide


def rollout(**said: Any) -> Rollout:
    return Rollout.model_validate({"strategy": "canary", **said})


def counts(
    ok: int = 0, *, failed: int = 0, refused: int = 0, seconds: float = 0.001
) -> VersionCounts:
    buckets = [0] * len(BUCKETS)
    buckets[next(i for i, bound in enumerate(BUCKETS) if seconds <= bound)] = ok
    return VersionCounts(ok, refused, failed, ok, ok * seconds, tuple(buckets))


ERRORS = {"rollback_on": {"error_rate": 0.01}}


@pytest.mark.parametrize(
    ("said", "seen", "action", "reason"),
    [
        ({}, Seen(0.0), "wait", "0 of 100 requests answered"),
        ({}, Seen(9.0, candidate=counts(99)), "wait", "99 of 100 requests"),
        ({}, Seen(9.0, candidate=counts(100)), "go_on", "within its limits"),
        ({"wait": "10s"}, Seen(9.2, candidate=counts(100)), "wait", "1 s left"),
        ({"wait": "10s"}, Seen(10.0, candidate=counts(100)), "go_on", "after 10 s"),
        # one of a hundred may fail: the second one is one too many, however few there are yet
        (ERRORS, Seen(0.0, candidate=counts(3, failed=1)), "wait", "4 of 100"),
        (ERRORS, Seen(0.0, candidate=counts(3, failed=2)), "roll_back", "error rate 0.4 of 5"),
        (ERRORS, Seen(0.0, candidate=counts(990, failed=10)), "go_on", ""),
        (ERRORS, Seen(0.0, candidate=counts(989, failed=11)), "roll_back", "limit 0.01"),
        # callers' mistakes are no failures, unless the stable version sees clearly fewer
        (ERRORS, Seen(0.0, counts(900, refused=100), counts(90, refused=12)), "go_on", ""),
        (ERRORS, Seen(0.0, counts(990, refused=10), counts(50, refused=50)), "roll_back", ""),
        (
            {"rollback_on": {"p99_ms": 50}},
            Seen(0.0, candidate=counts(100, seconds=0.2)),
            "roll_back",
            "p99",
        ),
        (
            {"rollback_on": {"p99_ms": 50}},
            Seen(0.0, candidate=counts(99, seconds=0.2)),
            "wait",
            "99 of 100",
        ),
        (
            {"rollback_on": {"disagreement": 0.1}},
            Seen(0.0, candidate=counts(200), pair=PairCounts(90, 9)),
            "wait",
            "99 of 100 rows compared",
        ),
        (
            {"rollback_on": {"disagreement": 0.1}},
            Seen(0.0, candidate=counts(200), pair=PairCounts(0, 11)),
            "roll_back",
            "disagreement 1 over 11 rows, limit 0.1",
        ),
        (
            {"strategy": "shadow", "min_requests": 10, **ERRORS},
            Seen(0.0, pair=PairCounts(8, 0, failed=1)),
            "roll_back",
            "error rate 0.111 of 9",
        ),
        ({"strategy": "shadow", "for": "1m"}, Seen(59.0, pair=PairCounts(100)), "wait", "1 s left"),
        ({"strategy": "shadow"}, Seen(0.0, pair=PairCounts(100, dropped=9)), "go_on", ""),
    ],
)
def test_a_step_is_judged(said: dict[str, Any], seen: Seen, action: str, reason: str) -> None:
    verdict = judge(rollout(**said), seen)
    assert verdict.action == action
    assert reason in verdict.reason


LIMITED = rollout(
    min_requests=20, wait="5s", rollback_on={"error_rate": 0.1, "disagreement": 0.2, "p99_ms": 20}
)
VERSIONS = st.builds(
    counts,
    st.integers(0, 300),
    failed=st.integers(0, 50),
    refused=st.integers(0, 50),
    seconds=st.sampled_from([0.001, 0.015, 0.03]),
)
SEEN = st.builds(
    Seen,
    st.floats(0, 20),
    VERSIONS,
    VERSIONS,
    st.builds(PairCounts, st.integers(0, 200), st.integers(0, 60), st.integers(0, 5)),
)
SEVERITY = {"go_on": 0, "wait": 1, "roll_back": 2}


@given(SEEN, st.integers(1, 100))
def test_more_failures_never_make_a_verdict_better(seen: Seen, more: int) -> None:
    worse = replace(
        seen,
        candidate=replace(seen.candidate, server_errors=seen.candidate.server_errors + more),
        pair=replace(seen.pair, disagree=seen.pair.disagree + more),
    )
    before, after = judge(LIMITED, seen), judge(LIMITED, worse)
    if before.action == "roll_back":
        assert after.action == "roll_back"
    if after.action == "go_on":
        assert before.action != "roll_back"


@given(SEEN)
def test_nothing_goes_on_without_requests_time_and_comparisons(seen: Seen) -> None:
    if judge(LIMITED, seen).action == "go_on":
        assert seen.seconds >= 5
        assert seen.candidate.requests >= 20
        assert seen.compared >= 20
        assert seen.candidate.server_errors <= 0.1 * seen.candidate.requests
        assert seen.pair.disagreement <= 0.2


@given(VERSIONS, VERSIONS)
def test_refusals_in_excess_are_no_more_than_all_of_them(
    stable: VersionCounts, candidate: VersionCounts
) -> None:
    excess = excess_refusals(stable, candidate)
    assert 0 <= excess <= candidate.client_errors
    assert not excess or candidate.client_errors * stable.requests > (
        stable.client_errors * candidate.requests
    )


def test_what_was_compared_before_a_step_is_not_its_own() -> None:
    before = PairCounts(5, 1, 1, 2, {"c=AA": (3, 1)})
    now = PairCounts(9, 3, 1, 4, {"c=AA": (4, 2), "c=UA": (3, 1)})
    assert pair_since(now, before) == PairCounts(4, 2, 0, 2, {"c=AA": (1, 1), "c=UA": (3, 1)})
    # workers that began to count again
    assert pair_since(before, now) == before


def test_the_evidence_says_what_both_did() -> None:
    seen = Seen(2.0, counts(10), counts(8, failed=2), PairCounts(3, 1, 0, 0, {"c=AA": (1, 1)}))
    said = evidence_of(seen)
    assert said["candidate"]["requests"] == 10
    assert said["candidate"]["error_rate"] == 0.2
    assert said["stable"]["p99_ms"] == pytest.approx(1.0, abs=0.3)
    assert said["compared"]["disagreement"] == 0.25
    assert said["compared"]["slices"] == {"c=AA": {"rows": 2, "disagreement": 0.5}}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"strategy": "all_at_once", "steps": [5]}, "'steps' goes with 'strategy: canary'"),
        ({"strategy": "canary", "for": "1h"}, "'for' goes with 'strategy: shadow'"),
        (
            {"strategy": "all_at_once", "rollback_on": {"error_rate": 0.1}},
            "goes with 'strategy: canary or shadow'",
        ),
        ({"strategy": "canary", "steps": [25, 5]}, "'steps' must grow"),
        ({"strategy": "canary", "steps": []}, "needs one share"),
        ({"strategy": "shadow", "rollback_on": {"p99_ms": 5}}, "'p99_ms' goes with a canary"),
    ],
)
def test_a_rollout_that_makes_no_sense_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rollout.model_validate(said)


LABELS = {
    "strategy": "shadow",
    "for": "10s",
    "min_labels": 50,
    "rollback_on": {"metric": "roc_auc", "worse_by": 0.02, "slice_worse_by": 0.1},
}


def labelled(rows: int, worse: float | None, error: float = 0.01, **slices: Measured) -> SideBySide:
    whole = Measured(rows, 0.8, None if worse is None else 0.8 - worse, worse, error)
    return SideBySide("roc_auc", whole, slices)


@pytest.mark.parametrize(
    ("seconds", "found", "action", "reason"),
    [
        (20.0, None, "wait", "0 of 50 labels are there"),
        (20.0, labelled(49, 0.9), "wait", "49 of 50 labels"),
        (20.0, labelled(50, None), "wait", "roc_auc isn't defined by 50 labels"),
        # on the way only what is surely worse, at the end what is worse at all
        (5.0, labelled(50, 0.04), "wait", "5 s left"),
        (5.0, labelled(50, 0.06), "roll_back", "worse by 0.06, limit 0.02"),
        (20.0, labelled(50, 0.04), "roll_back", "roc_auc 0.76 against 0.8 of 50 labels"),
        (20.0, labelled(50, 0.01), "go_on", ""),
        (20.0, labelled(50, -0.1), "go_on", ""),
        (
            20.0,
            labelled(90, 0.0, AA=Measured(50, 0.8, 0.6, 0.2, 0.5), UA=Measured(40, 0.8, 0.1, 0.7)),
            "roll_back",
            "roc_auc of AA 0.6 against 0.8",
        ),
        (20.0, labelled(90, 0.0, UA=Measured(40, 0.8, 0.1, 0.7)), "go_on", ""),
    ],
)
def test_labels_decide_where_a_metric_is_asked_for(
    seconds: float, found: SideBySide | None, action: str, reason: str
) -> None:
    seen = Seen(seconds, pair=PairCounts(100), labelled=found)
    verdict = judge(Rollout.model_validate(LABELS), seen)
    assert verdict.action == action
    assert reason in verdict.reason


def test_labels_are_evidence_even_where_they_do_not_decide() -> None:
    found = labelled(50, 0.5, AA=Measured(1))
    seen = Seen(1.0, pair=PairCounts(100), labelled=found)
    assert judge(Rollout.model_validate({"strategy": "shadow"}), seen).action == "go_on"
    said = evidence_of(seen)["labelled"]
    assert (said["metric"], said["labels"], said["worse_by"]) == ("roc_auc", 50, 0.5)
    assert said["slices"]["AA"] == {
        "labels": 1,
        "stable": None,
        "candidate": None,
        "worse_by": None,
        "error": None,
    }
