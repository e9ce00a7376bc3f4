"""The monitor asset: a judgement, checks, a report and a decision per window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.factories.monitors import JUDGEMENT, monitor_asset
from liminal_assets.language.loading import Project
from liminal_assets.steps.history import history
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.watching import (
    WATCH,
    project_in,
    rows,
    write_labels,
    write_reference,
    write_scores,
)

WATCHED = "returned_watch"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = project_in(tmp_path)
    write_reference(project)
    return project


def materialise(
    project: Project, *partitions: str, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """Runs the monitor for a partition or, in one run, for a range."""
    asset = monitor_asset(project.block(WATCHED), project=project)  # type: ignore[arg-type]
    job = dg.Definitions(assets=[asset]).resolve_implicit_global_asset_job_def()
    tags = {}
    if len(partitions) > 1:
        tags = {
            "dagster/asset_partition_range_start": partitions[0],
            "dagster/asset_partition_range_end": partitions[-1],
        }
    return job.execute_in_process(
        instance=instance or dg.DagsterInstance.ephemeral(),
        partition_key=partitions[0] if len(partitions) == 1 else None,
        tags=tags,
        raise_on_error=False,
    )


def checks(result: dg.ExecuteInProcessResult) -> Mapping[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult) -> Sequence[Mapping[str, Any]]:
    events = [event for event in result.all_events if event.is_step_materialization]
    return [event.materialization.metadata for event in events]


def test_a_window_like_the_training_rows_passes_every_check(project: Project) -> None:
    write_labels(project, write_scores(project, "2024-07", seed=1))
    result = materialise(project, "2024-07")
    assert result.success
    found = checks(result)
    assert list(found) == ["drift", "prediction_drift", "performance", "kpi_returned_share"]
    assert all(check.passed for check in found.values())
    (said,) = metadata(result)
    assert said["dagster/row_count"].value == 400
    assert said["model_version"].value == "1"
    assert said["drifted_columns"].value == 0
    assert said["roc_auc"].value == pytest.approx(1.0)
    assert {"columns", "verdict", "farthest_column_1", "report"} <= set(said)


def test_a_breach_fails_its_check_with_severity_error_but_not_the_run(project: Project) -> None:
    write_scores(project, "2024-07", seed=1, shift=2)
    result = materialise(project, "2024-07")
    assert result.success
    drift = checks(result)["drift"]
    assert not drift.passed
    assert drift.severity == dg.AssetCheckSeverity.ERROR
    assert not drift.blocking
    assert "price" in (drift.description or "")
    assert drift.metadata["drifted"].value == ["price"]
    records = drift.metadata["columns"].value.records
    assert records[0].data["column"] == "price"
    assert records[0].data["verdict"] == "drifted"


def test_a_breach_fails_the_run_where_the_monitor_says_so(tmp_path: Path) -> None:
    project = project_in(tmp_path, WATCH.replace("retrain: returned,", "fail: true,"))
    write_reference(project)
    write_scores(project, "2024-07", seed=1, shift=2)
    result = materialise(project, "2024-07")
    assert not result.success
    assert not checks(result)["drift"].passed
    assert len(metadata(result)) == 1
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "drift: price" in str(failure.step_failure_data.user_failure_data)


def test_keys_moments_the_truth_and_our_own_columns_are_not_compared(project: Project) -> None:
    write_scores(project, "2024-07", seed=1, start=10_000)
    result = materialise(project, "2024-07")
    inputs = checks(result)["drift"].metadata["columns"].value.records
    answers = checks(result)["prediction_drift"].metadata["columns"].value.records
    assert {record.data["column"] for record in inputs} == {"price", "region"}
    assert {record.data["column"] for record in answers} == {"prediction", "probability"}


def test_late_labels_are_judged_when_enough_are_there(project: Project) -> None:
    scores = write_scores(project, "2024-07", seed=1)
    none = checks(materialise(project, "2024-07"))["performance"]
    assert none.passed
    assert "0 of 400 rows (0%)" in (none.description or "")
    write_labels(project, scores.head(40), right=0.0)
    few = checks(materialise(project, "2024-07"))["performance"]
    assert few.passed
    assert "40 of 400 rows (10%) is known, fewer than 50" in (few.description or "")
    write_labels(project, scores.head(300), right=0.2)
    enough = checks(materialise(project, "2024-07"))["performance"]
    assert not enough.passed
    assert enough.metadata["labelled_share"].value == 0.75


def test_labels_for_unknown_ids_change_nothing(project: Project) -> None:
    scores = write_scores(project, "2024-07", seed=1)
    write_labels(project, scores.assign(order_id=scores["order_id"] + 10_000))
    found = checks(materialise(project, "2024-07"))["performance"]
    assert found.metadata["labelled_rows"].value == 0


def test_labels_of_one_class_leave_the_metric_undefined(project: Project) -> None:
    scores = write_scores(project, "2024-07", seed=1)
    write_labels(project, scores[scores["prediction"]])
    found = checks(materialise(project, "2024-07"))["performance"]
    assert found.passed
    assert "isn't defined" in (found.description or "")


def test_a_kpi_out_of_its_bounds_is_a_breach(tmp_path: Path) -> None:
    project = project_in(tmp_path, WATCH.replace("between: [0.1, 0.9]", "between: [0.8, 0.9]"))
    write_reference(project)
    write_scores(project, "2024-07", seed=1)
    found = checks(materialise(project, "2024-07"))["kpi_returned_share"]
    assert not found.passed
    assert "not from 0.8 to 0.9" in (found.description or "")


def test_a_small_window_is_reported_but_not_judged(project: Project) -> None:
    write_scores(project, "2024-07", count=20, seed=1, shift=5)
    result = materialise(project, "2024-07")
    assert all(check.passed for check in checks(result).values())
    assert "20 rows, fewer than 50" in (checks(result)["drift"].description or "")
    assert metadata(result)[0]["verdict"].value == "too few rows to judge"


def test_an_empty_window_is_reported_but_not_judged(project: Project) -> None:
    write_scores(project, "2024-07", count=0)
    result = materialise(project, "2024-07")
    assert result.success
    assert all(check.passed for check in checks(result).values())


def test_scores_of_an_earlier_version_are_compared_with_its_own_training_rows(
    project: Project,
) -> None:
    write_reference(project, 2, seed=101)
    write_scores(project, "2024-07", version=1, seed=1)
    assert metadata(materialise(project, "2024-07"))[0]["reference"].value == (
        "the training rows of v1"
    )


def test_without_training_rows_of_the_version_the_step_says_what_to_do(project: Project) -> None:
    write_scores(project, "2024-07", version=9)
    result = materialise(project, "2024-07")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = str(failure.step_failure_data.user_failure_data)
    assert "no training rows of version 9 of returned" in said
    assert "liminal.yml:" in said


def test_the_window_before_may_be_the_reference(tmp_path: Path) -> None:
    project = project_in(tmp_path, WATCH.replace("threshold: 0.25}", "reference: previous}"))
    write_scores(project, "2024-06", seed=1)
    write_scores(project, "2024-07", seed=2, shift=2)
    first, second = metadata(materialise(project, "2024-06", "2024-07"))
    assert first[JUDGEMENT].value["causes"] == []
    assert second["reference"].value == "the rows of 2024-06"
    assert second[JUDGEMENT].value["causes"][0][:2] == ["drift", "price"]


def test_a_run_of_several_partitions_judges_each(project: Project) -> None:
    write_scores(project, "2024-06", seed=1)
    write_scores(project, "2024-07", seed=2, shift=2)
    write_scores(project, "2024-08", seed=3, shift=3)
    result = materialise(project, "2024-06", "2024-07", "2024-08")
    events = [event for event in result.all_events if event.is_step_materialization]
    assert [event.partition for event in events] == ["2024-06", "2024-07", "2024-08"]
    breaches = [bool(said[JUDGEMENT].value["causes"]) for said in metadata(result)]
    assert breaches == [False, True, True]
    drift = checks(result)["drift"]
    assert not drift.passed
    assert "failed in 2 of 3 partitions (2024-07, 2024-08)" in (drift.description or "")


def test_the_report_is_one_page_that_needs_nothing_else(project: Project) -> None:
    write_scores(project, "2024-06", seed=1)
    write_scores(project, "2024-07", seed=1, shift=2)
    result = materialise(project, "2024-06", "2024-07")
    page = Path(str(metadata(result)[1]["report"].value)).read_text()
    page = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    for shown in ("breach (", "price", "in thresholds over the windows", "<svg"):
        assert shown in page
    for outside in ("http://", "https://", "<script", "src="):
        assert outside not in page


def test_what_the_rows_say_is_escaped_in_the_report(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    write_reference(project)
    frame = rows(100).assign(model_version="1", region="<script>alert(1)</script>")
    TableStore(project).write("returned_scores", "2024-07", frame)
    result = materialise(project, "2024-07")
    assert "<script>" not in Path(str(metadata(result)[0]["report"].value)).read_text()


def test_a_breach_is_one_decision_however_often_its_window_is_judged(project: Project) -> None:
    write_scores(project, "2024-07", seed=1, shift=2)
    for _ in range(3):
        materialise(project, "2024-07")
    (decision,) = Journal(project, WATCHED).decisions()
    assert decision.action == "breach"
    assert decision.version == 1
    assert decision.evidence["window"] == "2024-07"
    assert decision.evidence["until"] == "2024-08-01T00:00:00+00:00"
    assert Path(decision.evidence["report"]).is_file()
    write_scores(project, "2024-07", seed=1, shift=2, version=1)
    write_reference(project, 2)
    write_scores(project, "2024-07", seed=1, shift=2, version=2)
    materialise(project, "2024-07")
    assert [d.version for d in Journal(project, WATCHED).decisions()] == [1, 2]


def test_the_history_holds_a_windows_measures_once(project: Project) -> None:
    write_scores(project, "2024-06", seed=1)
    write_scores(project, "2024-07", seed=2, shift=2)
    for _ in range(2):
        materialise(project, "2024-06", "2024-07")
    past = history(project, WATCHED)
    assert [row["window"] for row in past if row["subject"] == "price"] == ["2024-06", "2024-07"]
    (moved,) = [row for row in past if row["breach"] and row["check"] == "drift"]
    assert (moved["subject"], moved["window"]) == ("price", "2024-07")


def test_equal_rows_have_an_equal_data_version(project: Project) -> None:
    instance = dg.DagsterInstance.ephemeral()
    for _ in range(2):
        write_scores(project, "2024-07", seed=1)
        materialise(project, "2024-07", instance=instance)
    events = instance.fetch_materializations(dg.AssetKey(["shop", WATCHED]), limit=9).records
    versions = [event.asset_materialization.tags["dagster/data_version"] for event in events]
    assert len(versions) == 2
    assert len(set(versions)) == 1


def test_a_team_watches_its_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asset = la.monitor_asset(
        monitor="watch",
        deployment="ours",
        drift={"method": "ks", "threshold": 0.3},
        kpis=[{"kpi": "rows", "sql": "SELECT count(*) FROM predictions", "between": [1, 1000]}],
        rows=lambda partition: rows(200, seed=1, shift=3),
        reference=lambda partition: rows(200, seed=2),
        project="team",
    )
    assert asset.key == dg.AssetKey(["team", "watch"])
    result = dg.materialize([asset], instance=dg.DagsterInstance.ephemeral())
    found = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert found == {"drift": False, "prediction_drift": True, "kpi_rows": True}


def test_the_asset_is_cut_as_the_scores_and_depends_on_them_and_on_the_labels(
    project: Project,
) -> None:
    asset = monitor_asset(project.block(WATCHED), project=project)  # type: ignore[arg-type]
    (spec,) = asset.specs
    assert spec.group_name == "monitor"
    assert spec.partitions_def is not None
    assert spec.partitions_def.get_first_partition_key() == "2024-01"
    assert {dep.asset_key.path[-1] for dep in spec.deps} == {"returned_scores", "outcomes"}


def test_the_judgement_is_plain_json(project: Project) -> None:
    write_scores(project, "2024-07", seed=1, shift=2)
    said = metadata(materialise(project, "2024-07"))[0][JUDGEMENT].value
    assert json.loads(json.dumps(said))["window"] == "2024-07"
    assert isinstance(pd.Timestamp(said["until"]).tzinfo, object)
