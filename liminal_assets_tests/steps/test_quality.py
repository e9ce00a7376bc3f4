"""Data quality: each measure beside the reference, and the bounds that it is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.measures import Quality
from liminal_assets.steps.quality import QualityReport, measure_quality, quality_findings
from liminal_assets.storage.tables import Table
from liminal_assets_tests.watching import project_in, rows, write_reference, write_scores

RANDOM = np.random.default_rng(5)
REFERENCE = pd.DataFrame(
    {
        "id": range(200),
        "amount": RANDOM.uniform(0, 10, 200),
        "region": RANDOM.choice(["north", "south"], 200),
    }
)
WATCH = """
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    quality: {}
"""


def measured(window: pd.DataFrame, reference: Any = REFERENCE, **options: Any) -> QualityReport:
    before = None if reference is None else Table.from_rows(reference)
    columns = ["amount", "region"]
    return measure_quality(Table.from_rows(window), before, columns, entity=["id"], **options)


def broken(window: pd.DataFrame, reference: Any = REFERENCE, **spec: Any) -> dict[str, str]:
    found = quality_findings(Quality.model_validate(spec), measured(window, reference))
    return {finding.subject: finding.said for finding in found if finding.broken}


def like_the_reference(**columns: Any) -> pd.DataFrame:
    return REFERENCE.assign(**columns)


def test_rows_like_the_reference_are_within_all_bounds() -> None:
    assert broken(like_the_reference()) == {}


@pytest.mark.parametrize(
    ("columns", "subject"),
    [
        pytest.param({"amount": [None] * 30 + [5.0] * 170}, "amount missing", id="nulls"),
        pytest.param({"amount": [np.nan] * 30 + [5.0] * 169 + [1]}, "amount missing", id="NaN"),
        pytest.param({"region": ["west"] * 20 + ["north"] * 180}, "region unseen", id="unseen"),
        pytest.param(
            {"amount": [11.0] * 20 + [5.0] * 180}, "amount out_of_range", id="out of range"
        ),
        pytest.param({"amount": [np.inf] * 20 + [5.0] * 180}, "amount out_of_range", id="infinite"),
        pytest.param({"amount": 5.0}, "amount constant", id="a constant column"),
        pytest.param({"amount": "5"}, "amount type", id="text for numbers"),
        pytest.param({"id": [1] * 10 + list(range(190))}, "duplicates", id="repeated entities"),
    ],
)
def test_what_is_not_as_in_the_reference_is_found(columns: Any, subject: str) -> None:
    assert subject in broken(like_the_reference(**columns))


def test_a_column_without_any_value_says_so_and_nothing_else_of_it() -> None:
    found = broken(like_the_reference(amount=np.full(200, np.nan)))
    assert list(found) == ["amount missing"]
    allowed = broken(like_the_reference(amount=np.full(200, np.nan)), missing=1.0)
    assert list(allowed) == ["amount missing"]


def test_a_column_that_is_not_there_is_of_another_type() -> None:
    assert broken(REFERENCE.drop(columns="amount")) == {"amount type": "isn't there"}
    assert broken(REFERENCE.drop(columns="amount"), types=False) == {}


def test_whole_numbers_for_fractions_are_no_other_type() -> None:
    assert "amount type" not in broken(like_the_reference(amount=RANDOM.integers(0, 9, 200)))


def test_a_column_that_is_constant_in_the_reference_may_be_constant() -> None:
    constant = like_the_reference(amount=5.0)
    assert broken(constant, reference=constant) == {}


def test_of_a_column_with_many_rare_values_some_new_ones_are_expected() -> None:
    reference = like_the_reference(region=[f"customer {n}" for n in range(200)])
    window = like_the_reference(region=[f"customer {n}" for n in range(150, 350)])
    assert broken(window, reference) == {}
    (state,) = [c for c in measured(window, reference).columns if c.column == "region"]
    assert (state.unseen, state.expected_unseen) == (0.75, 1.0)


def test_bounds_per_column_come_before_the_monitors() -> None:
    window = like_the_reference(amount=[None] * 30 + [4.0, 5.0] * 85)
    assert broken(window, missing=0.5) == {}
    assert list(broken(window, missing=0.5, columns={"amount": {"missing": 0.1}})) == [
        "amount missing"
    ]
    assert broken(window, columns={"amount": {"ignore": True}}) == {}


def test_in_served_rows_the_same_may_come_again_unless_a_bound_says_otherwise() -> None:
    twice = pd.concat([REFERENCE, REFERENCE])
    report = measured(twice, repeats=True)
    assert report.duplicates == pytest.approx(0.5)
    assert not any(f.broken for f in quality_findings(Quality(), report))
    bound = Quality(duplicates=0.1)
    assert [f.subject for f in quality_findings(bound, report) if f.broken] == ["duplicates"]


def test_without_a_reference_shares_of_missing_values_are_judged() -> None:
    assert broken(like_the_reference(amount=np.nan), reference=None) == {"amount missing": ""}


@pytest.mark.parametrize(("count", "breach"), [(0, True), (40, True), (300, False), (3000, True)])
def test_the_number_of_rows_is_judged_by_earlier_windows(
    tmp_path: Path, count: int, breach: bool
) -> None:
    project = project_in(tmp_path, WATCH)
    write_reference(project)
    for month in ("2024-03", "2024-04", "2024-05"):
        write_scores(project, month, count=300)
    write_scores(project, "2024-06", count=count, seed=1)
    judgement = la.steps.monitor(project, "returned_watch", "2024-06")
    assert judgement.breach is breach
    if breach:
        assert [str(cause) for cause in judgement.causes] == [
            f"quality: rows: {count}, not from 60 to 1,500 (usual: 300)"
        ]


def test_the_first_window_has_no_usual_number_of_rows(tmp_path: Path) -> None:
    project = project_in(tmp_path, WATCH)
    write_reference(project)
    write_scores(project, "2024-06", count=0)
    judgement = la.steps.monitor(project, "returned_watch", "2024-06")
    assert not judgement.breach
    (outcome,) = judgement.outcomes
    assert outcome.description == "not judged: 0 rows, fewer than 50"


def test_a_bound_for_a_column_that_there_is_not_is_shown_at_its_line(tmp_path: Path) -> None:
    project = project_in(tmp_path, WATCH.replace("{}", "{columns: {pric: {missing: 0.1}}}"))
    write_reference(project)
    write_scores(project, "2024-06", seed=1)
    with pytest.raises(la.StepError, match=r"no column 'pric' .*did you mean 'price'") as raised:
        la.steps.monitor(project, "returned_watch", "2024-06")
    assert raised.value.location is not None


def test_five_hundred_columns_are_measured_in_one_go() -> None:
    wide = pd.DataFrame(RANDOM.normal(size=(100, 500)), columns=[f"x{n}" for n in range(500)])
    report = measure_quality(Table.from_rows(wide), Table.from_rows(wide), list(wide.columns))
    assert len(report.columns) == 500
    assert not any(f.broken for f in quality_findings(Quality(), report))


def test_rows_of_other_versions_count_as_rows_of_the_window() -> None:
    report = measured(rows(10).assign(id=0, amount=1.0), others=90, usual_rows=100.0)
    assert report.rows == 100
