"""``alarms``: a monitor's thresholds from a rate, kept for windows of nearly equal size."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.language.alarm_rates import window_interval, window_length
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.calibration import Calibration
from liminal_assets.steps.monitor import observe, watch
from liminal_assets.steps.thresholds import row_bucket
from liminal_assets.steps.windows import watched_rows
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.watching import project_in, served, write_reference, write_scores

WATCH = """
  - monitor: returned_watch
    deployment: returned_scores
    min_rows: 50
    drift: DRIFT
    alarms: {at_most: RATE}
"""


def project_with(folder: Path, drift: str = "{}", rate: str = "1 per year") -> Project:
    project = project_in(folder, WATCH.replace("DRIFT", drift).replace("RATE", rate))
    write_reference(project)
    return project


def calibration_of(project: Project, partition: str = "2024-07") -> Calibration:
    block = project.block("returned_watch")
    assert isinstance(block, Monitor)
    found = watch(project, block, watched_rows(project, block, partition)).observation.calibration
    assert found is not None
    return found


def test_thresholds_come_from_the_rate_for_inputs_and_answers_together(tmp_path: Path) -> None:
    project = project_with(tmp_path)
    write_scores(project, "2024-07", seed=2)
    found = calibration_of(project)
    assert set(found.thresholds) == {"price", "region", "prediction", "probability"}
    assert found.per_window == pytest.approx(1 / 12)
    assert (found.window_rows, found.at_most) == (row_bucket(400), "1 per year")
    judgement = la.steps.monitor(project, "returned_watch", "2024-07")
    assert not judgement.breach
    assert "1 per year of false alarms" in (judgement.outcomes[0].description or "")


def test_a_shift_that_customary_thresholds_let_pass_is_found(tmp_path: Path) -> None:
    project = project_with(tmp_path)
    write_scores(project, "2024-07", seed=2, shift=0.4)
    (cause,) = la.steps.monitor(project, "returned_watch", "2024-07").causes
    assert (cause.check, cause.subject) == ("drift", "price")
    assert cause.value is not None
    assert cause.value < 0.25


def test_given_thresholds_stay_as_they_are(tmp_path: Path) -> None:
    project = project_with(tmp_path, "{columns: {price: {threshold: 7}}}")
    write_scores(project, "2024-07", seed=2, shift=0.4)
    found = calibration_of(project)
    assert "price" not in found.thresholds
    assert {c.column: c.threshold for c in found.columns if c.given} == {"price": 7.0}
    all_given = project_with(tmp_path / "all", "{threshold: 0.3}")
    write_scores(all_given, "2024-07", seed=2)
    assert calibration_of(all_given).thresholds == {}


def test_windows_of_nearly_equal_size_share_their_thresholds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_with(tmp_path)
    write_scores(project, "2024-06", count=400)
    write_scores(project, "2024-07", count=405, seed=1)
    write_scores(project, "2024-08", count=900, seed=2)
    first = calibration_of(project, "2024-06")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was found before")

    with monkeypatch.context() as patched:
        patched.setattr("liminal_assets.steps.calibration.calibrate", fail)
        assert calibration_of(project, "2024-07") == first
    larger = calibration_of(project, "2024-08")
    assert larger.thresholds["price"] < first.thresholds["price"]


def test_other_training_rows_and_broken_files_are_calibrated_anew(tmp_path: Path) -> None:
    project = project_with(tmp_path)
    write_scores(project, "2024-07", seed=2)
    first = calibration_of(project)
    write_reference(project, seed=77)
    assert calibration_of(project) != first
    for kept in (project.state / "calibrations").rglob("*.json"):
        kept.write_text("{")
    write_reference(project)
    assert calibration_of(project) == first


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("1 per month", "lets 100% of the windows alarm .*ask for fewer, such as '1 per year'"),
        ("often", "a rate is a number above zero and a period"),
        ("0 per year", "a rate is a number above zero and a period"),
    ],
)
def test_a_rate_that_makes_no_sense_is_told_at_its_line(
    tmp_path: Path, rate: str, message: str
) -> None:
    with pytest.raises(la.InvalidProjectError, match=message) as raised:
        project_in(tmp_path, WATCH.replace("DRIFT", "{}").replace("RATE", rate))
    (mistake,) = raised.value.diagnostics
    assert (
        "at_most" in (tmp_path / "liminal.yml").read_text().splitlines()[mistake.location.line - 1]
    )


def test_a_small_window_is_not_calibrated(tmp_path: Path) -> None:
    project = project_with(tmp_path)
    write_scores(project, "2024-07", count=20)
    assert not la.steps.monitor(project, "returned_watch", "2024-07").judged
    assert not (project.state / "calibrations").exists()


def test_a_rate_counts_windows_as_they_come_not_as_far_as_they_reach(tmp_path: Path) -> None:
    watch = """
  - monitor: watch
    deployment: returned_api
    partitions: {every: day, start: '2024-05-01'}
    window: 7d
    min_rows: 50
    drift: {method: psi}
    alarms: {at_most: 1 per month}
"""
    project = project_in(tmp_path, watch, "")
    block = project.block("watch")
    assert isinstance(block, Monitor)
    assert window_interval(project, block) == timedelta(days=1)
    assert window_length(project, block) == timedelta(days=7)
    write_reference(project)
    until = datetime(2024, 5, 15, tzinfo=timezone.utc)
    PredictionLog(project, "returned_api").append(served(200, until=until, days=7, version=1))
    rows = watched_rows(project, block, "2024-05-14")
    found = observe(project, block, rows).calibration
    assert found is not None
    # one of some 30 windows, each of which is looked at once
    assert found.per_window == pytest.approx(1 / 30.4, rel=0.01)
    assert found.looks == 1
