"""A compiled pipeline: a description in JSON, arrays without pickles, and graphs of trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liminal_assets.serving.forms import answers, columns, combined, curves, steps
from liminal_assets.steps.scores import Scores

if TYPE_CHECKING:
    from liminal_assets.serving.release import Release

__all__ = ["Compiled", "load"]

_OPERATORS: Mapping[str, Callable[..., Any]] = {
    **columns.OPERATORS,
    **steps.OPERATORS,
    **curves.OPERATORS,
    **combined.OPERATORS,
    **answers.OPERATORS,
}


class Compiled:
    """Answers columns as the pipeline that it was made of.

    Args:
        described: what :mod:`liminal_assets.steps.compile` wrote into the release's settings.
        folder: where its files are.
    """

    def __init__(self, described: Mapping[str, Any], folder: Path) -> None:
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            read = _Reader(dict(arrays), folder)
        self._prepare: columns.Source = read(described["prepare"])
        self._answer: Callable[[np.ndarray], Scores] = read(described["answer"])

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        """The answers to ``rows`` rows of checked values."""
        return self._answer(self._prepare(columns, rows))


class _Reader:
    """Operators from their description."""

    def __init__(self, arrays: Mapping[str, np.ndarray], folder: Path) -> None:
        self._arrays, self._folder = arrays, folder

    def __call__(self, said: Any) -> Any:
        if isinstance(said, list):
            return [self(part) for part in said]
        if not isinstance(said, dict):
            return said
        if "array" in said:
            return self._arrays[said["array"]]
        if "file" in said and len(said) == 1:
            return self._folder / said["file"]
        values = {name: self(part) for name, part in said.items() if name != "op"}
        return _OPERATORS[said["op"]](**values) if "op" in said else values


def load(release: Release) -> Compiled:
    """The compiled pipeline of a release."""
    return Compiled(release.settings["compiled"], release.folder)
