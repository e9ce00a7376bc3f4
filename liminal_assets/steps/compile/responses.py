"""What an estimator answers, as numbers for the estimator after it."""

from __future__ import annotations

from typing import Any

from liminal_assets.steps.compile.converters import convert_estimator
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError

__all__ = ["decided", "decides", "predicted", "relabelled", "shares"]


def shares(fitted: Any, value: Columns | Matrix) -> Matrix:
    """The probabilities of a classifier, a column for each of its classes."""
    if not hasattr(fitted, "predict_proba"):
        raise UnsupportedError(f"probabilities of {type(fitted).__name__}, which has none")
    return _response(fitted, value, "shares", len(fitted.classes_))


def decides(fitted: Any) -> bool:
    """Whether a classifier has a decision function, which scikit-learn prefers."""
    return hasattr(fitted, "decision_function")


def decided(fitted: Any, value: Columns | Matrix) -> Matrix:
    """The decision function of a classifier: one column for two classes, else one for each."""
    count = len(fitted.classes_)
    return _response(fitted, value, "decided", 1 if count == 2 else count)


def predicted(fitted: Any, value: Columns | Matrix) -> Matrix:
    """The values of a regression, or the labels of a classifier that are places of classes."""
    classes = getattr(fitted, "classes_", None)
    if classes is not None and list(classes) != list(range(len(classes))):
        raise UnsupportedError(f"labels of {type(fitted).__name__} that aren't places of classes")
    return _response(fitted, value, "predicted", 1)


def _response(fitted: Any, value: Columns | Matrix, method: str, width: int) -> Matrix:
    matrix, answer = convert_estimator(fitted, value)
    if method == "decided" and answer.get("link") == "given":
        raise UnsupportedError(f"the decision function of {type(fitted).__name__}")
    return matrix.stepped({"op": "response", "answer": answer, "method": method}, width)


def relabelled(answer: Node, classes: Any) -> Node:
    """The answer of a classifier of places of classes, with the labels for them.

    Raises:
        UnsupportedError: there are more of the one than of the other.
    """
    if len(answer["classes"]) != len(classes):
        raise UnsupportedError("a final estimator that didn't learn of every class")
    return {**answer, "classes": classes}
