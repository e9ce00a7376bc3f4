"""Converters of what wraps an estimator: thresholds, transformed targets, other ways to learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import convert_estimator, estimator
from liminal_assets.steps.compile.curves import inverted
from liminal_assets.steps.compile.linear import classes_of
from liminal_assets.steps.compile.responses import predicted, relabelled
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError, numbers

__all__: list[str] = []


@estimator("sklearn.FixedThresholdClassifier")
def _fixed(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    inner = getattr(fitted, "estimator_", fitted.estimator)
    return _with_threshold(fitted, inner, fitted.threshold, fitted.pos_label, value)


@estimator("sklearn.TunedThresholdClassifierCV")
def _tuned(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    positive = fitted._curve_scorer._get_pos_label()
    return _with_threshold(fitted, fitted.estimator_, fitted.best_threshold_, positive, value)


def _with_threshold(
    fitted: Any, inner: Any, threshold: Any, positive: Any, value: Columns | Matrix
) -> tuple[Matrix, Node]:
    if fitted.response_method not in ("auto", "predict_proba") or not hasattr(
        inner, "predict_proba"
    ):
        raise UnsupportedError("a threshold of a decision function")
    matrix, node = convert_estimator(inner, value)
    least = 0.5 if threshold == "auto" else float(threshold)
    place = 1 if positive is None else int(np.flatnonzero(fitted.classes_ == positive)[0])
    return matrix, {**node, "threshold": least, "positive": place}


@estimator("sklearn.TransformedTargetRegressor")
def _transformed(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix = inverted(fitted.transformer_, predicted(fitted.regressor_, value))
    return matrix, {"op": "value", "computed": {"op": "given"}, "link": "identity"}


@estimator("sklearn.FrozenEstimator")
def _frozen(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    return convert_estimator(fitted.estimator, value)


@estimator("sklearn.RANSACRegressor")
def _consensus(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    return convert_estimator(fitted.estimator_, numbers(value))


@estimator("sklearn.SelfTrainingClassifier")
def _self_taught(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix, answer = convert_estimator(fitted.estimator_, numbers(value))
    return matrix, relabelled(answer, classes_of(fitted))
