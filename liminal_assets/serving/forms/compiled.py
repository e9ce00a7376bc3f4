"""A compiled pipeline: a description in JSON, arrays without pickles, and graphs of trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liminal_assets.serving.forms import answers, columns, combined, curves, steps
from liminal_assets.serving.forms.folded import fold
from liminal_assets.steps.scores import Scores

if TYPE_CHECKING:
    from liminal_assets.serving.releases.release import Release

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
        names: the columns of the signature that it was made for.

    Attributes:
        folded: the sum that one row is, where the pipeline is one.
    """

    def __init__(self, described: Mapping[str, Any], folder: Path, names: Sequence[str]) -> None:
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            read = _Reader(dict(arrays), folder)
            self.folded = fold(read.resolved(described), names)
        self._prepare: columns.Source = read(described["prepare"])
        self._answer: answers.Answer = read(described["answer"])
        self._names = tuple(names)
        self._row = self._prepare.row(self._names)

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores:
        """The answers to ``rows`` rows of checked values."""
        if rows == 1:
            # as single rows are answered, so that it is what a certificate is about
            said = self.single([columns[name][0] for name in self._names])
            return Scores.of_row(said, self._answer.dtype)
        return self._answer(self._prepare(columns, rows))

    def single(self, values: Sequence[Any]) -> dict[str, Any]:
        """The answer to one row by column, as Python's values.

        Args:
            values: in the order of the signature.
        """
        if self.folded is not None and (number := self.folded(values)) is not None:
            return self._answer.of_number(number)
        return self._answer.single(self._row(values))


class _Reader:
    """Operators from their description."""

    def __init__(self, arrays: Mapping[str, np.ndarray], folder: Path) -> None:
        self._arrays, self._folder = arrays, folder

    def resolved(self, said: Any) -> Any:
        """The description with its arrays."""
        if isinstance(said, list):
            return [self.resolved(part) for part in said]
        if not isinstance(said, Mapping):
            return said
        if "array" in said:
            return self._arrays[said["array"]]
        return {name: self.resolved(part) for name, part in said.items()}

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
    return Compiled(release.settings["compiled"], release.folder, release.signature.names)
