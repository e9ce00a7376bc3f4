"""Converters of naive Bayes and of quadratic discriminants."""

from __future__ import annotations

from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import estimator
from liminal_assets.steps.compile.linear import classes_of, probable
from liminal_assets.steps.compile.preparation import checked
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError

__all__: list[str] = []


def _of_64_bits(value: Columns | Matrix) -> Matrix:
    matrix = checked(value, missing=False)
    if matrix.single:
        raise UnsupportedError("naive Bayes of columns that are all 32-bit numbers")
    return matrix


@estimator("sklearn.GaussianNB")
def _gaussian(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix = _of_64_bits(value)
    computed = {
        "op": "gaussian",
        "prior": fitted.class_prior_,
        "mean": fitted.theta_,
        "variance": fitted.var_,
    }
    return matrix, probable(classes_of(fitted), computed, "softmax")


@estimator("sklearn.ComplementNB", "sklearn.MultinomialNB")
def _counts(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    complement = type(fitted).__name__ == "ComplementNB" and len(fitted.classes_) > 1
    prior = np.zeros(len(fitted.classes_)) if complement else fitted.class_log_prior_
    computed = {"op": "linear", "weights": fitted.feature_log_prob_.T, "intercept": prior}
    return _of_64_bits(value), probable(classes_of(fitted), computed, "softmax")


@estimator("sklearn.BernoulliNB")
def _truths(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix = _of_64_bits(value)
    if fitted.binarize is not None:
        matrix = matrix.then("binarize", threshold=float(fitted.binarize))
    never = np.log(1 - np.exp(fitted.feature_log_prob_))
    computed = {
        "op": "linear",
        "weights": (fitted.feature_log_prob_ - never).T,
        "intercept": fitted.class_log_prior_ + never.sum(axis=1),
    }
    return matrix, probable(classes_of(fitted), computed, "softmax")


@estimator("sklearn.QuadraticDiscriminantAnalysis")
def _quadratic(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    pairs = list(zip(fitted.rotations_, fitted.scalings_, strict=True))
    classes = classes_of(fitted)
    matrix = checked(value, missing=False).then(
        "quadratic",
        len(classes),
        means=np.asarray(fitted.means_, float),
        rotations=[np.asarray(one * scale ** (-0.5), float) for one, scale in pairs],
        shift=np.log(fitted.priors_) - 0.5 * np.array([np.log(scale).sum() for _, scale in pairs]),
    )
    if len(classes) > 2:
        return matrix, probable(classes, {"op": "given"}, "softmax")
    difference: Node = {
        "op": "linear",
        "weights": np.array([[-1.0], [1.0]]),
        "intercept": np.zeros(1),
    }
    return matrix, probable(classes, difference, "logistic")
