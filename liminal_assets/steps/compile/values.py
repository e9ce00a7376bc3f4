"""What a converter gets and gives: columns that nobody has read yet, or a described matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from liminal_assets.steps.signature import NUMBERS, Field, Signature

__all__ = [
    "Columns",
    "Matrix",
    "Node",
    "UnsupportedError",
    "beside",
    "joined",
    "numbers",
    "steps_between",
]

Node = dict[str, Any]
"""An operator of ``serving.forms`` and what it is made of: ``op``, and its arguments."""


class UnsupportedError(Exception):
    """Something in a pipeline has no compiled form, and what."""


@dataclass(frozen=True)
class Columns:
    """Input columns of the model as the request has them.

    Attributes:
        signature: all that the model takes.
        names: which of them, in order.
    """

    signature: Signature
    names: tuple[str, ...]

    @property
    def fields(self) -> list[Field]:
        """Their types."""
        return [self.signature.known[name] for name in self.names]


@dataclass(frozen=True)
class Matrix:
    """A matrix of float64.

    Attributes:
        node: what makes it.
        width: its columns.
        labels: for columns that stand for categories, what each number stands for.
    """

    node: Node
    width: int
    labels: Mapping[int, Sequence[Any]] = field(default_factory=dict)

    def then(self, op: str, width: int | None = None, **arguments: Any) -> Matrix:
        """The matrix after one more step.

        Args:
            width: its columns; default: as before.
        """
        if self.labels:
            raise UnsupportedError(f"the step {op} on categories")
        return self.stepped({"op": op, **arguments}, width)

    def stepped(self, step: Node, width: int | None = None) -> Matrix:
        """The matrix after a step that knows what its columns stand for."""
        node = self.node
        if node["op"] == "chain":
            node = {**node, "steps": [*node["steps"], step]}
        else:
            node = {"op": "chain", "source": node, "steps": [step]}
        return Matrix(node, self.width if width is None else width)


def numbers(value: Columns | Matrix, *, wide: bool = False) -> Matrix:
    """Columns read as numbers; a matrix as it is.

    Args:
        wide: whether the pipeline makes 64-bit floats of them itself.

    Raises:
        UnsupportedError: a column holds no numbers, or scikit-learn computes in 32 bits.
    """
    if isinstance(value, Matrix):
        return value
    kinds = [column.type for column in value.fields]
    for column in value.fields:
        if column.type not in NUMBERS and column.type != "boolean":
            raise UnsupportedError(f"the column {column.name} ({column.type}) read as a number")
    single = [place for place, kind in enumerate(kinds) if kind == "float"]
    if not wide and kinds and len(single) == len(kinds):
        raise UnsupportedError("columns that are all 32-bit numbers")
    node = {"op": "numbers", "names": list(value.names), "single": single}
    return Matrix(node, len(value.names))


def beside(parts: Sequence[Matrix]) -> Matrix:
    """Matrices side by side."""
    labels: dict[int, Sequence[Any]] = {}
    width = 0
    for part in parts:
        labels.update({width + place: said for place, said in part.labels.items()})
        width += part.width
    if len(parts) == 1:
        return parts[0]
    return Matrix({"op": "beside", "parts": [part.node for part in parts]}, width, labels)


def joined(value: Columns | Matrix, parts: Sequence[Matrix]) -> Matrix:
    """What several steps made of one value, side by side; the value is made once."""
    if isinstance(value, Columns) or len(parts) == 1:
        return beside(parts)
    together = beside(parts)
    branches = [steps_between(value, part) for part in parts]
    made = value.stepped({"op": "parallel", "branches": branches}, together.width)
    return Matrix(made.node, made.width, together.labels)


def steps_between(before: Matrix, after: Matrix) -> list[Node]:
    """The steps between two matrices."""
    if after is before:
        return []
    count = len(before.node["steps"]) if before.node["op"] == "chain" else 0
    steps: list[Node] = after.node["steps"]
    return steps[count:]
