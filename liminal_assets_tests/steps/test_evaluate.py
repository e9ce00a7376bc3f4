"""Evaluate and validate: the report on held-out rows, and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.models import Model
from liminal_assets.steps.evaluate import OTHER_SLICES, Evaluation
from liminal_assets.steps.report import Outcome
from liminal_assets.steps.rules import rule_names
from liminal_assets.steps.train import Trained, model_spec
from liminal_assets.steps.validate import reasons

LOGISTIC = "sklearn.linear_model.LogisticRegression"


def rows(count: int = 600) -> pd.DataFrame:
    random = np.random.default_rng(5)
    made = pd.DataFrame(
        {
            "x": random.normal(size=count),
            "noise": random.normal(size=count),
            "shop": random.choice(["big", "middle", "tiny"], count, p=[0.6, 0.37, 0.03]),
        }
    )
    made["y"] = made["x"] + 0.5 * random.normal(size=count) > 0
    return made


def train(frame: pd.DataFrame | None = None, **said: Any) -> Trained:
    keys = {"target": "y", "estimator": LOGISTIC, "split": {"test": 0.5}, **said}
    trained: Trained = la.steps.train(rows() if frame is None else frame, **keys)
    return trained


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(
        evaluate={
            "slices": ["shop"],
            "min_slice_rows": 20,
            "explain": "permutation",
            "cross_validate": 3,
        }
    )


@pytest.fixture(scope="module")
def report(trained: Trained) -> Evaluation:
    evaluated: Evaluation = la.steps.evaluate(trained)
    return evaluated


def test_the_metrics_are_those_of_the_training(trained: Trained, report: Evaluation) -> None:
    assert report.metrics == trained.metrics
    assert report.rows == 300


def test_each_metric_has_an_interval_and_its_cross_validation(report: Evaluation) -> None:
    row: Mapping[str, Any] = next(r for r in report.table().rows if r["metric"] == "roc_auc")
    assert row["low"] < row["value"] < row["high"]
    assert row["folds_mean"] == pytest.approx(row["value"], abs=0.1)
    assert row["better"] == "higher"


def test_slices_are_measured_and_small_ones_together(report: Evaluation) -> None:
    assert [part.value for part in report.slices] == ["big", "middle", OTHER_SLICES]
    assert sum(part.rows for part in report.slices) == 300
    assert all(0.8 < part.metrics["roc_auc"] <= 1 for part in report.slices)


def test_permutation_importance_finds_the_column_that_matters(report: Evaluation) -> None:
    assert report.importance[0]["column"] == "x"
    assert report.importance[0]["importance"] > 0.2
    assert abs(report.importance[-1]["importance"]) < 0.05


def test_plots_are_small_pictures(report: Evaluation) -> None:
    assert set(report.plots) == {
        "confusion_matrix",
        "roc_curve",
        "pr_curve",
        "calibration",
        "permutation_importance",
    }
    for plot in report.plots.values():
        assert plot.png.startswith(b"\x89PNG")
        assert len(plot.png) < 40_000


def test_the_same_report_is_made_of_the_same_rows(trained: Trained, report: Evaluation) -> None:
    assert la.steps.evaluate(trained) == report


def test_a_regression_is_shown_by_its_residuals() -> None:
    frame = rows()
    frame["y"] = frame["x"] * 2 + frame["noise"]
    evaluated = la.steps.evaluate(train(frame, estimator="sklearn.linear_model.Ridge"))
    assert set(evaluated.plots) == {"predicted_vs_actual", "residuals", "residual_distribution"}
    assert evaluated.metrics["r2"] > 0.95


def test_three_classes_have_a_curve_each() -> None:
    frame = rows().assign(y=lambda f: np.digitize(f["x"], [-0.5, 0.5]))
    evaluated = la.steps.evaluate(train(frame))
    assert set(evaluated.plots) == {"confusion_matrix", "roc_curve"}


def test_a_slice_by_a_column_that_is_not_there_is_said() -> None:
    with pytest.raises(la.StepError, match="no column 'shp' to slice by") as raised:
        la.steps.evaluate(train(evaluate={"slices": ["shp"]}))
    assert raised.value.hint == "did you mean 'shop'?"


class Guess:
    """A champion that answers as it is told."""

    classes_ = np.array([False, True])

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        positive = 1 / (1 + np.exp(-self.sign * frame["x"].to_numpy()))
        return np.column_stack([1 - positive, positive])

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.predict_proba(frame)[:, 1] > 0.5


def judged(rule: dict[str, Any], champion: Any = None, **said: Any) -> Outcome:
    candidate = train(validate=[rule], **said)
    (outcome,) = la.steps.validate(candidate, la.steps.evaluate(candidate), champion=champion)
    return outcome  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ({"metric": "roc_auc", "at_least": 0.8}, True),
        ({"metric": "roc_auc", "at_least": 0.999}, False),
        ({"metric": "brier", "at_most": 0.2}, True),
        ({"metric": "brier", "at_most": 0.01}, False),
        ({"metric": "roc_auc", "slice": "shop", "at_least": 0.8}, True),
        ({"metric": "roc_auc", "slice": "shop", "at_least": 0.98}, False),
        ({"integrity": True}, True),
        ({"integrity": {"latency": "10s"}}, True),
        ({"integrity": {"latency": "1ms"}}, False),
    ],
    ids=str,
)
def test_a_rule_holds_or_not(rule: dict[str, Any], passed: bool) -> None:
    outcome = judged(rule)
    assert outcome.passed is passed
    assert outcome.blocks is not passed
    assert outcome.description


@pytest.mark.parametrize(
    ("metric", "champion", "by", "passed"),
    [
        ("roc_auc", None, 0.5, True),
        ("roc_auc", Guess(1.0), 0.2, False),
        ("roc_auc", Guess(-1.0), 0.2, True),
        ("brier", Guess(-1.0), 0.2, True),
        ("brier", Guess(1.0), 0.2, False),
    ],
    ids=["first", "not by enough", "clearly", "lower is better", "not lower by enough"],
)
def test_a_candidate_must_beat_the_champion_on_the_same_rows(
    metric: str, champion: Any, by: float, passed: bool
) -> None:
    rule = {"metric": metric, "beats_champion_by": by}
    assert judged(rule, champion).passed is passed


def test_an_equal_champion_is_beaten_by_nothing() -> None:
    same = train()
    assert judged({"metric": "roc_auc", "beats_champion_by": 0.0}, same.pipeline).passed


def test_a_champion_that_cannot_answer_any_more_is_no_hurdle() -> None:
    class Broken(Guess):
        def predict_proba(self, frame: pd.DataFrame) -> Any:
            raise KeyError("wind")

    outcome = judged({"metric": "roc_auc", "beats_champion_by": 0.5}, Broken(1.0))
    assert outcome.passed
    assert "can't answer these rows any more ('wind')" in (outcome.description or "")


def test_the_champion_is_beaten_in_every_slice() -> None:
    rule = {"metric": "roc_auc", "slice": "shop", "beats_champion_by": 0.1}
    assert judged(rule, Guess(-1.0)).passed
    failed = judged(rule, Guess(1.0))
    assert not failed.passed
    assert "big" in (failed.description or "")


def test_what_failed_is_told_in_words() -> None:
    candidate = train(
        validate=[{"metric": "roc_auc", "at_least": 0.999}, {"metric": "f1", "at_least": 0.1}]
    )
    outcomes = la.steps.validate(candidate, la.steps.evaluate(candidate))
    said = reasons(outcomes)
    assert said.startswith("roc_auc_at_least: roc_auc is 0.9")
    assert "below 0.999" in said
    assert "f1" not in said


def test_each_rule_has_a_name_of_its_own() -> None:
    model: Model = model_spec(
        target="y",
        estimator=LOGISTIC,
        validate=[
            {"metric": "f1", "at_least": 0.1},
            {"metric": "f1", "at_least": 0.2},
            {"metric": "brier", "at_most": 0.2},
            {"metric": "f1", "slice": "shop kind", "at_least": 0.1},
            {"metric": "f1", "beats_champion_by": 0.0},
            {"integrity": True},
        ],
    )
    assert [name for name, _ in rule_names(model)] == [
        "f1_at_least",
        "f1_at_least_2",
        "brier_at_most",
        "f1_by_shop_kind_at_least",
        "f1_beats_champion",
        "integrity",
    ]


class Wrong:
    """A reloaded pipeline that isn't what it was."""

    def __init__(self, inner: Any, **faults: Any) -> None:
        self.inner, self.faults, self.calls = inner, faults, 0
        self.classes_ = inner.classes_
        self.feature_names_in_ = inner.feature_names_in_

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.inner.predict(frame)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        self.calls += 1
        if "fails on nulls" in self.faults and frame.isna().any(axis=None):
            raise ValueError("Input contains NaN")
        answers = self.inner.predict_proba(frame)
        if "differs" in self.faults:
            answers = answers + 1e-6
        if "changes" in self.faults:
            answers = answers + self.calls * 1e-12
        if "depends on others" in self.faults:
            answers = answers + np.arange(len(frame))[:, None]
        if "has holes" in self.faults:
            answers[0] = np.nan
        return answers


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("differs", "its answers differ from those of training in 300 rows"),
        ("changes", "it answers the same rows differently each time"),
        ("depends on others", "its answer about a row depends on the other rows"),
        ("has holes", "it has no answer for 1 of 300 rows"),
        ("fails on nulls", "it fails on a row of nulls: Input contains NaN"),
    ],
)
def test_integrity_finds_what_is_broken(fault: str, said: str) -> None:
    candidate = train(validate=[{"integrity": True}])
    (outcome,) = la.steps.validate(
        candidate,
        la.steps.evaluate(candidate),
        reload=lambda: Wrong(candidate.pipeline, **{fault: True}),
    )
    assert not outcome.passed
    assert said in (outcome.description or "")


def test_integrity_reports_that_it_cannot_be_loaded() -> None:
    candidate = train(validate=[{"integrity": True}])

    def broken() -> Any:
        raise la.StepError("the files aren't those that were registered")

    (outcome,) = la.steps.validate(candidate, la.steps.evaluate(candidate), reload=broken)
    assert outcome.description == "the files aren't those that were registered"


def test_a_strict_estimator_is_only_asked_about_nulls_where_it_takes_them() -> None:
    assert judged({"integrity": True}, prepare={"numeric": {"impute": "none"}}).passed
