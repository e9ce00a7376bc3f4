"""Distances: zero for equal samples, bounded, blind to the order of rows, equal to SciPy's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.stats.contingency import association

from liminal_assets.steps import distances

HISTOGRAM = [
    distances.psi,
    distances.chi2,
    distances.jensen_shannon,
    distances.total_variation,
]
SAMPLE = [distances.ks, distances.wasserstein]
few = settings(max_examples=60, deadline=None)

counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8).filter(
    lambda pairs: any(a for a, _ in pairs) and any(b for _, b in pairs)
)
values = st.one_of(
    st.just(math.nan), st.integers(-5, 5).map(float), st.floats(-1e6, 1e6, allow_nan=False)
)
samples = st.lists(values, min_size=1, max_size=40)


@pytest.mark.parametrize("distance", HISTOGRAM, ids=lambda f: f.__name__)
@given(pairs=counts)
@few
def test_histogram_distances_are_zero_for_equal_shares_symmetric_and_not_negative(
    distance: Callable[..., float], pairs: list[tuple[int, int]]
) -> None:
    p, q = zip(*pairs, strict=True)
    assert distance(p, p) == pytest.approx(0, abs=1e-12)
    assert distance(p, q) == pytest.approx(distance(q, p))
    assert distance(p, q) >= 0
    assert distance(p[::-1], q[::-1]) == pytest.approx(distance(p, q))


@pytest.mark.parametrize(
    "distance",
    [distances.chi2, distances.jensen_shannon, distances.total_variation],
    ids=lambda f: f.__name__,
)
@given(pairs=counts)
@few
def test_bounded_distances_reach_one_only_without_a_common_bin(
    distance: Callable[..., float], pairs: list[tuple[int, int]]
) -> None:
    p, q = zip(*pairs, strict=True)
    apart = not any(a and b for a, b in pairs)
    assert distance(p, q) <= 1 + 1e-12
    assert (distance(p, q) > 1 - 1e-9) == apart


@pytest.mark.parametrize("distance", SAMPLE, ids=lambda f: f.__name__)
@given(a=samples, b=samples, seed=st.integers(0, 9))
@example(a=[1e6, 999999.9999999999], b=[math.nan], seed=0)
@few
def test_sample_distances_are_zero_for_equal_samples_and_blind_to_order(
    distance: Callable[..., float], a: list[float], b: list[float], seed: int
) -> None:
    shuffled = np.random.default_rng(seed).permutation(a)
    assert distance(a, shuffled) == pytest.approx(0, abs=1e-9)
    assert distance(a, b) == pytest.approx(distance(shuffled, b))
    assert distance(a, b) >= 0


@given(a=samples, b=samples)
@few
def test_ks_is_symmetric_and_at_most_one(a: list[float], b: list[float]) -> None:
    assert distances.ks(a, b) == pytest.approx(distances.ks(b, a))
    assert distances.ks(a, b) <= 1


@given(a=samples, b=samples)
@few
def test_ks_is_scipys_where_nothing_is_missing(a: list[float], b: list[float]) -> None:
    a, b = [0.0 if math.isnan(x) else x for x in a], [1.0 if math.isnan(x) else x for x in b]
    assert distances.ks(a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)


@given(a=samples, b=samples)
@few
def test_wasserstein_is_scipys_in_standard_deviations(a: list[float], b: list[float]) -> None:
    a, b = [0.0 if math.isnan(x) else x for x in a], [1.0 if math.isnan(x) else x for x in b]
    if np.std(a) > 1e-3:
        expected = stats.wasserstein_distance(a, b) / np.std(a)
        assert distances.wasserstein(a, b) == pytest.approx(expected, rel=1e-6)


@given(pairs=counts)
@few
def test_jensen_shannon_is_scipys_in_bits(pairs: list[tuple[int, int]]) -> None:
    p, q = zip(*pairs, strict=True)
    expected = jensenshannon(p, q, base=2)
    assert distances.jensen_shannon(p, q) == pytest.approx(expected, abs=1e-6)


def test_chi2_is_scipys_cramers_v_for_samples_of_one_size() -> None:
    p, q = [30, 50, 20], [10, 60, 30]
    assert distances.chi2(p, q) == pytest.approx(association(np.array([p, q]), method="cramer"))


def test_chi2_does_not_depend_on_the_size_of_the_window() -> None:
    small = distances.chi2([300, 700], [5, 5])
    assert distances.chi2([300, 700], [5000, 5000]) == pytest.approx(small)


def test_psi_of_a_textbook_example() -> None:
    # 0.2 ln(0.4/0.2) − 0.2 ln(0.6/0.8): worked by hand
    expected = 0.2 * math.log(2) - 0.2 * math.log(0.75)
    assert distances.psi([20, 80], [40, 60]) == pytest.approx(expected)


def test_an_empty_bin_counts_as_half_a_row_in_psi() -> None:
    expected = (0.5 - 0.005) * math.log(0.5 / 0.005) + (0.5 - 1) * math.log(0.5)
    assert distances.psi([0, 100], [50, 50]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("distance", "reference", "current", "expected"),
    [
        pytest.param(distances.ks, [math.nan, 1], [1, 1], 0.5, id="ks counts what is missing"),
        pytest.param(distances.ks, [1], [math.nan], 1.0, id="ks of all missing"),
        pytest.param(distances.ks, [math.nan], [math.nan], 0.0, id="ks of two missing columns"),
        pytest.param(distances.ks, [3], [4], 1.0, id="ks of one row each"),
        pytest.param(
            distances.wasserstein, [0, 2], [0, math.nan], 1.5, id="a missing row is one away"
        ),
        pytest.param(distances.wasserstein, [0, 2], [math.nan], 1.0, id="all missing"),
        pytest.param(distances.wasserstein, [math.nan], [math.nan], 0.0, id="both missing"),
        pytest.param(distances.wasserstein, [0, 2], [math.inf, 0], 1.5, id="infinite is missing"),
        pytest.param(distances.wasserstein, [5, 5], [5, 6], 0.5, id="a constant reference"),
        pytest.param(distances.wasserstein, [5], [5], 0.0, id="one equal row each"),
    ],
)
def test_missing_constant_and_single_values(
    distance: Callable[..., float], reference: list[float], current: list[float], expected: float
) -> None:
    assert distance(reference, current) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [*HISTOGRAM, *SAMPLE], ids=lambda f: f.__name__)
def test_without_rows_there_is_no_distance(distance: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="without rows"):
        distance([1, 1], [0, 0] if distance in HISTOGRAM else [])


def test_histograms_of_different_bins_are_not_compared() -> None:
    with pytest.raises(ValueError, match="the same bins"):
        distances.psi([1, 2], [1, 2, 3])
