"""Metrics: scikit-learn's by name, each with its direction, equal to scikit-learn's own values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.metrics import get_scorer_names

from liminal_assets.steps.metrics import (
    Answers,
    UnknownMetricError,
    better_by,
    default_metrics,
    known_metrics,
    measure,
    metric_of,
    standard_errors,
)

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.choice(["no", "yes"], 300)
POSITIVE = np.clip((TRUTH == "yes") * 0.3 + RANDOM.random(300) * 0.7, 0, 1)
LABELS = np.where(POSITIVE > 0.5, "yes", "no")
BINARY = Answers.of(
    TRUTH,
    LABELS,
    classes=["no", "yes"],
    probabilities=np.column_stack([1 - POSITIVE, POSITIVE]),
)
THREE = RANDOM.choice(["a", "b", "c"], 300)
PROBABILITIES = RANDOM.dirichlet([1, 1, 1], 300)
MULTICLASS = Answers.of(
    THREE,
    np.array(["a", "b", "c"])[PROBABILITIES.argmax(axis=1)],
    classes=["a", "b", "c"],
    probabilities=PROBABILITIES,
)
NUMBERS = RANDOM.normal(10, 2, 300)
PREDICTED = NUMBERS + RANDOM.normal(0, 1, 300)
REGRESSION = Answers.of(NUMBERS, PREDICTED)


def value(name: str, answers: Answers) -> float:
    metric = metric_of(name, answers.task, classes=len(answers.classes) or None)
    return measure([metric], answers)[name]


IS_YES = TRUTH == "yes"
PREDICTED_YES = LABELS == "yes"


@pytest.mark.parametrize(
    ("name", "answers", "expected"),
    [
        ("roc_auc", BINARY, sk.roc_auc_score(IS_YES, POSITIVE)),
        ("auc", BINARY, sk.roc_auc_score(IS_YES, POSITIVE)),
        ("pr_auc", BINARY, sk.average_precision_score(IS_YES, POSITIVE)),
        ("f1", BINARY, sk.f1_score(IS_YES, PREDICTED_YES)),
        ("precision", BINARY, sk.precision_score(IS_YES, PREDICTED_YES)),
        ("accuracy", BINARY, sk.accuracy_score(TRUTH, LABELS)),
        ("mcc", BINARY, sk.matthews_corrcoef(TRUTH, LABELS)),
        ("brier", BINARY, sk.brier_score_loss(IS_YES, POSITIVE)),
        ("neg_brier_score", BINARY, -sk.brier_score_loss(IS_YES, POSITIVE)),
        ("log_loss", BINARY, sk.log_loss(IS_YES, POSITIVE)),
        ("f1", MULTICLASS, sk.f1_score(THREE, np.array(["a", "b", "c"])[PROBABILITIES.argmax(1)], average="macro")),  # noqa: E501
        ("roc_auc", MULTICLASS, sk.roc_auc_score(THREE, PROBABILITIES, multi_class="ovr")),
        ("log_loss", MULTICLASS, sk.log_loss(THREE, PROBABILITIES)),
        ("rmse", REGRESSION, sk.root_mean_squared_error(NUMBERS, PREDICTED)),
        ("mae", REGRESSION, sk.mean_absolute_error(NUMBERS, PREDICTED)),
        ("neg_mean_absolute_error", REGRESSION, -sk.mean_absolute_error(NUMBERS, PREDICTED)),
        ("r2", REGRESSION, sk.r2_score(NUMBERS, PREDICTED)),
        ("max_error", REGRESSION, sk.max_error(NUMBERS, PREDICTED)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_values_are_those_of_scikit_learn(name: str, answers: Answers, expected: float) -> None:
    assert value(name, answers) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("roc_auc", "maximize"),
        ("brier", "minimize"),
        ("log_loss", "minimize"),
        ("neg_log_loss", "maximize"),
        ("rmse", "minimize"),
        ("max_error", "minimize"),
        ("r2", "maximize"),
    ],
)
def test_each_metric_knows_which_way_is_better(name: str, direction: str) -> None:
    assert metric_of(name).direction == direction


def test_better_follows_the_direction() -> None:
    assert better_by(metric_of("roc_auc"), 0.8, 0.7) == pytest.approx(0.1)
    assert better_by(metric_of("brier"), 0.8, 0.7) == pytest.approx(-0.1)


def test_all_scorers_that_have_a_truth_are_known() -> None:
    clustering = {name for name in get_scorer_names() if name not in known_metrics()}
    assert clustering == {
        "adjusted_mutual_info_score",
        "adjusted_rand_score",
        "completeness_score",
        "fowlkes_mallows_score",
        "homogeneity_score",
        "mutual_info_score",
        "normalized_mutual_info_score",
        "rand_score",
        "v_measure_score",
    }


@pytest.mark.parametrize("answers", [BINARY, MULTICLASS], ids=["binary", "multiclass"])
def test_every_metric_of_classification_is_a_number(answers: Answers) -> None:
    # these take several labels a row, or two classes only
    special = {"f1_samples", "jaccard_samples", "precision_samples", "recall_samples"}
    two = {n for n in known_metrics() if "likelihood_ratio" in n or n == "top_k_accuracy"}
    for name, scorer in known_metrics().items():
        try:
            metric_of(name, "classification")
        except UnknownMetricError:
            continue
        if scorer in special or (name in two):
            continue
        assert math.isfinite(value(name, answers)), name


@pytest.mark.parametrize(
    ("name", "task", "message", "hint"),
    [
        ("rocauc", "classification", "no metric is called 'rocauc'", "did you mean 'roc_auc'?"),
        ("rmse", "classification", "'rmse' is no metric of classification", "such as roc_auc"),
        ("f1", "regression", "'f1' is no metric of regression", "such as rmse"),
    ],
)
def test_a_wrong_metric_is_said_with_a_hint(name: str, task: Any, message: str, hint: str) -> None:
    with pytest.raises(UnknownMetricError, match=message) as raised:
        metric_of(name, task)
    assert raised.value.hint is not None
    assert raised.value.hint.startswith(hint)


def test_rows_of_one_class_leave_a_ranking_undefined() -> None:
    assert math.isnan(value("roc_auc", BINARY.rows(IS_YES)))
    assert math.isfinite(value("log_loss", BINARY.rows(IS_YES)))


def test_a_class_that_the_model_never_saw_counts_against_it() -> None:
    answers = Answers.of(
        ["a", "b", "new"], ["a", "b", "a"], classes=["a", "b"], probabilities=np.eye(3)[:, :2]
    )
    assert answers.classes == ("a", "b", "new")
    assert value("accuracy", answers) == pytest.approx(2 / 3)
    assert value("log_loss", answers) > 1


def test_a_decision_function_is_enough_for_a_ranking() -> None:
    answers = Answers.of(TRUTH, LABELS, classes=["no", "yes"], scores=POSITIVE * 10 - 5)
    assert value("roc_auc", answers) == pytest.approx(value("roc_auc", BINARY))
    assert math.isnan(value("log_loss", answers))


def test_the_usual_metrics_fit_their_task() -> None:
    for answers in (BINARY, MULTICLASS, REGRESSION):
        names = default_metrics(answers.task, len(answers.classes))
        assert all(math.isfinite(value(name, answers)) for name in names)


def test_standard_errors_are_those_of_theory() -> None:
    metric = metric_of("accuracy")
    errors = standard_errors([metric], BINARY, rounds=300, seed=1)
    share = value("accuracy", BINARY)
    assert errors["accuracy"] == pytest.approx(math.sqrt(share * (1 - share) / 300), rel=0.15)


def test_fewer_drawn_rows_give_the_same_standard_error() -> None:
    metric = metric_of("accuracy")
    all_rows = standard_errors([metric], BINARY, rounds=400, seed=1)["accuracy"]
    fewer = standard_errors([metric], BINARY, rounds=400, rows=100, seed=1)["accuracy"]
    assert fewer == pytest.approx(all_rows, rel=0.15)
