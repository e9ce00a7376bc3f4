"""Thresholds that hold a rate of false alarms, and what they let one see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from liminal_assets.language.monitors import DriftMethod
from liminal_assets.steps import distances
from liminal_assets.steps.bins import number_histograms
from liminal_assets.steps.calibration import Calibration, calibrate
from liminal_assets.steps.null_columns import NullColumn, category_column, number_column
from liminal_assets.steps.resampling import Groups, draws, row_groups, time_groups

METHODS: Sequence[DriftMethod] = ("psi", "chi2", "jensen_shannon", "ks", "wasserstein")


def normal(rows: int, columns: int, random: np.random.Generator, alike: float = 0.5) -> Any:
    """Columns of normal numbers that share a part of their variance."""
    own = random.normal(size=(rows, columns))
    return np.sqrt(1 - alike) * own + np.sqrt(alike) * random.normal(size=(rows, 1))


def null_columns(method: DriftMethod, table: Any, groups: Groups) -> list[NullColumn]:
    return [
        number_column(str(at), method, table[:, at], groups, bins=10, grid=64)
        for at in range(table.shape[1])
    ]


def calibrated(method: DriftMethod, table: Any, rows: int, **options: Any) -> Calibration:
    groups = options.pop("groups", None) or row_groups(len(table), rows, np.random.default_rng(3))
    return calibrate(
        null_columns(method, table, groups),
        groups,
        window_rows=rows,
        reference_rows=len(table),
        **{"per_window": 0.1, **options},
    )


def distance(method: DriftMethod, before: Any, now: Any) -> float:
    if method in ("ks", "wasserstein"):
        return float(getattr(distances, method)(before, now))
    found = number_histograms(before, now, 10)
    return float(getattr(distances, method)(found.reference, found.current))


@pytest.mark.parametrize("method", METHODS)
def test_without_drift_a_monitor_alarms_as_often_as_it_says(method: DriftMethod) -> None:
    """Of all columns together, in windows that no calibration has seen: within what chance allows
    of so many windows (five references, for a reference may itself be unusual)."""
    random, alarms, windows = np.random.default_rng(11), 0, 0
    for _ in range(5):
        reference = normal(1500, 4, random)
        thresholds = calibrated(method, reference, 400, per_window=0.1).thresholds
        for _ in range(60):
            window = normal(400, 4, random)
            found = (distance(method, reference[:, at], window[:, at]) for at in range(4))
            alarms += any(d > thresholds[str(at)] for at, d in enumerate(found))
            windows += 1
    low, high = binom.ppf([0.001, 0.999], windows, 0.1)
    assert low <= alarms <= high


def test_a_threshold_for_each_column_alone_would_cry_wolf() -> None:
    """The reason for calibrating all columns together: twenty at 5 % each alarm in most windows."""
    reference = normal(1500, 20, np.random.default_rng(1), alike=0.0)
    together = calibrated("psi", reference, 400, per_window=0.05).thresholds
    alone = {
        str(at): calibrated("psi", reference[:, [at]], 400, per_window=0.05).thresholds["0"]
        for at in range(3)
    }
    assert all(together[name] > 1.3 * threshold for name, threshold in alone.items())


def test_larger_windows_have_lower_thresholds_and_find_smaller_shifts() -> None:
    reference = normal(4000, 1, np.random.default_rng(1))
    small, large = (calibrated("psi", reference, rows).columns[0] for rows in (200, 4000))
    assert large.threshold < small.threshold / 4
    assert small.shift is not None
    assert large.shift is not None
    assert large.shift < small.shift / 2
    assert small.shift_in_words.startswith("a shift of 0.")


@pytest.mark.parametrize("method", METHODS)
def test_the_shift_that_the_report_names_is_found_in_four_of_five_windows(
    method: DriftMethod,
) -> None:
    random = np.random.default_rng(2)
    reference = normal(2000, 1, random)
    (found,) = calibrated(method, reference, 500, per_window=0.05).columns
    assert found.shift is not None
    moved = found.shift * reference.std()
    seen = sum(
        distance(method, reference[:, 0], normal(500, 1, random)[:, 0] + moved) > found.threshold
        for _ in range(120)
    )
    assert 0.65 <= seen / 120 <= 0.93


def test_equal_settings_give_equal_thresholds_and_another_seed_nearly_so() -> None:
    reference = normal(1500, 3, np.random.default_rng(1))
    first, again, other = (calibrated("psi", reference, 400, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    for one, another in zip(first.columns, other.columns, strict=True):
        assert one.threshold == pytest.approx(another.threshold, rel=0.2)


def test_a_threshold_that_was_given_stays_and_its_false_alarms_are_told() -> None:
    reference = normal(1500, 2, np.random.default_rng(1))
    found = calibrated("psi", reference, 400, given={"1": 0.02})
    free, given = found.columns
    assert set(found.thresholds) == {"0"}
    assert (given.threshold, given.given) == (0.02, True)
    assert given.by_chance > 0.5
    assert free.by_chance == pytest.approx(0.1, abs=0.03)


def test_a_rarer_rate_is_a_higher_threshold_far_beyond_what_was_drawn() -> None:
    reference = normal(1500, 2, np.random.default_rng(1))
    thresholds = [
        calibrated("psi", reference, 400, per_window=chance).thresholds["0"]
        for chance in (0.2, 0.01, 1e-4, 1e-6)
    ]
    assert thresholds == sorted(thresholds)


def test_a_constant_column_alarms_only_where_several_rows_differ() -> None:
    reference = np.full((1000, 1), 7.0)
    (found,) = calibrated("psi", reference, 500).columns
    one, many = (np.array([7.0] * (500 - n) + [8.0] * n) for n in (1, 20))
    assert distance("psi", reference[:, 0], one) <= found.threshold
    assert distance("psi", reference[:, 0], many) > found.threshold


def test_a_column_without_any_value_has_a_threshold_too() -> None:
    reference = np.full((1000, 1), np.nan)
    for method in METHODS:
        (found,) = calibrated(method, reference, 500).columns
        assert found.threshold > 0
        assert found.shift is None


def test_days_that_differ_raise_the_threshold() -> None:
    """Rows of one day are alike: counting them as independent would cry wolf."""
    random = np.random.default_rng(4)
    days = np.repeat(np.arange(60), 200)
    values = (random.normal(size=60)[days] * 0.5 + random.normal(size=len(days)))[:, None]
    blocks = time_groups(days * 86400.0 + 1, 1400, timedelta(days=7), random)
    assert blocks is not None
    assert (blocks.unit, blocks.drawn, blocks.count) == ("days", 7, 60)
    by_day = calibrated("psi", values, 1400, groups=blocks).thresholds["0"]
    by_row = calibrated("psi", values, 1400).thresholds["0"]
    assert by_day > 3 * by_row


def test_a_reference_of_a_few_moments_is_not_cut_by_time() -> None:
    random = np.random.default_rng(4)
    seconds = np.full(1000, np.nan)
    assert time_groups(seconds, 100, None, random) is None
    assert time_groups(np.zeros(1000), 100, timedelta(days=1), random) is None


def test_a_window_that_slides_has_more_chances_to_alarm() -> None:
    reference = normal(2000, 2, np.random.default_rng(1))
    once = calibrated("psi", reference, 500).thresholds["0"]
    sliding = calibrated("psi", reference, 500, looks=8)
    assert sliding.looks == 8
    assert sliding.thresholds["0"] > once


def test_windows_have_the_rows_asked_for_and_successive_looks_share_rows() -> None:
    random = np.random.default_rng(1)
    groups = row_groups(5000, 800, random)
    (drawn,) = draws(groups, 50, 4, random)
    assert drawn.shape == (4, 50, groups.count)
    assert (drawn.sum(axis=-1) == groups.drawn).all()
    shared = np.minimum(drawn[0], drawn[1]).sum(axis=-1).mean()
    apart = np.minimum(drawn[0], drawn[3]).sum(axis=-1).mean()
    assert shared > apart


@pytest.mark.parametrize("method", METHODS)
def test_distances_of_many_windows_are_those_of_each(method: DriftMethod) -> None:
    random = np.random.default_rng(1)
    reference, window = random.normal(size=1000), random.normal(0.3, 1.2, 400)
    groups = Groups(np.zeros(1000, np.int64), 1, 1, 1.0, "rows")
    column = number_column("x", method, reference, groups, bins=10, grid=512)
    own = Groups(np.zeros(400, np.int64), 1, 1, 1.0, "rows")
    places = np.searchsorted(column.edges, window, side="left")
    first = 1 if column.by_order else 0
    counts = np.bincount(places + first, minlength=column.groups.shape[1]).astype(float)
    assert own.count == 1
    found = float(column.distances(counts, 400))
    assert found == pytest.approx(distance(method, reference, window), rel=0.03)


def test_rows_that_go_to_another_category_are_the_shift_of_categories() -> None:
    random = np.random.default_rng(1)
    groups = row_groups(2000, 500, random)
    places = random.choice(3, 2000, p=[0.6, 0.3, 0.1])
    column = category_column("c", "psi", places, ["a", "b", "c"], groups, new=0.0)
    (found,) = calibrate(
        [column], groups, window_rows=500, reference_rows=2000, per_window=0.1
    ).columns
    assert found.shift is not None
    assert 0.02 < found.shift < 0.15
    assert found.shift_in_words.endswith("of the rows that go from a to b")


def test_categories_that_are_new_by_nature_do_not_alarm() -> None:
    """Of 2,000 values that are each there once, a window's are all unseen."""
    random = np.random.default_rng(1)
    groups = row_groups(2000, 500, random)
    column = category_column("id", "psi", np.zeros(2000, np.int64), ["(other)"], groups, new=1.0)
    (found,) = calibrate(
        [column], groups, window_rows=500, reference_rows=2000, per_window=0.1
    ).columns
    unseen = np.array([0.0, 500.0])
    assert float(column.distances(unseen, 500)) <= found.threshold


def test_a_calibration_survives_being_written_down() -> None:
    found = calibrated("psi", normal(600, 2, np.random.default_rng(1)), 200)
    assert Calibration.from_dict(found.as_dict()) == found
    assert pd.DataFrame(found.as_dict()["columns"])["column"].tolist() == ["0", "1"]
