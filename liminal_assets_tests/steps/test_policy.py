"""The retraining policy: one retraining per cause, cooldown, waiting, recovery."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Trigger
from liminal_assets.steps.decision import Decision, Promotion, Situation
from liminal_assets.steps.judgement import Cause, Judgement, Window
from liminal_assets.steps.memory import PolicyState
from liminal_assets.steps.policy import decide as decide_for

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=timezone.utc)


def judged(
    day: int,
    *,
    breach: bool = True,
    version: int = 1,
    rows_enough: bool = True,
    rows: int = 100,
    labelled: int | None = None,
    score: float | None = None,
) -> Judgement:
    """The judgement of a day's partition."""
    since = START + DAY * day
    key = f"{since:%Y-%m-%d}"
    causes = (Cause("drift", "price", 0.9, "at most 0.2 (psi)"),) if breach else ()
    window = Window(key, since, since + DAY, key)
    return Judgement(
        "watch",
        window,
        str(version),
        rows,
        rows_enough,
        causes,
        labelled=labelled,
        score=score,
    )


def good(day: int, **options: Any) -> Judgement:
    """The judgement of a day's partition that is within bounds."""
    return judged(day, breach=False, **options)


def ends(*days: int) -> dict[str, datetime]:
    """Partitions of days, with their ends."""
    return {f"{START + DAY * day:%Y-%m-%d}": START + DAY * (day + 1) for day in days}


def watching(**policy: Any) -> Monitor:
    """A monitor with a policy as in YAML."""
    return Monitor.model_validate(
        {
            "monitor": "watch",
            "deployment": "d",
            "drift": {},
            "performance": {
                "metric": "roc_auc",
                "at_least": 0.5,
                "labels": {"from": "t", "key": "id", "column": "y"},
            },
            "retrain": {"model": "m", **policy},
        }
    )


def decide(
    state: PolicyState,
    judgements: Iterable[Judgement],
    policy: Mapping[str, Any] | None = None,
    **situation: Any,
) -> Decision:
    """What a policy (default: on breach) decides in a situation."""
    return decide_for(watching(**(policy or {})), state, judgements, Situation(**situation))


def windows(*days: int) -> list[str]:
    return [f"{START + DAY * day:%Y-%m-%d}" for day in days]


def test_a_breach_asks_for_a_retraining_and_says_why() -> None:
    decision = decide(PolicyState(), [judged(3)])
    assert decision.retraining is not None
    assert decision.retraining.key == "watch:2024-01-04:v1"
    assert decision.retraining.cause == "2024-01-04: drift: price: 0.9, not at most 0.2 (psi)"


def test_several_breaches_at_once_are_one_retraining_up_to_the_newest() -> None:
    decision = decide(PolicyState(), [judged(5), judged(3), judged(4, breach=False), judged(6)])
    assert decision.retraining is not None
    assert [b.window.key for b in decision.retraining.breaches] == windows(3, 5, 6)
    assert decision.retraining.window.key == "2024-01-07"
    assert decision.state.held == ()


@pytest.mark.parametrize(
    ("judgements", "reason"),
    [
        ([], "no window was judged since the last look"),
        ([judged(1, breach=False)], "nothing to do: 2024-01-02 is within bounds"),
        (
            [judged(1, breach=False), judged(2, breach=False)],
            "nothing to do: 2024-01-02, 2024-01-03 are within bounds",
        ),
    ],
    ids=["nothing new", "one good window", "two good windows"],
)
def test_it_says_why_it_does_nothing(judgements: list[Judgement], reason: str) -> None:
    decision = decide(PolicyState(), judgements)
    assert decision.retraining is None
    assert decision.reason == reason


def test_the_same_breach_judged_again_is_answered_once() -> None:
    state = decide(PolicyState(), [judged(3)]).state
    again = decide(state, [judged(3)])
    assert again.retraining is None
    assert again.reason == "nothing to do: 2024-01-04 is a breach already answered"


def test_the_last_judgement_of_a_window_counts() -> None:
    assert decide(PolicyState(), [judged(3), judged(3, breach=False)]).retraining is None
    assert decide(PolicyState(), [judged(3, breach=False), judged(3)]).retraining is not None


def test_a_breach_in_data_that_the_last_retraining_had_needs_no_other() -> None:
    state = decide(PolicyState(), [judged(5)]).state
    again = decide(state, [judged(4, version=2), judged(5, version=2)])
    assert again.retraining is None
    assert "data that was already learned from" in again.reason


def test_a_breach_in_data_that_the_model_learned_from_leads_to_nothing() -> None:
    learned = {"1": START + DAY * 5, "2": START + DAY * 9}
    assert decide(PolicyState(), [judged(4)], learned=learned).retraining is None
    asked = decide(PolicyState(), [judged(5), judged(5, version=2)], learned=learned)
    assert asked.retraining is not None
    assert asked.retraining.key == "watch:2024-01-06:v1"


def test_a_breach_waits_while_the_model_is_being_trained() -> None:
    waiting = decide(PolicyState(), [judged(3)], busy="run 1 is training m")
    assert waiting.retraining is None
    assert waiting.reason == "the breach in 2024-01-04 waits: run 1 is training m"
    asked = decide(waiting.state, [])
    assert asked.retraining is not None
    assert [b.window.key for b in asked.retraining.breaches] == windows(3)


def test_a_waiting_breach_is_obsolete_once_a_later_window_is_good() -> None:
    waiting = decide(PolicyState(), [judged(3)], busy="busy").state
    assert decide(waiting, [judged(4, breach=False)]).retraining is None
    assert decide(waiting, [judged(2, breach=False)]).retraining is not None
    assert decide(waiting, [judged(4, breach=False, rows_enough=False)]).retraining is not None


def test_a_good_window_of_an_older_version_makes_no_breach_obsolete() -> None:
    waiting = decide(PolicyState(), [judged(3, version=2)], busy="busy").state
    assert decide(waiting, [judged(4, version=1, breach=False)]).retraining is not None


def test_within_the_cooldown_a_breach_waits_for_a_later_window() -> None:
    state = decide(PolicyState(), [judged(3)], {"cooldown": "3d"}).state
    early = decide(state, [judged(4, version=2)], {"cooldown": "3d"})
    assert early.retraining is None
    assert "lasts until a window ends at 2024-01-08 00:00" in early.reason
    later = decide(early.state, [judged(6, version=2)], {"cooldown": "3d"})
    assert later.retraining is not None
    assert [b.window.key for b in later.retraining.breaches] == windows(4, 6)


def test_without_a_cooldown_the_next_window_may_ask_again() -> None:
    state = decide(PolicyState(), [judged(3)]).state
    assert decide(state, [judged(4, version=2)]).retraining is not None


def test_windows_without_moments_are_answered_once_each() -> None:
    breach = Judgement("watch", Window("north", partition="north"), "1", 9, True, judged(1).causes)
    first = decide(PolicyState(), [breach], {"cooldown": "1d"})
    assert first.retraining is not None
    assert decide(first.state, [breach], {"cooldown": "1d"}).retraining is None


def replayed(
    judgements: Iterable[Judgement], policy: Mapping[str, Any], **situation: Any
) -> list[Decision]:
    """What is decided after each of some judgements."""
    state, decisions = PolicyState(), []
    for judgement in judgements:
        state = PolicyState.from_dict(json.loads(json.dumps(state.as_dict())))
        decisions.append(decide(state, [judgement], policy, **situation))
        state = decisions[-1].state
    return decisions


def when_trained(decisions: Iterable[Decision]) -> list[str]:
    return [d.retraining.window.key for d in decisions if d.retraining]


def test_breaches_count_from_so_many_windows_in_a_row() -> None:
    stream = [judged(1), good(2), judged(3), judged(4), judged(5), judged(6)]
    decisions = replayed(stream, {"consecutive": 2})
    assert when_trained(decisions) == windows(4, 6)
    assert decisions[0].reason == "the breach in 2024-01-02 waits: 1 of 2 windows in a row"
    assert decisions[3].retraining is not None
    assert [b.window.key for b in decisions[3].retraining.breaches] == windows(3, 4)


def test_a_window_with_too_few_rows_ends_no_row_of_breaches() -> None:
    stream = [judged(1), good(2, rows_enough=False), judged(3)]
    assert when_trained(replayed(stream, {"consecutive": 2})) == windows(3)


def test_a_row_of_breaches_in_a_backfill_counts_though_a_good_window_follows() -> None:
    seen = [judged(1), judged(2), good(3)]
    assert decide(PolicyState(), seen, {"consecutive": 2}).retraining is not None
    assert decide(PolicyState(), seen, {"consecutive": 3}).retraining is None


def test_no_more_retrainings_than_the_rate_allows() -> None:
    decisions = replayed(map(judged, range(12)), {"at_most": "2 per week"})
    assert when_trained(decisions) == windows(0, 1, 7, 8)
    assert "there were 2 retrainings lately, and at most 2 per week are allowed" in (
        decisions[2].reason
    )


def test_it_waits_for_enough_new_rows() -> None:
    decisions = replayed(map(judged, range(6)), {"min_rows": 250})
    assert when_trained(decisions) == windows(2, 5)
    assert "100 of 250 rows have come since the model last learned" in decisions[0].reason


def test_new_labels_are_a_reason_and_those_that_come_late_count() -> None:
    policy = {"when": {"labels": 150}}
    stream = [
        good(1, labelled=60),
        good(2, labelled=60),
        good(1, labelled=80),
        good(2, labelled=90),
        good(3, labelled=100),
        good(2, labelled=100),
        good(4, labelled=60),
    ]
    decisions = replayed(stream, policy)
    assert [bool(d.retraining) for d in decisions] == [False] * 3 + [True, False, False, True]
    asked = decisions[3].retraining
    assert asked is not None
    assert asked.window.key == "2024-01-03"
    assert asked.cause == ("labels: 170 new ones since 2024-01-03 00:00, of 150 asked for")
    assert asked.evidence == {"labels": {"labels": 170, "asked": 150}}


def test_labels_of_data_that_the_model_learned_from_are_not_new() -> None:
    learned = {"1": START + DAY * 3}
    decisions = replayed(
        [good(1, labelled=500), good(2, labelled=500), good(3, labelled=99)],
        {"when": {"labels": 100}},
        learned=learned,
    )
    assert when_trained(decisions) == []
    again = decide(decisions[-1].state, [good(2, labelled=501)], {"when": {"labels": 100}})
    assert again.retraining is not None


@pytest.mark.parametrize(
    ("every", "expected"),
    [("4d", windows(5, 9, 13)), ("week", windows(8, 15)), ("month", windows(32))],
    ids=["days", "week", "month"],
)
def test_a_cadence_is_counted_in_the_time_of_the_data(every: str, expected: list[str]) -> None:
    last = 16 if every != "month" else 40
    decisions = replayed(map(good, range(1, last)), {"when": {"every": every}})
    assert when_trained(decisions) == expected


def test_a_cadence_begins_where_the_model_last_learned() -> None:
    learned = {"1": START, "2": START + DAY * 5}
    decisions = replayed(map(good, range(5, 9)), {"when": {"every": "3d"}}, learned=learned)
    assert when_trained(decisions) == windows(7)


def test_a_day_is_a_day_when_the_clocks_change() -> None:
    zone = ZoneInfo("America/New_York")
    before = datetime(2024, 3, 10, 5, tzinfo=timezone.utc)
    after = datetime(2024, 3, 11, 4, tzinfo=timezone.utc)
    assert after - before < DAY
    found = decide(
        PolicyState(reached=before),
        [],
        {"when": {"every": "1d"}},
        partitions={"2024-03-10": after},
        zone=zone,
    )
    assert found.retraining is not None


def test_fresh_partitions_are_a_reason() -> None:
    policy, learned = {"when": {"fresh": 2}}, {"1": START + DAY * 3}
    few = decide(PolicyState(), [], policy, learned=learned, partitions=ends(1, 2, 3))
    assert few.retraining is None
    asked = decide(few.state, [], policy, learned=learned, partitions=ends(1, 2, 3, 4))
    assert asked.retraining is not None
    assert asked.retraining.window.partition == "2024-01-05"
    assert asked.retraining.cause == (
        "fresh: 2024-01-04, 2024-01-05 are new partitions since 2024-01-04 00:00"
    )
    again = decide(asked.state, [], policy, learned=learned, partitions=ends(1, 2, 3, 4, 5))
    assert again.retraining is None


def test_several_reasons_are_one_retraining_up_to_the_newest_data() -> None:
    policy = {"when": ["breach", {"fresh": 1}]}
    learned, partitions = {"1": START + DAY * 2}, ends(1, 2, 3, 4)
    asked = decide(PolicyState(), [judged(2)], policy, learned=learned, partitions=partitions)
    assert asked.retraining is not None
    assert [reason.kind for reason in asked.retraining.reasons] == ["breach", "fresh"]
    assert asked.retraining.key == "watch:2024-01-03:v1"
    assert asked.retraining.window.key == "2024-01-05"
    again = decide(asked.state, [judged(4)], policy, learned=learned, partitions=partitions)
    assert again.retraining is None


@pytest.mark.parametrize(
    "policy",
    [{"when": {"labels": 10}}, {"when": {"every": "1d"}}, {"when": {"fresh": 1}}],
    ids=["labels", "every", "fresh"],
)
def test_the_same_cause_has_the_same_key_however_late_it_is_asked_again(
    policy: dict[str, Any],
) -> None:
    learned = {"1": START + DAY * 2}
    old = decide(PolicyState(), [good(1, labelled=9)], policy, learned=learned).state
    once = decide(old, [good(2, labelled=50)], policy, learned=learned, partitions=ends(1, 2))
    later = decide(
        old,
        [good(2, labelled=50), good(3, labelled=50)],
        policy,
        learned=learned,
        partitions=ends(1, 2, 3),
    )
    assert once.retraining is not None
    assert later.retraining is not None
    assert once.retraining.key == later.retraining.key


def test_a_policy_without_a_reason_never_trains() -> None:
    decisions = replayed(map(judged, range(3)), {"when": []})
    assert when_trained(decisions) == []
    assert decisions[-1].reason == (
        "nothing to do: 2024-01-03 is a breach, which 'when' leaves out"
    )


PROMOTED = Promotion("2", "1", {"roc_auc": 0.8})


def scored(*scores: float, version: int = 2, first: int = 5) -> list[Judgement]:
    """Windows with some performance."""
    return [
        good(first + index, version=version, score=score, labelled=100)
        for index, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("rule", "before", "now", "taken_back"),
    [
        pytest.param({"by": 0.05}, (0.7, 0.8), (0.69, 0.68), True, id="worse than before it"),
        pytest.param({"by": 0.05}, (0.7, 0.8), (0.69, 0.71), False, id="one window is fine"),
        pytest.param({"by": 0.05}, (0.7, 0.8), (0.69,), False, id="too few windows"),
        pytest.param({"by": 0.05, "windows": 1}, (0.75,), (0.6,), True, id="one window"),
        pytest.param({"by": 0.05}, (), (0.1, 0.1), False, id="nothing known of before"),
        pytest.param({"below": "validation"}, (), (0.79, 0.7), True, id="worse than validated"),
        pytest.param({"below": "validation", "by": 0.2}, (), (0.7, 0.65), False, id="allowed"),
    ],
)
def test_a_promoted_version_that_does_worse_goes_back(
    rule: dict[str, Any], before: tuple[float, ...], now: tuple[float, ...], taken_back: bool
) -> None:
    stream = [*scored(*before, version=1, first=1), *scored(*now)]
    decision = decide(PolicyState(), stream, {"rollback": rule}, promotion=PROMOTED)
    assert bool(decision.rollback) == taken_back
    if decision.rollback:
        assert (decision.rollback.version, decision.rollback.to) == ("2", "1")
        assert f"version 2 does worse than asked: roc_auc {now[0]:.4g} in" in (
            decision.rollback.reason
        )


def test_windows_that_a_version_learned_from_say_nothing_of_its_live_performance() -> None:
    stream = [*scored(0.7, 0.8, version=1, first=1), *scored(0.1, 0.1)]
    learned = {"2": START + DAY * 6}
    decision = decide(PolicyState(), stream, {"rollback": {}}, promotion=PROMOTED, learned=learned)
    assert decision.rollback is None


def test_a_rollback_waits_for_a_canary_and_is_not_lost() -> None:
    stream = [*scored(0.7, 0.8, version=1, first=1), *scored(0.1, 0.1)]
    policy = {"rollback": {"by": 0.05}}
    waiting = decide(
        PolicyState(), stream, policy, promotion=PROMOTED, canary="api is trying version 3"
    )
    assert waiting.rollback is None
    assert "the rollback of version 2 waits: api is trying version 3" in waiting.reason
    assert decide(waiting.state, [], policy, promotion=PROMOTED).rollback is not None


def test_a_rollback_answers_the_breaches_of_the_version() -> None:
    stream = scored(0.7, 0.8, version=1, first=1)
    breaches = [judged(day, version=2, score=0.2, labelled=100) for day in (5, 6)]
    decision = decide(PolicyState(), [*stream, *breaches], {"rollback": {}}, promotion=PROMOTED)
    assert decision.rollback is not None
    assert decision.retraining is None
    assert decide(decision.state, breaches, {"rollback": {}}).retraining is None
    assert decide(decision.state, [judged(7)], {"rollback": {}}).retraining is not None


days = st.lists(
    st.tuples(st.integers(0, 12), st.booleans(), st.integers(1, 3)), min_size=1, max_size=25
)


def _stream(days: Iterable[tuple[int, bool, int]]) -> list[Judgement]:
    return [judged(day, breach=breach, version=version) for day, breach, version in days]


@given(stream=days, cut=st.integers(1, 5), cooldown=st.sampled_from([None, "1d", "4d"]))
@settings(max_examples=80, deadline=None)
def test_no_breach_is_answered_twice_and_the_state_survives_json(
    stream: list[tuple[int, bool, int]], cut: int, cooldown: str | None
) -> None:
    judgements, state = _stream(stream), PolicyState()
    answered: list[str] = []
    asked: list[datetime] = []
    for start in range(0, len(judgements), cut):
        state = PolicyState.from_dict(json.loads(json.dumps(state.as_dict())))
        decision = decide(state, judgements[start : start + cut], {"cooldown": cooldown})
        state = decision.state
        if retraining := decision.retraining:
            answered.extend(breach.key for breach in retraining.breaches)
            asked.append(retraining.window.until or START)
    assert len(answered) == len(set(answered))
    assert asked == sorted(set(asked))


@given(stream=days)
@settings(max_examples=60, deadline=None)
def test_the_order_of_judgements_seen_at_once_does_not_matter(
    stream: list[tuple[int, bool, int]],
) -> None:
    once = {judgement.key: judgement for judgement in _stream(stream)}
    forth = decide(PolicyState(), once.values())
    back = decide(PolicyState(), reversed(once.values()))
    assert forth == back


def test_only_the_checks_that_the_policy_names_are_a_reason() -> None:
    fell = Cause("performance", "roc_auc", 0.5, "at least 0.6")
    policy = {"when": [{"breach": "performance"}]}
    drifted = decide(PolicyState(), [judged(1)], policy)
    assert drifted.retraining is None
    assert drifted.reason == "nothing to do: 2024-01-02 is a breach, which 'when' leaves out"
    both = replace(judged(2), causes=(*judged(2).causes, fell))
    decision = decide(drifted.state, [both], policy)
    assert decision.retraining is not None
    assert decision.retraining.cause == "2024-01-03: performance: roc_auc: 0.5, not at least 0.6"


def test_a_window_in_which_only_others_broke_makes_a_breach_obsolete() -> None:
    fell = (Cause("performance", "roc_auc", 0.5, "at least 0.6"),)
    policy = {"when": [{"breach": "performance"}], "consecutive": 2}
    waits = decide(PolicyState(), [replace(judged(1), causes=fell)], policy)
    assert waits.reason == "the breach in 2024-01-02 waits: 1 of 2 windows in a row"
    assert decide(waits.state, [judged(2)], policy).state.held == ()


def test_nothing_is_learned_from_broken_rows_and_nothing_is_well_because_of_them() -> None:
    gone = (Cause("quality", "price missing", 0.4, "at most 0.05"),)
    broken = replace(judged(2), causes=gone)
    alone = decide(PolicyState(), [broken])
    assert alone.retraining is None
    assert alone.reason == "nothing to do: 2024-01-03 is a breach, which 'when' leaves out"
    waits = decide(PolicyState(), [judged(1)], {"consecutive": 2})
    assert decide(waits.state, [broken], {"consecutive": 2}).state.held == waits.state.held
    assert not Trigger(breach=True).counts("quality")
    assert Trigger(breach=("quality",)).counts("quality")
