"""Labels that were sent to a server: joined to the window's rows, counted where they fit none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Labels, Monitor
from liminal_assets.steps.monitor import watch
from liminal_assets.steps.monitor_report import html_report
from liminal_assets.steps.performance import label_state
from liminal_assets.steps.windows import watched_rows
from liminal_assets.storage.feedback import FeedbackLog
from liminal_assets.storage.ids import new_id, sampled
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore
from liminal_assets_tests.watching import project_in, served, write_reference, write_scores

NOW = datetime(2024, 7, 17, 12, tzinfo=timezone.utc)
SENT = """
  - monitor: returned_watch
    deployment: returned_api
    window: 7d
    min_rows: 50
    quality: {}
    performance: {metric: roc_auc, at_least: 0.6, labels: {from: feedback}}
"""

DATASET = "{from: outcomes, key: order_id, column: returned}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = project_in(tmp_path, SENT)
    write_reference(project)
    return project


def block(project: Project) -> Monitor:
    found = project.block("returned_watch")
    assert isinstance(found, Monitor)
    return found


def logged(project: Project, count: int = 100, **more: Any) -> pd.DataFrame:
    frame = served(count, until=NOW, days=6, version=1).assign(**more)
    PredictionLog(project, "returned_api").append(frame)
    return frame


def sent(project: Project, frame: pd.DataFrame, at: datetime = NOW, **more: Any) -> None:
    """Labels of predictions, as right as the answers are, that arrive at a moment."""
    labels = pd.DataFrame(
        {
            "feedback_id": [new_id() for _ in range(len(frame))],
            "prediction_id": frame["prediction_id"],
            "label": frame["prediction"].map({True: "true", False: "false"}),
            "labelled_at": at,
            "received_at": at,
            "at": pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]"),
        }
    ).assign(**more)
    FeedbackLog(project, "returned_api").append(labels)


def test_labels_that_were_sent_are_judged(project: Project) -> None:
    rows = logged(project)
    sent(project, rows.head(60), NOW - timedelta(hours=1))
    judgement = la.steps.monitor(project, "returned_watch", now=NOW)
    assert (judgement.labelled, judgement.score) == (60, 1.0)


def test_labels_of_no_row_are_counted_and_shown(project: Project) -> None:
    rows = logged(project)
    at = NOW - timedelta(hours=1)
    sent(project, rows.head(60), at)
    sent(project, rows.head(3).assign(prediction_id=["a", "b", new_id()]), at)
    done = watch(project, block(project), watched_rows(project, block(project), now=NOW))
    unmatched = done.observation.unmatched
    assert unmatched is not None
    assert (unmatched.unknown, unmatched.unsampled) == (3, 0)
    page = html_report(project, block(project), done.observation, done.judgement)
    assert "<dt>labels of no row</dt><dd>3</dd>" in page


def test_a_label_of_another_type_is_no_label(project: Project) -> None:
    rows = logged(project)
    sent(project, rows.head(60), label="late")
    assert la.steps.monitor(project, "returned_watch", now=NOW).labelled == 0


def test_a_share_of_requests_is_known_and_scaled(tmp_path: Path) -> None:
    project = project_in(tmp_path, SENT)
    file = project.file
    file.write_text(
        file.read_text().replace("serve: {port: 0}", "serve: {log_predictions: {sample: 0.25}}")
    )
    project = la.load_project(file)
    write_reference(project)
    ids = [new_id() for _ in range(400)]
    inside = [own for own in ids if sampled(own, 0.25)]
    rows = logged(project, len(inside), prediction_id=inside, sample_rate=0.25)
    sent(project, rows.head(60))
    outside = [own for own in ids if not sampled(own, 0.25)]
    sent(project, rows.head(20).assign(prediction_id=outside[:20]), NOW - timedelta(hours=1))
    # before, all were logged: as many requests, four times as many rows
    before = served(4 * len(inside), until=NOW - timedelta(days=7), days=7, version=1, seed=3)
    PredictionLog(project, "returned_api").append(before)
    done = watch(project, block(project), watched_rows(project, block(project), now=NOW))
    seen = done.observation
    assert seen.rows == len(inside)
    assert seen.sample_rate == pytest.approx(0.25)
    assert seen.unmatched is not None
    assert (seen.unmatched.unknown, seen.unmatched.unsampled) == (0, 20)
    assert seen.quality is not None
    assert seen.quality.rows == 4 * len(inside)
    assert not [cause for cause in done.judgement.causes if cause.subject == "rows"]
    page = html_report(project, block(project), seen, done.judgement)
    assert f"0.25 of requests; about {4 * len(inside):,} rows were answered" in page


def test_other_labels_are_told_apart_even_of_rows_that_came_twice(tmp_path: Path) -> None:
    project = project_in(tmp_path, SENT.replace("{from: feedback}", DATASET))
    rows = served(2, until=NOW, days=6, version=1).assign(order_id=1)
    told = [
        label_state(project, block(project), Table.from_rows(rows), Table.from_rows(labels))
        for labels in (
            [{"order_id": 1, "returned": True}],
            [{"order_id": 1, "returned": True}],
            [{"order_id": 1, "returned": False}],
            [{"order_id": 2, "returned": True}],
        )
    ]
    assert [state.count for state in told] == [2, 2, 2, 0]
    assert told[0] == told[1]
    assert len({state.digest for state in told}) == 3


def test_min_rows_counts_logged_rows(project: Project) -> None:
    logged(project, 20, sample_rate=0.1)
    assert not la.steps.monitor(project, "returned_watch", now=NOW).judged


def test_labels_are_recorded_in_python(project: Project) -> None:
    rows = logged(project)
    outcomes = rows[["order_id", "prediction"]].rename(columns={"prediction": "label"})
    outcomes = outcomes.astype({"label": object})
    outcomes.loc[:9, "label"] = None
    assert la.steps.record_labels(project, "returned_api", outcomes) == 90
    assert la.steps.record_labels(project, "returned_api", outcomes) == 90
    log = FeedbackLog(project, "returned_api")
    assert log.read().rows == 90
    judgement = la.steps.monitor(project, "returned_watch", now=NOW)
    assert (judgement.labelled, judgement.score) == (90, 1.0)


def test_whole_numbers_beside_missing_ones_are_labels(project: Project) -> None:
    rows = logged(project, prediction=1)
    outcomes = pd.DataFrame({"order_id": rows["order_id"], "label": 1.0})
    outcomes.loc[:9, "label"] = float("nan")
    assert la.steps.record_labels(project, "returned_api", outcomes) == 90
    assert la.steps.monitor(project, "returned_watch", now=NOW).labelled == 90


@pytest.mark.parametrize(
    ("deployment", "columns", "said"),
    [
        ("returned_apii", ["label"], "no deployment is called 'returned_apii'"),
        ("returned_api", ["order_id", "lable"], "no column 'label'"),
        ("returned_api", ["label"], "there is no column 'prediction_id' or 'order_id'"),
    ],
)
def test_recorded_labels_say_what_they_are_about(
    project: Project, deployment: str, columns: list[str], said: str
) -> None:
    with pytest.raises(la.StepError, match=said):
        la.steps.record_labels(project, deployment, pd.DataFrame({c: [1] for c in columns}))


def test_batch_scores_may_be_labelled_by_entity_too(tmp_path: Path) -> None:
    project = project_in(tmp_path, SENT.replace("returned_api", "returned_scores"))
    write_reference(project)
    scores = write_scores(project, "2024-07", seed=1)
    scores = scores.assign(prediction_id=[f"{new_id()}-{i}" for i in range(len(scores))])
    TableStore(project).write("returned_scores", "2024-07", scores)
    labels = scores[["order_id", "prediction"]].rename(columns={"prediction": "label"})
    unknown = labels.head(2).assign(order_id=[-1, -2])
    la.steps.record_labels(project, "returned_scores", pd.concat([labels.head(80), unknown]))
    watched = watched_rows(project, block(project), "2024-07")
    seen = watch(project, block(project), watched).observation
    assert (seen.labelled, seen.score) == (80, 1.0)
    assert seen.unmatched is not None
    assert seen.unmatched.unknown == 2


def test_a_dataset_needs_a_key_and_a_column() -> None:
    with pytest.raises(ValueError, match="needs 'key'"):
        Labels.model_validate({"from": "outcomes"})
    with pytest.raises(ValueError, match="needs 'column'"):
        Labels.model_validate({"from": "feedback", "key": "id"})
    own = Labels.model_validate({"from": "feedback", "key": "id", "column": "y"})
    assert not own.from_feedback
    again = Labels.model_validate(Labels.model_validate({"from": "feedback"}).model_dump())
    assert again.from_feedback
