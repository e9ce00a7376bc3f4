"""What a converter gets and gives: columns that nobody has read yet, or a described matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
        single: whether scikit-learn has the numbers in 32 bits, to which it rounds after every
            operation; here they are those numbers in 64.
    """

    node: Node
    width: int
    labels: Mapping[int, Sequence[Any]] = field(default_factory=dict)
    single: bool = False

    def then(self, op: str, width: int | None = None, **arguments: Any) -> Matrix:
        """The matrix after one more step.

        Args:
            width: its columns; default: as before.
        """
        if self.labels:
            raise UnsupportedError(f"the step {op} on categories")
        if not self.single:
            return self.stepped({"op": op, **arguments}, width)
        if op not in _IN_32_BITS:
            raise UnsupportedError(f"the step {op} on columns that are all 32-bit numbers")
        made = self
        for step, rounds in _IN_32_BITS[op](op, arguments):
            made = made.stepped(step, width)
            made = made.stepped({"op": "round"}) if rounds else made
        return replace(made, single=True)

    def wide(self) -> Matrix:
        """The matrix where scikit-learn makes 64-bit numbers of it."""
        return replace(self, single=False)

    def stepped(self, step: Node, width: int | None = None) -> Matrix:
        """The matrix after a step that knows what its columns stand for."""
        node = self.node
        if node["op"] == "chain":
            node = {**node, "steps": [*node["steps"], step]}
        else:
            node = {"op": "chain", "source": node, "steps": [step]}
        return Matrix(node, self.width if width is None else width)


_Steps = list[tuple[Node, bool]]
"""Steps, and whether their results are rounded to 32 bits."""


def _exact(op: str, arguments: Node) -> _Steps:
    return [({"op": op, **arguments}, False)]


def _rounded(op: str, arguments: Node) -> _Steps:
    return [({"op": op, **arguments}, True)]


def _one_by_one(op: str, arguments: Node) -> _Steps:
    """Both operations of a step, for scikit-learn rounds after each."""
    first, second = arguments
    neutral = {"center": None, "scale": None} if op == "center" else {"scale": 1.0, "shift": 0.0}
    return [
        ({"op": op, **neutral, first: arguments[first]}, True),
        ({"op": op, **neutral, second: arguments[second]}, True),
    ]


_IN_32_BITS: Mapping[str, Callable[[str, Node], _Steps]] = {
    **dict.fromkeys(("binarize", "bins", "finite", "missing", "one_hot", "parallel"), _exact),
    **dict.fromkeys(("single", "take"), _exact),
    **dict.fromkeys(("clip", "fill", "fill_of"), _rounded),
    **dict.fromkeys(("center", "stretch"), _one_by_one),
}
"""How steps are done on 32-bit numbers; other steps aren't the same to the last bit."""


def numbers(value: Columns | Matrix, *, wide: bool = False) -> Matrix:
    """Columns read as numbers; a matrix as it is.

    Args:
        wide: whether the pipeline makes 64-bit floats of them itself.

    Raises:
        UnsupportedError: a column holds no numbers.
    """
    if isinstance(value, Matrix):
        return value
    kinds = [column.type for column in value.fields]
    for column in value.fields:
        if column.type not in NUMBERS and column.type != "boolean":
            raise UnsupportedError(f"the column {column.name} ({column.type}) read as a number")
    single = [place for place, kind in enumerate(kinds) if kind == "float"]
    node = {"op": "numbers", "names": list(value.names), "single": single}
    narrow = not wide and len(single) == len(kinds) > 0
    return Matrix(node, len(value.names), single=narrow)


def beside(parts: Sequence[Matrix]) -> Matrix:
    """Matrices side by side."""
    labels: dict[int, Sequence[Any]] = {}
    width = 0
    for part in parts:
        labels.update({width + place: said for place, said in part.labels.items()})
        width += part.width
    if len(parts) == 1:
        return parts[0]
    single = all(part.single for part in parts)
    return Matrix({"op": "beside", "parts": [part.node for part in parts]}, width, labels, single)


def joined(value: Columns | Matrix, parts: Sequence[Matrix]) -> Matrix:
    """What several steps made of one value, side by side; the value is made once."""
    if isinstance(value, Columns) or len(parts) == 1:
        return beside(parts)
    together = beside(parts)
    branches = [steps_between(value, part) for part in parts]
    made = value.stepped({"op": "parallel", "branches": branches}, together.width)
    return replace(made, labels=together.labels, single=together.single)


def steps_between(before: Matrix, after: Matrix) -> list[Node]:
    """The steps between two matrices."""
    if after is before:
        return []
    count = len(before.node["steps"]) if before.node["op"] == "chain" else 0
    steps: list[Node] = after.node["steps"]
    return steps[count:]
