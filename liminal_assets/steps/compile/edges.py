"""Rows that a model may be asked about and hasn't learned from: nulls, categories never seen,
numbers at the ends of what a float holds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from liminal_assets.steps.signature import Field, FieldType, Signature

__all__ = ["edge_rows"]

_MIXED = 40
"""Rows in which every value is an edge."""

_REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-12, 5e-324, -2.5e-308, 1e6, -1e6, 1e15, 3e38, 1e100, -1e300)
_EDGES: Mapping[FieldType, Sequence[Any]] = {
    "boolean": (True, False),
    "integer": (0, 1, -1, 2**31 - 1, -(2**31)),
    "long": (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)),
    "float": (*(value for value in _REALS if abs(value) < 1e30), 3e38),
    "double": (*_REALS, 1.7976931348623157e308),
    "string": (
        "",
        " ",
        "never seen before",
        "(missing)",
        "(rare)",
        "nan",
        "None",
        "3",
        "3.0",
        "é🧭",
    ),
    "datetime": (datetime(1970, 1, 1), datetime(2262, 1, 1)),
    "binary": (b"", b"\x00"),
    "any": ("", "never seen before", 0, 1.5, True),
}


def edge_rows(
    signature: Signature, known: Sequence[Mapping[str, Any]], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows that the signature allows: one edge in an ordinary row, for every column; then all
    columns at edges at once.

    Args:
        signature: the model's inputs.
        known: ordinary rows, at least one.
    """
    chance = random.Random(seed)  # noqa: S311  # no secret
    edges = {field.name: _edges(field, known) for field in signature.fields}
    rows = []
    for name, values in edges.items():
        # of many columns each gets some: every kind of edge is tried on several
        most = max(3, 200 // len(edges))
        few = values if len(values) <= most else chance.sample(values, most)
        rows += [{**chance.choice(known), name: value} for value in few]
    optional = [field.name for field in signature.fields if not field.required]
    if optional:
        rows.append({**known[0], **dict.fromkeys(optional)})
        rows += [{**chance.choice(known), name: None} for name in optional[:50]]
    for _ in range(_MIXED):
        rows.append({name: chance.choice(values) for name, values in edges.items()})
    return rows


def _edges(field: Field, known: Sequence[Mapping[str, Any]]) -> list[Any]:
    values = list(_EDGES[field.type])
    there = [row[field.name] for row in known if row[field.name] is not None]
    if field.type in ("float", "double", "integer", "long") and there:
        low, high = min(there), max(there)
        values += [low, high]
        if field.type in ("float", "double"):
            values += [low - (high - low), high + (high - low)]
    if not field.required:
        values.append(None)
    return values
