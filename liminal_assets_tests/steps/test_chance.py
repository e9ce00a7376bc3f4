"""What chance alone does to shares, against windows that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from liminal_assets.steps.chance import beyond_by_chance, share_by_chance, unseen_by_chance


@pytest.mark.parametrize(("rows", "reference"), [(200, 200), (100, 1000), (1000, 100), (50, 5000)])
def test_values_beyond_the_reference_exceed_the_bound_in_one_window_of_10_000(
    rows: int, reference: int
) -> None:
    bound = beyond_by_chance(rows, reference)
    random = np.random.default_rng(3)
    broken = 0
    for _ in range(20):
        before = random.random((1000, reference))
        now = random.random((1000, rows))
        low, high = before.min(axis=1, keepdims=True), before.max(axis=1, keepdims=True)
        broken += int((((now < low) | (now > high)).mean(axis=1) > bound).sum())
    # 2 of 20,000 are expected; 10 or more come by chance less than once in 10,000 times
    assert broken < 10


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_shares_of_the_same_are_seldom_larger(share: float) -> None:
    rows, reference = 100, 400
    random = np.random.default_rng(4)
    before = random.binomial(reference, share, 50_000) / reference
    now = random.binomial(rows, share, 50_000) / rows
    most = {each: share_by_chance(each, rows, reference) for each in np.unique(before)}
    assert (now > np.array([most[each] for each in before])).mean() < 4e-4


def test_the_three_ways_to_the_quantile_agree_where_they_meet() -> None:
    exact, normal = (share_by_chance(had / 5000, 5000, 5000) for had in (499, 501))
    assert normal == pytest.approx(exact, rel=0.02)
    few, many = (unseen_by_chance(0.0001, rows, 50_000) for rows in (99_999, 100_001))
    assert many == pytest.approx(few, rel=0.5)
    assert many >= few


def test_a_million_rows_are_held_to_what_is_written() -> None:
    assert beyond_by_chance(1_000_000, 1_000_000) < 1e-4
    assert unseen_by_chance(0.0, 1_000_000, 1_000_000) < 1e-4
    assert share_by_chance(0.01, 1_000_000, 1_000_000) < 0.011


def test_without_rows_nothing_is_too_much() -> None:
    assert beyond_by_chance(0, 9) == unseen_by_chance(0.0, 9, 0) == share_by_chance(0.1, 0, 9) == 1
