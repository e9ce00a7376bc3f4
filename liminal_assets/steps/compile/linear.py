"""Converters of linear models and baselines."""

from __future__ import annotations

from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import estimator
from liminal_assets.steps.compile.preparation import checked
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError

__all__ = ["apart", "classes_of", "probable"]


def _linear(fitted: Any) -> Node:
    if fitted.coef_.dtype == np.float32:
        raise UnsupportedError("a linear model of 32-bit numbers")
    weights = np.atleast_2d(np.asarray(fitted.coef_, float)).T
    intercept = np.atleast_1d(np.asarray(fitted.intercept_, float))
    if intercept.shape != (weights.shape[1],):
        intercept = np.broadcast_to(intercept, (weights.shape[1],))
    return {"op": "linear", "weights": weights, "intercept": intercept}


def classes_of(fitted: Any) -> np.ndarray:
    """The labels of a classifier, in a type that is kept without pickle."""
    classes = np.asarray(fitted.classes_)
    if classes.dtype.kind == "O":
        classes = np.asarray(classes.tolist())
        if classes.tolist() != list(fitted.classes_):
            raise UnsupportedError("labels of several types")
    return classes


def probable(
    classes: np.ndarray, computed: Node, link: str, *, factor: float = 1.0, zero: int = 0
) -> Node:
    """The operator of a classifier with probabilities.

    Args:
        computed: one number for two classes, or one for each.
        link: how probabilities come of several.
        factor: of the one number, before the logistic function.
        zero: the class at 0.
    """
    rule = {"threshold": None, "positive": 1, "classes": classes}
    if link == "logistic":
        return {"op": "binary", "computed": computed, "factor": factor, "zero": zero, **rule}
    return {"op": "several", "computed": computed, "link": link, **rule}


def apart(classes: np.ndarray, computed: Node, shares: Node, *, limit: float = 0.0) -> Node:
    """The operator of a classifier whose labels and probabilities are computed apart.

    Args:
        computed: one number for two classes, or one for each: the largest says the label.
        shares: the probability of each class.
        limit: what one number must exceed for the second class.
    """
    rule = {"threshold": None, "positive": 1, "classes": classes}
    return {"op": "apart", "computed": computed, "probable": shares, "limit": limit, **rule}


@estimator(
    *(
        f"sklearn.{name}"
        for name in (
            "ARDRegression",
            "BayesianRidge",
            "ElasticNet",
            "ElasticNetCV",
            "GammaRegressor",
            "HuberRegressor",
            "Lars",
            "LarsCV",
            "Lasso",
            "LassoCV",
            "LassoLars",
            "LassoLarsCV",
            "LassoLarsIC",
            "LinearRegression",
            "LinearSVR",
            "OrthogonalMatchingPursuit",
            "OrthogonalMatchingPursuitCV",
            "PassiveAggressiveRegressor",
            "PoissonRegressor",
            "QuantileRegressor",
            "Ridge",
            "RidgeCV",
            "SGDRegressor",
            "TheilSenRegressor",
            "TweedieRegressor",
        )
    )
)
def _regression(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    computed = _linear(fitted)
    if computed["weights"].shape[1] != 1:
        raise UnsupportedError("several targets")
    return checked(value, missing=False), {
        "op": "value",
        "computed": computed,
        "link": "exp" if _is_log(fitted) else "identity",
    }


@estimator("sklearn.CCA", "sklearn.PLSCanonical", "sklearn.PLSRegression")
def _latent(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    computed = _linear(fitted)
    if computed["weights"].shape[1] != 1:
        raise UnsupportedError("several targets")
    matrix = checked(value, missing=False).then("center", center=fitted._x_mean, scale=None)
    return matrix, {"op": "value", "computed": computed, "link": "identity"}


def _is_log(fitted: Any) -> bool:
    """Whether a generalised linear model computes the logarithm of its answer."""
    name = type(fitted).__name__
    if name != "TweedieRegressor":
        return name in ("GammaRegressor", "PoissonRegressor")
    return bool(fitted.link == "log" or (fitted.link == "auto" and fitted.power > 0))


@estimator("sklearn.LogisticRegression", "sklearn.LogisticRegressionCV")
def _logistic(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    classes = classes_of(fitted)
    computed = _linear(fitted)
    matrix = checked(value, missing=False)
    # an option of scikit-learn before 1.8
    asked = getattr(fitted, "multi_class", "auto")
    if len(classes) == 2:
        factor = 2.0 if asked == "multinomial" else 1.0
        return matrix, probable(classes, computed, "logistic", factor=factor)
    each = asked == "ovr" or fitted.solver == "liblinear"
    return matrix, probable(classes, computed, "each" if each else "softmax")


@estimator("sklearn.LinearDiscriminantAnalysis")
def _discriminant(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    classes = classes_of(fitted)
    link = "logistic" if len(classes) == 2 else "softmax"
    return checked(value, missing=False), probable(classes, _linear(fitted), link)


@estimator("sklearn.SGDClassifier")
def _descent(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    classes = classes_of(fitted)
    if fitted.loss == "modified_huber":
        computed = _linear(fitted)
        if len(classes) == 2:
            for name in ("weights", "intercept"):
                computed[name] = np.concatenate([-computed[name], computed[name]], axis=-1)
        return checked(value, missing=False), probable(classes, computed, "huber")
    if fitted.loss != "log_loss":
        return _labels(fitted, value)
    link = "logistic" if len(classes) == 2 else "each"
    return checked(value, missing=False), probable(classes, _linear(fitted), link)


@estimator(
    "sklearn.LinearSVC",
    "sklearn.PassiveAggressiveClassifier",
    "sklearn.Perceptron",
    "sklearn.RidgeClassifier",
    "sklearn.RidgeClassifierCV",
)
def _labels(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    classes = classes_of(fitted)
    computed = _linear(fitted)
    if computed["weights"].shape[1] != (1 if len(classes) == 2 else len(classes)):
        raise UnsupportedError("several targets")
    node = {"op": "labels", "computed": computed, "classes": classes}
    return checked(value, missing=False), node


@estimator("sklearn.DummyClassifier")
def _dummy(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    if fitted.strategy in ("stratified", "uniform") or fitted.n_outputs_ != 1:
        raise UnsupportedError("DummyClassifier that answers by chance")
    shares = np.asarray(fitted.predict_proba(np.zeros((1, 1)))[0], float)
    computed = {"op": "constant", "values": shares}
    return _any(value), probable(classes_of(fitted), computed, "given")


@estimator("sklearn.DummyRegressor")
def _dummy_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    if fitted.n_outputs_ != 1:
        raise UnsupportedError("several targets")
    computed = {"op": "constant", "values": np.asarray(fitted.constant_, float).ravel()}
    return _any(value), {"op": "value", "computed": computed, "link": "identity"}


def _any(value: Columns | Matrix) -> Matrix:
    """A baseline looks at no value: rows of nothing do."""
    if isinstance(value, Matrix):
        return value
    node = {"op": "categories", "width": 0, "constant": np.empty(0), "tables": []}
    return Matrix(node, 0)
