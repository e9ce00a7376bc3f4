"""Measuring a window: metrics of every task, KPIs, and mistakes at their place in the YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import f1_score, mean_absolute_error, roc_auc_score

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.monitor import observe
from liminal_assets.steps.windows import given_rows, watched_rows
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.watching import (
    WATCH,
    project_in,
    rows,
    write_labels,
    write_reference,
    write_scores,
)


def make(folder: Path, monitors: str = WATCH) -> Project:
    project = project_in(folder, monitors, "alerts: [{alert: ops, webhook: 'http://127.0.0.1:9'}]")
    write_reference(project)
    return project


def performance(scores: pd.DataFrame, truth: Any, metric: str) -> float:
    """The metric of some scores, as a monitor measures it."""
    labels = {"from": "truth", "key": "id", "column": "y"}
    block = Monitor.model_validate(
        {
            "monitor": "w",
            "deployment": "d",
            "performance": {"metric": metric, "at_least": 0, "labels": labels},
        }
    )
    project = Project.of("p", check=False, monitors=[block])
    scores = scores.assign(id=range(len(scores)))
    truths = pd.DataFrame({"id": scores["id"], "y": truth})
    seen = observe(project, block, given_rows(None, scores, labels=truths))
    assert seen.labelled == len(scores)
    assert seen.score is not None
    return seen.score


def test_a_binary_metric_uses_the_probability_of_the_positive_class() -> None:
    frame = rows(200, seed=1)
    truth = frame["probability"] + rows(200, seed=2)["probability"] > 1
    found = performance(frame[["prediction", "probability"]], truth, "roc_auc")
    assert found == pytest.approx(roc_auc_score(truth, frame["probability"]))


def test_metrics_of_several_classes_use_one_probability_per_class() -> None:
    labels = ["late", "ok", "early"] * 40
    frame = pd.DataFrame({"prediction": labels})
    for name in ("early", "late", "ok"):
        frame[f"probability_{name}"] = [0.6 if label == name else 0.2 for label in labels]
    truth = ["late", "late", "early", "late", "ok", "ok"] * 20
    assert performance(frame, truth, "f1") == pytest.approx(
        f1_score(truth, labels, average="macro")
    )
    assert 0.4 < performance(frame, truth, "roc_auc") < 1


def test_a_regression_metric_compares_numbers() -> None:
    frame = pd.DataFrame({"prediction": [1.0, 2.0, 3.0]})
    found = performance(frame, [1.5, 2.0, 5.0], "mae")
    assert found == pytest.approx(mean_absolute_error([1.5, 2.0, 5.0], frame["prediction"]))


def test_of_several_truths_of_a_row_the_last_counts(tmp_path: Path) -> None:
    project = make(tmp_path)
    scores = write_scores(project, "2024-07", seed=1)
    wrong = pd.DataFrame({"order_id": scores["order_id"], "returned": ~scores["prediction"]})
    right = wrong.assign(returned=scores["prediction"])
    TableStore(project).write("outcomes", None, pd.concat([wrong, right]))
    block = project.block("returned_watch")
    assert isinstance(block, Monitor)
    seen = observe(project, block, watched_rows(project, block, "2024-07"))
    assert (seen.labelled, seen.score) == (400, pytest.approx(1.0))


def test_a_kpi_may_be_a_file_and_know_its_partition(tmp_path: Path) -> None:
    sql = "SELECT count(*) FROM predictions WHERE '{{ partition_key }}' = '2024-07'"
    project = make(
        tmp_path, WATCH.replace("SELECT avg(prediction::INT) FROM predictions", "kpi.sql")
    )
    (tmp_path / "kpi.sql").write_text(sql)
    write_scores(project, "2024-07", seed=1)
    judgement = la.steps.monitor(project, "returned_watch", "2024-07")
    assert [str(cause) for cause in judgement.causes] == [
        "kpi_returned_share: returned_share: 400, not from 0.1 to 0.9"
    ]


@pytest.mark.parametrize("sql", ["SELECT NULL", "SELECT 'nan'::DOUBLE", "SELECT 1 WHERE false"])
def test_a_kpi_without_a_number_is_a_breach(tmp_path: Path, sql: str) -> None:
    project = make(
        tmp_path, WATCH.replace("SELECT avg(prediction::INT) FROM predictions", f'"{sql}"')
    )
    write_scores(project, "2024-07", seed=1)
    (cause,) = la.steps.monitor(project, "returned_watch", "2024-07").causes
    assert str(cause) == "kpi_returned_share: returned_share: no number, not from 0.1 to 0.9"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "threshold: 0.25}",
            "columns: {pric: {threshold: 1}}}",
            r"no column 'pric' to compare \(did you mean 'price'\?\)",
            id="an override for a column that there isn't",
        ),
        pytest.param(
            "metric: roc_auc",
            "metric: roc_acu",
            r"no metric is called 'roc_acu' \(did you mean 'roc_auc'\?\)",
            id="an unknown metric",
        ),
        pytest.param(
            "key: order_id",
            "key: order",
            r"there is no column 'order' in the scores \(did you mean 'order_id'\?\)",
            id="a key that the scores don't have",
        ),
        pytest.param(
            "column: returned}",
            "column: sent_back}",
            "there is no column 'sent_back' in outcomes",
            id="a label column that there isn't",
        ),
        pytest.param(
            "avg(prediction::INT)",
            "avg(predicted)",
            "cannot compute returned_share: Binder Error",
            id="a query that fails",
        ),
        pytest.param(
            "avg(prediction::INT)",
            "max(region)",
            "returned_share is 'south', which is no number",
            id="a query for a text",
        ),
    ],
)
def test_a_mistake_is_shown_at_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    project = make(tmp_path, WATCH.replace(old, new))
    write_labels(project, write_scores(project, "2024-07", seed=1))
    with pytest.raises(la.StepError, match=message) as raised:
        la.steps.monitor(project, "returned_watch", "2024-07")
    location = raised.value.location
    assert location is not None
    text = (tmp_path / "liminal.yml").read_text().splitlines()[location.line - 1]
    assert new.split(":")[0] in text or new in text
