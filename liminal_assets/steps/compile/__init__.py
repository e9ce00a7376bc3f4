"""Compile: a fitted pipeline as a description of what it computes, without scikit-learn.

The description is what ``serving.forms.compiled`` reads. A pipeline of which any part isn't known
has none, and answers itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liminal_assets.steps.compile.converters import convert_estimator
from liminal_assets.steps.compile.graph import graph_of
from liminal_assets.steps.compile.values import Columns, Node, UnsupportedError
from liminal_assets.steps.signature import Signature

__all__ = ["Description", "UnsupportedError", "compile_pipeline"]


@dataclass(frozen=True)
class Description:
    """A compiled pipeline.

    Attributes:
        form: ``onnxruntime`` where trees are a graph of it, else ``numpy``.
        said: its operators, as JSON values.
        arrays: its numbers, by the name that ``said`` uses.
        graphs: its graphs, by the name of their file.
    """

    form: str
    said: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    graphs: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Writes arrays and graphs into a folder."""
        np.savez(folder / "arrays.npz", **self.arrays)  # type: ignore[arg-type]
        for name, content in self.graphs.items():
            (folder / name).write_bytes(content)


def compile_pipeline(pipeline: Any, signature: Signature) -> Description:
    """What a fitted pipeline computes.

    Args:
        pipeline: a fitted scikit-learn pipeline or estimator.
        signature: what it is given.

    Raises:
        UnsupportedError: a part of it isn't known.
    """
    try:
        prepared, answer = convert_estimator(pipeline, Columns(signature, signature.names))
        if prepared.labels:
            raise UnsupportedError("categories that reach the estimator as they are")
    except UnsupportedError:
        raise
    except Exception as error:
        # an attribute that another version of a library hasn't, a plugin's own mistake
        raise UnsupportedError(f"{type(error).__name__}: {error}") from error
    taken = _Taken()
    said = {"prepare": taken(prepared.node), "answer": taken(answer)}
    form = "onnxruntime" if taken.graphs else "numpy"
    return Description(form, said, taken.arrays, taken.graphs)


class _Taken:
    """Takes arrays and trees out of a description, so that JSON holds the rest."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.graphs: dict[str, bytes] = {}

    def __call__(self, said: Any) -> Any:
        if isinstance(said, np.ndarray):
            name = f"a{len(self.arrays)}"
            self.arrays[name] = said
            return {"array": name}
        if isinstance(said, np.generic):
            return said.item()
        if isinstance(said, list | tuple):
            return [self(part) for part in said]
        if isinstance(said, dict):
            return self._node(said)
        return said

    def _node(self, said: Node) -> Node:
        if "trees" in said:
            name = f"trees{len(self.graphs)}.onnx"
            self.graphs[name] = graph_of(**said)
            return {"file": name}
        return {name: self(part) for name, part in said.items()}
