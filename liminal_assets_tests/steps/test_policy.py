"""The retraining policy: one retraining per cause, cooldown, waiting, recovery."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liminal_assets.steps.judgement import Cause, Judgement, Window
from liminal_assets.steps.policy import PolicyState, decide

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=timezone.utc)


def judged(
    day: int, *, breach: bool = True, version: int = 1, rows_enough: bool = True
) -> Judgement:
    """The judgement of a day's partition."""
    since = START + DAY * day
    key = f"{since:%Y-%m-%d}"
    causes = (Cause("drift", "price", 0.9, "at most 0.2 (psi)"),) if breach else ()
    window = Window(key, since, since + DAY, key)
    return Judgement("watch", window, str(version), 100, rows_enough, causes)


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
    assert decision.retraining.newest.window.key == "2024-01-07"
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
    state = decide(PolicyState(), [judged(3)], cooldown=3 * DAY).state
    early = decide(state, [judged(4, version=2)], cooldown=3 * DAY)
    assert early.retraining is None
    assert "waits for a window that ends at 2024-01-08 00:00+00:00 or later" in early.reason
    later = decide(early.state, [judged(6, version=2)], cooldown=3 * DAY)
    assert later.retraining is not None
    assert [b.window.key for b in later.retraining.breaches] == windows(4, 6)


def test_without_a_cooldown_the_next_window_may_ask_again() -> None:
    state = decide(PolicyState(), [judged(3)]).state
    assert decide(state, [judged(4, version=2)]).retraining is not None


def test_windows_without_moments_are_answered_once_each() -> None:
    breach = Judgement("watch", Window("north", partition="north"), "1", 9, True, judged(1).causes)
    first = decide(PolicyState(), [breach], cooldown=DAY)
    assert first.retraining is not None
    assert decide(first.state, [breach], cooldown=DAY).retraining is None


days = st.lists(
    st.tuples(st.integers(0, 12), st.booleans(), st.integers(1, 3)), min_size=1, max_size=25
)


def _stream(days: Iterable[tuple[int, bool, int]]) -> list[Judgement]:
    return [judged(day, breach=breach, version=version) for day, breach, version in days]


@given(stream=days, cut=st.integers(1, 5), cooldown=st.sampled_from([None, DAY, 4 * DAY]))
@settings(max_examples=80, deadline=None)
def test_no_breach_is_answered_twice_and_the_state_survives_json(
    stream: list[tuple[int, bool, int]], cut: int, cooldown: timedelta | None
) -> None:
    judgements, state = _stream(stream), PolicyState()
    answered: list[str] = []
    asked: list[datetime] = []
    for start in range(0, len(judgements), cut):
        state = PolicyState.from_dict(json.loads(json.dumps(state.as_dict())))
        decision = decide(state, judgements[start : start + cut], cooldown=cooldown)
        state = decision.state
        if retraining := decision.retraining:
            answered.extend(breach.key for breach in retraining.breaches)
            asked.append(retraining.newest.window.until or START)
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
