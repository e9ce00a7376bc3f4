"""Drift of columns: numbers and categories, missing and unseen values, overrides, odd columns."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats

import liminal_assets as la
from liminal_assets.language.monitors import DriftMethod
from liminal_assets.steps.bins import MISSING, UNSEEN, number_histograms
from liminal_assets.steps.drift import drift

METHODS: list[DriftMethod] = ["psi", "ks", "chi2", "wasserstein", "jensen_shannon"]


def frame(rows: int = 2000, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "distance": random.normal(1000 + 300 * shift, 300, rows),
            "wind": np.where(random.random(rows) < 0.1, np.nan, random.gamma(2, 3, rows)),
            "stops": random.integers(0, 3, rows),
            "carrier": random.choice(["UA", "AA", "DL"], rows),
            "weekend": random.random(rows) < 0.3,
        }
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_same_rows_in_any_order_have_no_drift(method: DriftMethod) -> None:
    rows = frame()
    report = drift(rows, rows.sample(frac=1, random_state=1), method=method)
    assert max(column.distance or 0.0 for column in report.compared) < 1e-12
    assert len(report.compared) == 5
    assert report.drifted == ()
    assert (report.reference_rows, report.rows) == (2000, 2000)


@pytest.mark.parametrize("method", METHODS)
def test_a_shifted_column_is_the_one_that_drifted(method: DriftMethod) -> None:
    report = drift(frame(seed=1), frame(seed=2, shift=1.0), method=method, threshold=0.15)
    assert report.drifted == ("distance",)
    assert report.columns[0].column == "distance"


def test_the_statistics_of_numbers_are_scipys() -> None:
    before, now = frame(seed=1), frame(500, seed=2, shift=0.3)
    expected = stats.ks_2samp(before["distance"], now["distance"]).statistic
    assert drift(before, now, method="ks")["distance"].distance == pytest.approx(expected)
    expected = stats.wasserstein_distance(before["distance"], now["distance"])
    found = drift(before, now, method="wasserstein")["distance"].distance
    assert found == pytest.approx(expected / before["distance"].std(ddof=0))


@pytest.mark.parametrize(
    "form", [pl.from_pandas, pa.Table.from_pandas, lambda f: f.to_dict("records")]
)
def test_rows_may_come_in_any_form(form: Any) -> None:
    before, now = frame(300, seed=1), frame(300, seed=2, shift=1)
    expected = drift(before, now)["distance"].distance
    assert drift(form(before), now)["distance"].distance == pytest.approx(expected)


def test_categories_that_the_reference_lacks_are_a_bin_of_their_own() -> None:
    before, now = [{"c": "a"}] * 90 + [{"c": "b"}] * 10, [{"c": "a"}] * 50 + [{"c": "z"}] * 50
    column = drift(before, now, method="ks")["c"]
    assert column.histograms is not None
    assert column.histograms.share_of(UNSEEN) == (0.0, 0.5)
    assert column.distance == pytest.approx(0.5)
    assert column.drifted


@pytest.mark.parametrize("value", [1.5, "a", True], ids=["number", "text", "boolean"])
@pytest.mark.parametrize("method", METHODS)
def test_values_that_go_missing_are_drift(method: DriftMethod, value: Any) -> None:
    before = [{"c": value}] * 100
    now = [{"c": value}] * 40 + [{"c": None}] * 60
    column = drift(before, now, method=method)["c"]
    assert column.drifted
    assert column.histograms is not None
    assert column.histograms.share_of(MISSING) == (0.0, 0.6)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_column_that_stays_is_stable_and_one_that_moves_is_not(
    method: DriftMethod,
) -> None:
    before = [{"c": 5.0}] * 200
    assert drift(before, before, method=method)["c"].distance == 0
    for moved in (4.0, 6.0):
        assert drift(before, [{"c": moved}] * 200, method=method)["c"].drifted


@pytest.mark.parametrize("method", METHODS)
def test_a_column_without_any_value_is_stable_until_values_come(method: DriftMethod) -> None:
    before = pa.table({"c": pa.array([None] * 100, pa.float64())})
    assert drift(before, before, method=method)["c"].distance == 0
    now = pa.table({"c": pa.array([1.0] * 100)})
    assert drift(before, now, method=method)["c"].drifted


@pytest.mark.parametrize("method", METHODS)
def test_one_row_on_either_side_has_a_finite_distance(method: DriftMethod) -> None:
    one, many = [{"c": 1.0, "k": "a"}], frame(50)[["distance", "carrier"]]
    many.columns = ["c", "k"]
    for before, now in ((one, many), (many, one), (one, one)):
        report = drift(before, now, method=method)
        assert all(np.isfinite(column.distance or 0.0) for column in report.columns)
        assert len(report.compared) == 2


@pytest.mark.parametrize("side", ["reference", "window"])
def test_without_rows_on_one_side_nothing_is_compared(side: str) -> None:
    rows, none = frame(10), frame(10).head(0)
    report = drift(none, rows) if side == "reference" else drift(rows, none)
    assert report.compared == ()
    assert {column.note for column in report.columns} == {f"the {side} has no rows"}
    assert report.drifted == ()


def test_a_column_that_is_gone_counts_as_missing_and_a_new_one_is_not_compared() -> None:
    report = drift(frame(), frame().drop(columns="carrier").assign(new=1))
    assert report["carrier"].drifted
    assert "lack this column" in report["carrier"].note
    assert "new" not in {column.column for column in report.columns}


def test_columns_may_have_their_own_method_and_threshold_or_be_ignored() -> None:
    before, now = frame(seed=1), frame(seed=2, shift=1.0)
    columns = {
        "distance": {"method": "ks", "threshold": 0.9},
        "carrier": {"ignore": True},
        "wind": {"threshold": 0.00001},
    }
    report = drift(before, now, columns=columns)
    assert (report["distance"].method, report["distance"].verdict) == ("ks", "stable")
    assert (report["carrier"].verdict, report["carrier"].distance) == ("ignored", None)
    assert report.drifted == ("wind",)


def test_an_override_for_a_column_that_there_is_not_says_what_was_meant() -> None:
    with pytest.raises(la.StepError, match=r"no column 'distanc' to compare.*'distance'"):
        drift(frame(10), frame(10), columns={"distanc": {"ignore": True}})


def test_moments_are_compared_only_if_named() -> None:
    start = datetime(2024, 1, 1)
    before = [{"at": start + timedelta(hours=hour)} for hour in range(100)]
    now = [{"at": start + timedelta(days=90, hours=hour)} for hour in range(100)]
    assert drift(before, now)["at"].verdict == "not compared"
    assert drift(before, now, columns={"at": {"method": "ks"}})["at"].distance == 1.0


def test_lists_and_structs_have_no_distance() -> None:
    rows = [{"tags": ["a"], "x": 1.0}] * 5
    assert drift(rows, rows)["tags"].verdict == "not compared"


def test_codes_are_compared_by_category_if_told_so() -> None:
    before, now = [{"code": code} for code in (1, 2) * 50], [{"code": code} for code in (1, 3) * 50]
    assert drift(before, now, categorical=["code"])["code"].kind == "categorical"
    assert drift(before, now, categorical=["code"], method="ks")["code"].distance == 0.5


def test_a_column_that_changed_its_type_is_compared_as_text() -> None:
    column = drift([{"c": 1}] * 100, [{"c": "one"}] * 100)["c"]
    assert column.drifted
    assert "compared as text" in column.note


def test_rare_categories_are_pooled() -> None:
    before = [{"id": f"id{number}"} for number in range(1000)]
    column = drift(before, before)["id"]
    assert column.histograms is not None
    assert len(column.histograms.labels) == 51
    assert column.distance == 0


def test_a_value_that_fills_a_bin_gets_one_of_its_own() -> None:
    zeros = np.array([0.0] * 90 + list(range(1, 11)))
    histograms = number_histograms(zeros, zeros, 10)
    assert dict(zip(histograms.labels, histograms.reference, strict=True))["= 0"] == 90


def test_infinite_numbers_are_in_the_outer_bins() -> None:
    before = np.random.default_rng(0).normal(size=1000)
    now = np.where(np.arange(1000) < 500, np.inf, before)
    assert drift(pd.DataFrame({"c": before}), pd.DataFrame({"c": now}))["c"].drifted


def test_a_report_over_500_columns_is_made_in_one_go() -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 500))).add_prefix("c")
    report = drift(wide, wide)
    assert len(report.compared) == 500


def test_a_report_is_a_table_in_a_notebook() -> None:
    report = la.steps.drift(frame(seed=1), frame(seed=2, shift=1.0))
    table = report.to_pandas()
    assert table.loc[0, "column"] == "distance"
    assert "<table" in report._repr_html_()


def test_what_holds_no_rows_is_one_clear_error() -> None:
    with pytest.raises(la.StepError, match="the current rows can't be read"):
        drift(frame(10), 3)
