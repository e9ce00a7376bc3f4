"""Converters of estimators that are made of others: votes, stacks, bags, calibrated classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import convert_estimator, estimator
from liminal_assets.steps.compile.linear import apart, classes_of, probable
from liminal_assets.steps.compile.preparation import checked
from liminal_assets.steps.compile.responses import (
    decided,
    decides,
    predicted,
    relabelled,
    shares,
)
from liminal_assets.steps.compile.trees import (
    answers_of_trees,
    forest_of_classes,
    forest_of_values,
    is_tree,
)
from liminal_assets.steps.compile.values import (
    Columns,
    Matrix,
    Node,
    UnsupportedError,
    joined,
    numbers,
    steps_between,
)

__all__: list[str] = []

_GIVEN: Node = {"op": "given"}


def _weights(fitted: Any) -> np.ndarray | None:
    weights = fitted._weights_not_none
    return None if weights is None else np.asarray(weights, float)


def _several_targets(fitted: Any) -> None:
    if isinstance(getattr(fitted, "classes_", None), list):
        raise UnsupportedError("several targets")


@estimator("sklearn.VotingClassifier")
def _voting(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    _several_targets(fitted)
    classes, weights = classes_of(fitted), _weights(fitted)
    members = fitted.estimators_
    if fitted.voting == "hard":
        matrix = joined(value, [predicted(member, value) for member in members])
        votes: Node = {"op": "votes", "classes": len(classes), "weights": weights}
        return matrix, {"op": "labels", "computed": votes, "classes": classes}
    matrix = joined(value, [shares(member, value) for member in members])
    mean: Node = {"op": "average", "count": len(members), "weights": weights}
    return matrix, probable(classes, mean, "given")


@estimator("sklearn.VotingRegressor")
def _voted_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    members = fitted.estimators_
    matrix = joined(value, [predicted(member, value) for member in members])
    mean: Node = {"op": "average", "count": len(members), "weights": _weights(fitted)}
    return matrix, {"op": "value", "computed": mean, "link": "identity"}


@estimator("sklearn.StackingClassifier", "sklearn.StackingRegressor")
def _stacking(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    _several_targets(fitted)
    methods = fitted.stack_method_
    pairs = zip(fitted.estimators_, methods, strict=True)
    parts = [_stacked(fitted, member, method, value) for member, method in pairs]
    if fitted.passthrough:
        parts.append(numbers(value))
    matrix, answer = convert_estimator(fitted.final_estimator_, joined(value, parts))
    if hasattr(fitted, "classes_"):
        answer = relabelled(answer, classes_of(fitted))
    return matrix, answer


def _stacked(fitted: Any, member: Any, method: str, value: Columns | Matrix) -> Matrix:
    if method == "decision_function":
        return decided(member, value)
    if method == "predict":
        return predicted(member, value)
    made = shares(member, value)
    # of two classes the second says all
    return made.then("take", 1, places=np.array([1])) if len(fitted.classes_) == 2 else made


@estimator("sklearn.CalibratedClassifierCV")
def _calibrated(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    classes = classes_of(fitted)
    members = [_calibrated_one(one, value) for one in fitted.calibrated_classifiers_]
    mean: Node = {"op": "average", "count": len(members), "weights": None}
    return joined(value, members), probable(classes, mean, "given")


def _calibrated_one(fitted: Any, value: Columns | Matrix) -> Matrix:
    inner, classes = fitted.estimator, np.asarray(fitted.classes)
    given = not decides(inner)
    made = shares(inner, value) if given else decided(inner, value)
    if fitted.method == "temperature":
        inverse = float(np.ravel(fitted.calibrators[0].beta_)[0])
        made = checked(made, missing=False)
        return made.then("temperature", len(classes), inverse=inverse, given=given)
    if given and len(inner.classes_) == 2:
        made = made.then("take", 1, places=np.array([1]))
    if fitted.method == "sigmoid":
        slope = np.array([float(one.a_) for one in fitted.calibrators])
        shift = np.array([float(one.b_) for one in fitted.calibrators])
        made = made.then("sigmoids", slope=slope, shift=shift)
    else:
        points = [_points(one) for one in fitted.calibrators]
        known, values = [list(part) for part in zip(*points, strict=True)]
        made = checked(made, missing=False).then("interpolate", known=known, values=values)
    places = np.searchsorted(classes, inner.classes_)
    return made.then("normalized", len(classes), classes=len(classes), places=places, uniform=True)


def _points(fitted: Any) -> tuple[np.ndarray, np.ndarray]:
    """The points of an isotonic regression that is held at both ends."""
    if fitted.out_of_bounds != "clip":
        raise UnsupportedError("an isotonic calibration that isn't held at its ends")
    return np.asarray(fitted.X_thresholds_, float), np.asarray(fitted.y_thresholds_, float)


@estimator("sklearn.OneVsRestClassifier")
def _one_against_rest(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    if fitted.multilabel_:
        raise UnsupportedError("several targets")
    classes, members = classes_of(fitted), fitted.estimators_
    if any(len(getattr(member, "classes_", ())) != 2 for member in members):
        raise UnsupportedError("a class that is all or nothing of the training rows")
    matrix = numbers(value) if isinstance(value, Columns) else value
    second = {"op": "take", "places": np.array([1])}

    def each(one: Any, given: bool) -> Matrix:
        return shares(one, matrix).stepped(second, 1) if given else decided(one, matrix)

    by_shares = not decides(members[0])
    computed = _branches(matrix, [each(one, by_shares) for one in members])
    if not hasattr(fitted, "predict_proba"):
        return matrix, {"op": "labels", "computed": computed, "classes": classes}
    places = np.arange(len(members))
    normal = {"op": "normalized", "classes": len(classes), "places": places, "uniform": False}
    given = _branches(matrix, [each(one, True) for one in members])
    given_to_one: Node = {"op": "then", "steps": [given, normal]}
    return matrix, apart(classes, computed, given_to_one, limit=0.5 if by_shares else 0.0)


def _branches(value: Matrix, parts: Sequence[Matrix]) -> Node:
    """What was made of a matrix as one step on it."""
    return {"op": "parallel", "branches": [steps_between(value, part) for part in parts]}


def _bagged(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, list[Any], list[np.ndarray]]:
    matrix = numbers(value)
    features = [np.asarray(some, int) for some in fitted.estimators_features_]
    return matrix, fitted.estimators_, features


def _part(matrix: Matrix, features: np.ndarray) -> Matrix:
    if np.array_equal(features, np.arange(matrix.width)):
        return matrix
    return matrix.then("take", len(features), places=features)


@estimator("sklearn.BaggingClassifier")
def _bagging(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    classes = classes_of(fitted)
    matrix, members, features = _bagged(fitted, value)
    complete = all(len(member.classes_) == len(classes) for member in members)
    if complete and all(map(is_tree, members)):
        single, computed = forest_of_classes(members, matrix, features)
        return single, probable(classes, computed, "given")
    parts = []
    for member, some in zip(members, features, strict=True):
        part = _part(matrix, some)
        places = np.asarray(member.classes_, int)
        if hasattr(member, "predict_proba"):
            made = shares(member, part)
        else:
            made = _answered(member, part).then(
                "votes", len(places), classes=len(places), weights=None
            )
        if len(places) < len(classes):
            made = made.then("places", len(classes), places=places, among=len(classes))
        parts.append(made)
    mean: Node = {"op": "average", "count": len(members), "weights": None}
    return joined(matrix, parts), probable(classes, mean, "given")


def _answered(member: Any, value: Matrix) -> Matrix:
    """The value of a member, or the place of its label among those that it knows."""
    matrix, answer = convert_estimator(member, value)
    if "classes" in answer:
        answer = relabelled(answer, np.arange(len(member.classes_)))
    return matrix.stepped({"op": "response", "answer": answer, "method": "predicted"}, 1)


@estimator("sklearn.BaggingRegressor")
def _bagged_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix, members, features = _bagged(fitted, value)
    if all(map(is_tree, members)):
        single, computed = forest_of_values(members, matrix, features)
        return single, {"op": "value", "computed": computed, "link": "identity"}
    pairs = zip(members, features, strict=True)
    parts = [predicted(member, _part(matrix, some)) for member, some in pairs]
    mean: Node = {"op": "average", "count": len(members), "weights": None}
    return joined(matrix, parts), {"op": "value", "computed": mean, "link": "identity"}


@estimator("sklearn.AdaBoostClassifier")
def _boosted(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    if getattr(fitted, "algorithm", "SAMME") == "SAMME.R":
        raise UnsupportedError("AdaBoostClassifier with SAMME.R")
    classes, members = classes_of(fitted), fitted.estimators_
    if any(list(member.classes_) != list(fitted.classes_) for member in members):
        raise UnsupportedError("a member that didn't learn of every class")
    weights = np.asarray(fitted.estimator_weights_, float)
    count = len(classes)
    matrix = _answers(members, checked(value, missing=False)).then(
        "boosted",
        1 if count == 2 else count,
        weights=weights[: len(members)],
        total=float(weights.sum()),
        classes=count,
    )
    if count == 2:
        return matrix, probable(classes, _GIVEN, "logistic")
    scaled: Node = {"op": "temperature", "inverse": 1 / (count - 1), "given": False}
    return matrix, apart(classes, _GIVEN, scaled)


@estimator("sklearn.AdaBoostRegressor")
def _boosted_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    members = fitted.estimators_
    weights = np.asarray(fitted.estimator_weights_, float)[: len(members)]
    computed: Node = {"op": "weighted_median", "weights": weights}
    matrix = _answers(members, checked(value, missing=False))
    return matrix, {"op": "value", "computed": computed, "link": "identity"}


def _answers(members: Sequence[Any], matrix: Matrix) -> Matrix:
    """The values, or places of the labels, that members answer, side by side."""
    if all(map(is_tree, members)):
        return answers_of_trees(members, matrix)
    return joined(matrix, [_answered(member, matrix) for member in members])
