"""Trees as an ONNX graph on 64-bit floats; ``onnx`` is imported where a release is made only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Tree", "graph_of"]


@dataclass(frozen=True)
class Tree:
    """One tree; every array has an entry per node, and node 0 is the root.

    Attributes:
        feature: the column that is compared.
        threshold: at most this much goes left.
        left: the node below on the left.
        right: the node below on the right.
        missing_left: whether NaN goes left.
        leaf: whether it is a leaf.
        value: what a leaf adds.
        target: to which sum.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    leaf: np.ndarray
    value: np.ndarray
    target: int


def graph_of(trees: Sequence[Tree], targets: int, width: int) -> bytes:
    """The graph: ``X`` of shape (rows, width) → ``Y`` of shape (rows, targets), the sums over the
    trees in their order.

    A tree of one leaf becomes a comparison with the same leaf on both sides, for the operator has
    none of less.
    """
    from onnx import TensorProto, helper, numpy_helper

    parts = _Parts()
    for tree in trees:
        parts.add(tree)
    node = helper.make_node(
        "TreeEnsemble",
        ["X"],
        ["Y"],
        domain="ai.onnx.ml",
        aggregate_function=1,
        post_transform=0,
        n_targets=targets,
        tree_roots=parts.roots,
        nodes_modes=numpy_helper.from_array(np.zeros(parts.inner, np.uint8), "modes"),
        nodes_splits=numpy_helper.from_array(parts.all("splits", float), "splits"),
        leaf_weights=numpy_helper.from_array(parts.all("weights", float), "weights"),
        **{
            name: parts.all(name, np.int64).tolist()
            for name in (
                "leaf_targetids",
                "nodes_falseleafs",
                "nodes_falsenodeids",
                "nodes_featureids",
                "nodes_missing_value_tracks_true",
                "nodes_trueleafs",
                "nodes_truenodeids",
            )
        },
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, width])],
        [helper.make_tensor_value_info("Y", TensorProto.DOUBLE, [None, targets])],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    content: bytes = model.SerializeToString()
    return content


class _Parts:
    """The operator's lists while trees are added."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.inner = self._leaves = 0
        self._lists: dict[str, list[np.ndarray]] = {}

    def all(self, name: str, kind: type) -> np.ndarray:
        """One list."""
        return np.concatenate(self._lists[name]).astype(kind)

    def add(self, tree: Tree) -> None:
        leaf = tree.leaf.astype(bool)
        self.roots.append(self.inner)
        inner = np.flatnonzero(~leaf)
        number = np.empty(len(leaf), np.int64)
        number[leaf] = self._leaves + np.arange(int(leaf.sum()))
        number[inner] = self.inner + np.arange(len(inner))
        self._append("weights", tree.value[leaf])
        self._append("leaf_targetids", np.full(int(leaf.sum()), tree.target))
        if len(inner):
            left, right = tree.left[inner], tree.right[inner]
            self._append("nodes_featureids", tree.feature[inner])
            self._append("splits", tree.threshold[inner])
            self._append("nodes_missing_value_tracks_true", tree.missing_left[inner])
        else:
            left = right = np.zeros(1, int)
            for name in ("nodes_featureids", "splits", "nodes_missing_value_tracks_true"):
                self._append(name, np.zeros(1))
        for side, below in (("true", left), ("false", right)):
            self._append(f"nodes_{side}nodeids", number[below])
            self._append(f"nodes_{side}leafs", leaf[below])
        self.inner += max(len(inner), 1)
        self._leaves += int(leaf.sum())

    def _append(self, name: str, values: np.ndarray) -> None:
        self._lists.setdefault(name, []).append(values)
