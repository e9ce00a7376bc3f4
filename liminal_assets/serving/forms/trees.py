"""Ensembles of decision trees by ONNX Runtime, in 64-bit floats throughout.

The graph is one operator ``TreeEnsemble`` (``ai.onnx.ml``, opset 5) on doubles: it compares as
scikit-learn does and sums in the order of the trees, so the answer is the same to the last bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Leaves", "Sums"]

_OUTPUT = ["Y"]
_ROWS = 1024
"""Rows whose leaves are kept at a time."""


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # one row is answered by one core; workers share the others
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(
        file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


class Sums:
    """The sum of the leaves' numbers, of shape (rows, targets); divided where it is a mean.

    Args:
        file: the graph.
        divisor: what the sums are divided by.
    """

    def __init__(self, file: Path, divisor: float) -> None:
        self._run = _session(file).run
        self._divisor = divisor

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        sums: np.ndarray = self._run(_OUTPUT, {"X": np.ascontiguousarray(matrix)})[0]
        return sums if self._divisor == 1.0 else sums / self._divisor


class Leaves:
    """The mean of the leaves' vectors, of shape (rows, classes).

    Args:
        file: the graph, which gives the number of the leaf in each tree.
        vectors: of shape (leaves of all trees, classes).
    """

    def __init__(self, file: Path, vectors: np.ndarray) -> None:
        self._run = _session(file).run
        self._vectors = vectors

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if len(matrix) > _ROWS:
            parts = [self(matrix[start : start + _ROWS]) for start in range(0, len(matrix), _ROWS)]
            return np.concatenate(parts)
        leaves = self._run(_OUTPUT, {"X": np.ascontiguousarray(matrix)})[0].astype(np.intp)
        # (trees, rows, classes): NumPy adds one tree after the other, as scikit-learn does
        total: np.ndarray = self._vectors[leaves.T].sum(axis=0)
        return total if leaves.shape[1] == 1 else total / leaves.shape[1]
