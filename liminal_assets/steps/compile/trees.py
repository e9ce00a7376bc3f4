"""Converters of decision trees and their ensembles: scikit-learn's nodes as arrays of one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import convert_transformer, estimator
from liminal_assets.steps.compile.encoders import recoded
from liminal_assets.steps.compile.graph import Tree
from liminal_assets.steps.compile.linear import classes_of, probable
from liminal_assets.steps.compile.values import (
    Columns,
    Matrix,
    Node,
    UnsupportedError,
    joined,
    numbers,
)

__all__ = ["answers_of_trees", "forest_of_classes", "forest_of_values", "is_tree"]


def _of_sklearn(fitted: Any, leaves: np.ndarray, target: int = 0, *, nan_right: bool) -> Tree:
    """The nodes of a ``DecisionTree*``.

    Args:
        leaves: what is answered at each node.
        nan_right: whether NaN goes right everywhere, as where comparing is all that is done.
    """
    state = fitted.tree_.__getstate__()["nodes"]
    left, right = fitted.tree_.children_left, fitted.tree_.children_right
    missing = np.zeros(len(left), bool) if nan_right else state["missing_go_to_left"] > 0
    return Tree(
        feature=fitted.tree_.feature,
        threshold=fitted.tree_.threshold,
        left=left,
        right=right,
        missing_left=missing,
        leaf=left < 0,
        value=leaves,
        target=target,
    )


def _constant(value: float, target: int) -> Tree:
    """A tree of one leaf: what sums start from."""
    zero = np.zeros(1, int)
    return Tree(
        feature=zero,
        threshold=np.zeros(1),
        left=zero,
        right=zero,
        missing_left=np.zeros(1, bool),
        leaf=np.ones(1, bool),
        value=np.array([value]),
        target=target,
    )


def _sums(trees: list[Tree], targets: int, width: int, divisor: float = 1.0) -> Node:
    return {
        "op": "sums",
        "file": {"trees": trees, "targets": targets, "width": width},
        "divisor": divisor,
    }


def is_tree(fitted: Any) -> bool:
    """Whether an estimator is one of scikit-learn's own trees, and answers one target."""
    name = f"{type(fitted).__module__}.{type(fitted).__qualname__}"
    return name.startswith("sklearn.tree._classes.") and fitted.n_outputs_ == 1


def _single(value: Columns | Matrix, *, one: Any = None) -> Matrix:
    """The matrix as scikit-learn's own trees take it: 32-bit floats."""
    missing = one is not None and bool(one._support_missing_values(np.zeros((1, 1))))
    return numbers(value).then("single", missing=missing)


def _one_target(fitted: Any) -> None:
    if fitted.n_outputs_ != 1:
        raise UnsupportedError("several targets")


def forest_of_classes(
    trees: Sequence[Any], value: Columns | Matrix, features: Sequence[np.ndarray] | None = None
) -> tuple[Matrix, Node]:
    """The mean of the shares of each class at the leaves.

    Args:
        trees: that all know the same classes.
        features: the columns of each, if it doesn't take all.
    """
    matrix = _single(value, one=trees[0])
    made, vectors, start = [], [], 0
    for target, tree in enumerate(trees):
        shares = tree.tree_.value[:, 0, :]
        numbered = start + np.arange(len(shares), dtype=float)
        one = _of_sklearn(tree, numbered, target, nan_right=False)
        made.append(one if features is None else _renamed(one, features[target]))
        vectors.append(shares)
        start += len(shares)
    graph = {"trees": made, "targets": len(made), "width": matrix.width}
    return matrix, {"op": "leaves", "file": graph, "vectors": np.concatenate(vectors)}


def forest_of_values(
    trees: Sequence[Any], value: Columns | Matrix, features: Sequence[np.ndarray] | None = None
) -> tuple[Matrix, Node]:
    """The mean of the values at the leaves; arguments as of :func:`forest_of_classes`."""
    matrix = _single(value, one=trees[0])
    made = [_of_sklearn(tree, tree.tree_.value[:, 0, 0], nan_right=False) for tree in trees]
    if features is not None:
        made = [_renamed(tree, some) for tree, some in zip(made, features, strict=True)]
    return matrix, _sums(made, 1, matrix.width, float(len(made)))


def _renamed(tree: Tree, features: np.ndarray) -> Tree:
    """A tree that knew some columns, by their places among all."""
    return replace(tree, feature=features[np.where(tree.leaf, 0, tree.feature)])


def answers_of_trees(trees: Sequence[Any], value: Columns | Matrix) -> Matrix:
    """The value of each tree, or the place of its label, side by side."""
    matrix = _single(value, one=trees[0])
    made = []
    for target, tree in enumerate(trees):
        values = tree.tree_.value[:, 0, :]
        leaves = values.argmax(axis=1).astype(float) if hasattr(tree, "classes_") else values[:, 0]
        made.append(_of_sklearn(tree, leaves, target, nan_right=False))
    return matrix.stepped(_sums(made, len(made), matrix.width), len(made))


@estimator("sklearn.DecisionTreeClassifier", "sklearn.ExtraTreeClassifier")
def _tree_classes(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    _one_target(fitted)
    matrix, computed = forest_of_classes([fitted], value)
    return matrix, probable(classes_of(fitted), computed, "given")


@estimator("sklearn.DecisionTreeRegressor", "sklearn.ExtraTreeRegressor")
def _tree_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    _one_target(fitted)
    matrix, computed = forest_of_values([fitted], value)
    return matrix, {"op": "value", "computed": computed, "link": "identity"}


@estimator("sklearn.RandomForestClassifier", "sklearn.ExtraTreesClassifier")
def _forest_classes(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    _one_target(fitted)
    matrix, computed = forest_of_classes(fitted.estimators_, value)
    return matrix, probable(classes_of(fitted), computed, "given")


@estimator("sklearn.RandomForestRegressor", "sklearn.ExtraTreesRegressor")
def _forest_value(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    _one_target(fitted)
    matrix, computed = forest_of_values(fitted.estimators_, value)
    return matrix, {"op": "value", "computed": computed, "link": "identity"}


@estimator("sklearn.GradientBoostingClassifier", "sklearn.GradientBoostingRegressor")
def _boosting(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix = _single(value)
    if fitted.init_ != "zero" and not type(fitted.init_).__name__.startswith("Dummy"):
        raise UnsupportedError("GradientBoosting with an initial estimator of its own")
    start = fitted._raw_predict_init(np.zeros((1, matrix.width), np.float32))[0]
    targets = fitted.estimators_.shape[1]
    trees = [_constant(float(start[target]), target) for target in range(targets)]
    for stage in fitted.estimators_:
        for target, tree in enumerate(stage):
            leaves = fitted.learning_rate * tree.tree_.value[:, 0, 0]
            trees.append(_of_sklearn(tree, leaves, target, nan_right=True))
    computed = _sums(trees, targets, matrix.width)
    if not hasattr(fitted, "classes_"):
        return matrix, {"op": "value", "computed": computed, "link": "identity"}
    if targets > 1:
        return matrix, probable(classes_of(fitted), computed, "softmax")
    factor = 2.0 if fitted.loss == "exponential" else 1.0
    node = probable(classes_of(fitted), computed, "logistic", factor=factor, zero=1)
    return matrix, node


@dataclass
class _Sides:
    """The categorical splits of a booster: each distinct one is a column of 0 and 1.

    Attributes:
        width: the columns before them.
        known: the number of ranks of each categorical column.
    """

    width: int
    known: dict[int, int]

    def __post_init__(self) -> None:
        self.places: dict[tuple[int, bytes, bool], int] = {}

    def column(self, feature: int, left: np.ndarray, missing_left: bool) -> int:
        """The column of a split; numbered as they come."""
        key = (feature, left.tobytes(), missing_left)
        return self.places.setdefault(key, len(self.places))

    def step(self) -> tuple[Node, dict[int, int]]:
        """The operator, and the final place of each numbered column."""
        places, tables = [], []
        final: dict[int, int] = {}
        for feature, known in self.known.items():
            own = [(key, number) for key, number in self.places.items() if key[0] == feature]
            if not own:
                continue
            table = np.ones((known + 1, len(own)))
            for at, ((_, left, missing_left), number) in enumerate(own):
                bits = np.unpackbits(np.frombuffer(left, np.uint8), bitorder="little")
                table[:known, at][bits[:known] > 0] = 0.0
                table[known, at] = 0.0 if missing_left else 1.0
                final[number] = self.width + len(final)
            places.append(feature)
            tables.append(table)
        return {"op": "sides", "places": places, "sides": tables}, final


def _histogram_trees(fitted: Any, sides: _Sides) -> list[Tree]:
    start = np.asarray(fitted._baseline_prediction, float).ravel()
    trees = [_constant(float(start[target]), target) for target in range(len(start))]
    for stage in fitted._predictors:
        for target, predictor in enumerate(stage):
            nodes = predictor.nodes
            feature = nodes["feature_idx"].astype(int)
            threshold = nodes["num_threshold"].astype(float)
            missing_left = nodes["missing_go_to_left"] > 0
            for at in np.flatnonzero((nodes["is_categorical"] > 0) & (nodes["is_leaf"] == 0)):
                left = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][at]]
                # a place after all numbers, known once every split is
                feature[at] = -1 - sides.column(int(feature[at]), left, bool(missing_left[at]))
                threshold[at] = 0.5
            trees.append(
                Tree(
                    feature=feature,
                    threshold=threshold,
                    left=nodes["left"].astype(int),
                    right=nodes["right"].astype(int),
                    missing_left=missing_left,
                    leaf=nodes["is_leaf"] > 0,
                    value=nodes["value"].astype(float),
                    target=target,
                )
            )
    return trees


def _histogram_matrix(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, dict[int, int]]:
    """What the booster's trees compare, and the number of ranks of the categorical columns."""
    before = fitted._preprocessor
    if before is None:
        return numbers(value), {}
    encoder = before.named_transformers_["encoder"]
    known = {
        place: sum(c is not None and c == c for c in categories.tolist())
        for place, categories in enumerate(encoder.categories_)
    }
    if isinstance(value, Columns):
        return numbers(convert_transformer(before, value)), known
    order = [before._transformer_to_input_indices[name] for name in ("encoder", "numerical")]
    parts = [_taken(value, np.asarray(places, int)) for places in order]
    encoded = recoded(encoder, parts[0])
    return joined(value, [encoded, parts[1]] if parts[1].width else [encoded]), known


def _taken(value: Matrix, places: np.ndarray) -> Matrix:
    if any(place in value.labels for place in places.tolist()):
        labels = {new: value.labels[old] for new, old in enumerate(places.tolist())}
        made = value.stepped({"op": "take", "places": places}, len(places))
        return Matrix(made.node, made.width, labels)
    return value.stepped({"op": "take", "places": places}, len(places))


@estimator("sklearn.HistGradientBoostingClassifier", "sklearn.HistGradientBoostingRegressor")
def _histogram(fitted: Any, value: Columns | Matrix) -> tuple[Matrix, Node]:
    matrix, known = _histogram_matrix(fitted, value)
    sides = _Sides(matrix.width, known)
    trees = _histogram_trees(fitted, sides)
    if sides.places:
        step, final = sides.step()
        matrix = matrix.stepped(step, matrix.width + len(final))
        for tree in trees:
            split = tree.feature < 0
            tree.feature[split] = [final[-1 - number] for number in tree.feature[split].tolist()]
    targets = fitted.n_trees_per_iteration_
    computed = _sums(trees, targets, matrix.width)
    if not hasattr(fitted, "classes_"):
        link = "identity" if fitted.loss not in ("poisson", "gamma") else "exp"
        return matrix, {"op": "value", "computed": computed, "link": link}
    link = "logistic" if targets == 1 else "softmax"
    return matrix, probable(classes_of(fitted), computed, link)
