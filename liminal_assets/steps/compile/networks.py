"""Converters of multi-layer perceptrons and support vector machines."""

from __future__ import annotations

from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import estimator
from liminal_assets.steps.compile.linear import classes_of, probable
from liminal_assets.steps.compile.preparation import checked
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError

__all__: list[str] = []


@estimator("sklearn.MLPClassifier", "sklearn.MLPRegressor")
def _perceptron(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    if any(weights.dtype != np.float64 for weights in fitted.coefs_):
        raise UnsupportedError("a perceptron of 32-bit numbers")
    computed: Node = {
        "op": "layers",
        "weights": list(fitted.coefs_),
        "intercepts": list(fitted.intercepts_),
        "activation": fitted.activation,
    }
    matrix = checked(value, missing=False)
    if not hasattr(fitted, "classes_"):
        if fitted.n_outputs_ != 1:
            raise UnsupportedError("several targets")
        link = "exp" if fitted.out_activation_ == "exp" else "identity"
        return matrix, {"op": "value", "computed": computed, "link": link}
    if fitted._label_binarizer.y_type_.startswith("multilabel"):
        raise UnsupportedError("several targets")
    link = "logistic" if fitted.out_activation_ == "logistic" else "softmax"
    return matrix, probable(classes_of(fitted), computed, link)


@estimator("sklearn.NuSVR", "sklearn.SVR")
def _support_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    weights = fitted.dual_coef_.T
    computed = _kernel(fitted, weights, [np.arange(len(weights))], fitted.intercept_)
    matrix = checked(value, missing=False).wide()
    return matrix, {"op": "value", "computed": computed, "link": "identity"}


@estimator("sklearn.NuSVC", "sklearn.SVC")
def _support(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    if hasattr(fitted, "predict_proba"):
        # LIBSVM couples probabilities of pairs by an iteration that stops early
        raise UnsupportedError(f"{type(fitted).__name__} with probabilities of LIBSVM's own")
    classes, matrix = classes_of(fitted), checked(value, missing=False).wide()
    if len(classes) > 2 and fitted.decision_function_shape != "ovr":
        raise UnsupportedError(f"{type(fitted).__name__} that decides between two classes each")
    pairs = _kernel(fitted, *_weights_of_pairs(fitted), fitted._intercept_)
    made = matrix.then(pairs.pop("op"), len(fitted._intercept_), **pairs)
    votes: Node = {"op": "duels", "classes": len(classes), "confident": False}
    decisions: Node = {**votes, "confident": True}
    if len(classes) == 2:
        decisions = {"op": "function", "name": "negative"}
    elif fitted.break_ties:
        votes = decisions
    return made, {"op": "labels", "computed": votes, "classes": classes, "decisions": decisions}


def _kernel(fitted: Any, weights: Any, places: list[np.ndarray], intercept: Any) -> Node:
    if fitted.kernel not in ("linear", "poly", "rbf", "sigmoid"):
        raise UnsupportedError(f"{type(fitted).__name__} with a kernel of its own")
    if hasattr(fitted.support_vectors_, "toarray"):
        raise UnsupportedError(f"{type(fitted).__name__} that learned from a sparse matrix")
    return {
        "op": "kernel",
        "kind": fitted.kernel,
        "vectors": np.ascontiguousarray(fitted.support_vectors_, float),
        "weights": np.ascontiguousarray(weights, float),
        "places": places,
        "intercept": np.asarray(intercept, float),
        "gamma": float(fitted._gamma),
        "coef0": float(fitted.coef0),
        "degree": int(fitted.degree),
    }


def _weights_of_pairs(fitted: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """What each support vector adds to each decision between two classes (LIBSVM's order), and
    which vectors do."""
    count = len(fitted.classes_)
    ends = np.concatenate([[0], np.cumsum(fitted.n_support_)])
    columns, places = [], []
    for first in range(count):
        for second in range(first + 1, count):
            column = np.zeros(ends[-1])
            one, other = np.arange(*ends[first : first + 2]), np.arange(*ends[second : second + 2])
            column[one] = fitted._dual_coef_[second - 1, one]
            column[other] = fitted._dual_coef_[first, other]
            columns.append(column)
            places.append(np.concatenate([one, other]))
    return np.stack(columns, axis=1), places
