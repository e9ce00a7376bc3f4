"""Two versions held against the labels of the rows that both answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.steps.side_by_side import SideBySide, side_by_side
from liminal_assets.storage.predictions import FeedbackLog, PredictionLog, ShadowLog
from liminal_assets.storage.tables import TableStore

BEGAN = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
ROWS = 120
WATCH = {
    "monitor": "watch",
    "deployment": "api",
    "performance": {
        "metric": "roc_auc",
        "at_least": 0.5,
        "labels": {"from": "truths", "key": "sale", "column": "late"},
    },
}


class Shop:
    """A deployment whose log holds what two versions said of the same requests."""

    def __init__(self, root: Path, *, watched: bool = True, **more: Any) -> None:
        self.project = Project.of(
            "shop",
            root,
            datasets=[{"dataset": "sales", "fetch": {"file": "x.csv"}}],
            models=[
                {
                    "model": "late",
                    "features": "sales",
                    "target": "late",
                    "estimator": "sklearn.linear_model.LogisticRegression",
                }
            ],
            deployments=[{"deployment": "api", "model": "late", "serve": {}, **more}],
            monitors=[WATCH] if watched else [],
            check=False,
        )
        random = np.random.default_rng(3)
        self.truth = random.integers(0, 2, ROWS)
        self.good = np.clip(self.truth * 0.5 + random.uniform(0, 0.5, ROWS), 0, 1)
        self.bad = np.clip(self.truth * 0.1 + random.uniform(0, 0.8, ROWS), 0, 1)
        self.ids = [f"{number:032x}" for number in range(ROWS)]

    def rows(self, version: str, probability: Any, *, inputs: bool = True) -> pd.DataFrame:
        at = pd.Series([BEGAN + timedelta(seconds=second) for second in range(ROWS)])
        at = at.dt.as_unit("us")
        frame = pd.DataFrame(
            {
                "prediction": (probability > 0.5).astype(int),
                "probability": probability,
                "model_version": version,
                "prediction_id": self.ids,
                "requested_at": at,
                "scored_at": at,
                "sample_rate": 1.0,
            }
        )
        if inputs:
            frame["sale"] = range(ROWS)
            frame["carrier"] = ["AA", "UA", None] * (ROWS // 3)
        return frame

    def answered(self, served: pd.DataFrame, background: pd.DataFrame) -> None:
        PredictionLog(self.project, "api").append(served)
        ShadowLog(self.project, "api").append(background)

    def told(self, truth: Any, rows: slice = slice(None)) -> None:
        """Labels come to ``/feedback``."""
        frame = pd.DataFrame({"prediction_id": self.ids, "label": [str(t) for t in truth]})[rows]
        frame["feedback_id"] = [f"{number:x}" for number in range(len(frame))]
        frame["at"] = pd.Series([pd.NaT] * len(frame), dtype="datetime64[us, UTC]")
        frame["labelled_at"] = frame["received_at"] = pd.Series(
            BEGAN + timedelta(hours=1), frame.index, "datetime64[us, UTC]"
        )
        FeedbackLog(self.project, "api").append(frame)

    def kept(self, frame: pd.DataFrame) -> None:
        """Labels are in the dataset that the monitor names."""
        store = TableStore(self.project)
        store.publish(store.stage("truths", None, frame))

    def compare(self, since: datetime = BEGAN) -> SideBySide | None:
        deployment = self.project.block("api")
        assert isinstance(deployment, Deployment)
        return side_by_side(
            self.project, deployment, "1", "2", since=since, slices=["carrier", "gone"]
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_both_versions_are_measured_over_the_same_labelled_rows(shop: Shop) -> None:
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    assert shop.compare() is None
    shop.told(shop.truth, slice(0, 90))
    found = shop.compare()
    assert found
    ours, theirs = (roc_auc_score(shop.truth[:90], side[:90]) for side in (shop.good, shop.bad))
    assert (found.metric, found.whole.rows) == ("roc_auc", 90)
    assert found.whole.stable == pytest.approx(ours)
    assert found.whole.candidate == pytest.approx(theirs)
    assert found.whole.worse_by == pytest.approx(ours - theirs)
    assert found.whole.error
    assert 0.01 < found.whole.error < 0.1
    assert set(found.slices) == {"carrier=AA", "carrier=UA", "carrier=(missing)"}
    some = slice(0, 90, 3)
    assert found.slices["carrier=AA"].candidate == pytest.approx(
        roc_auc_score(shop.truth[some], shop.bad[some])
    )


def test_whichever_answered_the_candidate_is_the_candidate(shop: Shop) -> None:
    # a canary's candidate answers, and the stable version is asked in the background
    shop.answered(shop.rows("2", shop.bad), shop.rows("1", shop.good, inputs=False))
    shop.told(shop.truth)
    found = shop.compare()
    assert found
    assert found.whole.candidate == pytest.approx(roc_auc_score(shop.truth, shop.bad))
    assert found.whole.stable == pytest.approx(roc_auc_score(shop.truth, shop.good))


def test_labels_of_a_monitors_dataset_count_and_feedback_before_them(shop: Shop) -> None:
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    wrong = 1 - shop.truth
    shop.kept(pd.DataFrame({"sale": range(ROWS), "late": wrong}))
    found = shop.compare()
    assert found
    assert found.whole.stable == pytest.approx(roc_auc_score(wrong, shop.good))
    shop.told(shop.truth)
    found = shop.compare()
    assert found
    assert found.whole.stable == pytest.approx(roc_auc_score(shop.truth, shop.good))


def test_requests_before_the_rollout_are_left_out(shop: Shop) -> None:
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    shop.told(shop.truth)
    found = shop.compare(BEGAN + timedelta(seconds=100))
    assert found
    assert found.whole.rows == 20


def test_what_is_said_in_the_background_is_in_no_prediction_log(shop: Shop) -> None:
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    shop.told(shop.truth)
    for read in (
        PredictionLog(shop.project, "api").read,
        PredictionLog(shop.project, "api").labelled,
    ):
        served = read().to("pandas")
        assert set(served["model_version"]) == {"1"}
        assert len(served) == ROWS


def test_the_metric_of_the_rollout_is_the_one(tmp_path: Path) -> None:
    limits = {"metric": "brier", "worse_by": 0.1}
    shop = Shop(tmp_path, rollout={"strategy": "shadow", "rollback_on": limits})
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    shop.told(shop.truth)
    found = shop.compare()
    assert found
    whole = found.whole
    # lower is better, and the candidate is worse all the same
    assert found.metric == "brier"
    assert whole.stable is not None
    assert whole.candidate is not None
    assert whole.worse_by == pytest.approx(whole.candidate - whole.stable)
    assert whole.worse_by > 0


def test_labels_of_one_class_define_no_metric_yet(shop: Shop) -> None:
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    shop.told([1] * ROWS, slice(0, 10))
    found = shop.compare()
    assert found
    assert (found.whole.rows, found.whole.worse_by) == (10, None)


@pytest.mark.parametrize(
    ("metric", "make"),
    [
        ("rmse", lambda side: side * 100),
        ("f1", lambda side: np.where(side > 0.5, "late", "on time")),
    ],
    ids=["numbers", "words"],
)
def test_every_kind_of_answer_has_a_metric(
    tmp_path: Path, metric: str, make: Callable[..., Any]
) -> None:
    shop = Shop(tmp_path, watched=False)
    served, background = shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False)
    for frame, side in ((served, shop.good), (background, shop.bad)):
        frame["prediction"] = make(side)
        del frame["probability"]
    shop.answered(served, background)
    shop.told(make(shop.truth.astype(float)))
    found = shop.compare()
    assert found
    assert found.metric == metric
    assert found.whole.worse_by is not None
    assert found.whole.worse_by > 0


def test_a_label_that_is_no_value_of_the_prediction_is_none(shop: Shop) -> None:
    shop.answered(shop.rows("1", shop.good), shop.rows("2", shop.bad, inputs=False))
    shop.told(["perhaps"] * ROWS)
    assert shop.compare() is None


def test_a_project_without_labels_says_nothing(shop: Shop) -> None:
    assert shop.compare() is None
