"""JSON rows decoded and checked at once, in C: the fast path of ``/predict``.

What it reads is what :func:`~liminal_assets.serving.protocols.records.decode` and
:func:`~liminal_assets.serving.validation.validated` would make of the same body. Whatever it can't
read goes to them, for they name every problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from liminal_assets.serving.validation import CHECKS, FLOAT32_MAX
from liminal_assets.steps.signature import Field, FieldType, Signature

__all__ = ["Checked", "Readers", "Table"]


class Table(NamedTuple):
    """Several rows that the signature allows, or one that came as columns."""

    columns: Mapping[str, Sequence[Any]]
    rows: int


Checked = list[Any] | Table
"""What a body holds: the values of one row in the order of the signature, or a table."""

_STRICT: Mapping[FieldType, Any] = {
    "boolean": bool,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float": Annotated[float, msgspec.Meta(gt=-FLOAT32_MAX, lt=FLOAT32_MAX)],
    "double": float,
    "string": str,
}
"""Types that msgspec checks as we do; values of others are checked one by one."""

_OPEN = frozenset(CHECKS) - frozenset(_STRICT)

_FORM = re.compile(rb'\s*(?:(?P<list>\[)|\{\s*"(?:(?P<records>records)|(?P<columns>columns))")')
"""How a body begins: a list, or one of the two keys. A guess is enough, for what it decides is only
which decoder tries."""

_NOTHING = "a row without values"
"""What is missing is null here, and the validation refuses rows that hold nothing."""

_KEPT = 8
"""Signatures whose decoders are kept: versions that answer at the same time are few."""


class TypedReader:
    """Reads bodies with the types of one signature.

    Raises:
        ValueError: a column has a name that msgspec can't read (with a quote, a backslash or a
            control character).
    """

    def __init__(self, signature: Signature) -> None:
        fields = tuple(signature.known.values())
        self.signature = signature
        self._names = tuple(signature.known)
        self._checks = [
            (place, _check(field)) for place, field in enumerate(fields) if field.type in _OPEN
        ]
        inputs = signature.fields
        # one that must be there keeps rows from being empty
        may_be_empty = not any(field.required or field.stored for field in inputs)
        self._inputs = len(inputs) if may_be_empty else 0
        row = _struct("Row", fields, _value, None)
        held = _struct("Held", fields, _values, UNSET)
        decoder = msgspec.json.Decoder
        self._row = decoder(row)
        self._list = decoder(list[row])  # type: ignore[valid-type]
        self._records = decoder(_wrapped("records", list[row]))  # type: ignore[valid-type]
        self._columns = decoder(_wrapped("columns", held))

    def read(self, body: bytes, max_rows: int) -> Checked | None:
        """The checked values; None if the body isn't as it should be."""
        found = _FORM.match(body)
        form = found.lastgroup if found else None
        try:
            if form is None:
                return self._single(self._row.decode(body))
            if form == "columns":
                return self._table(self._across(self._columns.decode(body).columns), max_rows)
            rows = (
                self._records.decode(body).records if form == "records" else self._list.decode(body)
            )
            if len(rows) == 1:
                return self._single(rows[0])
            return self._table(list(map(list, zip(*map(astuple, rows), strict=True))), max_rows)
        except (ValueError, RecursionError):
            # msgspec's errors are ValueErrors, as are those of the checks
            return None

    def _single(self, row: Any) -> list[Any]:
        values = list(astuple(row))
        if self._inputs and values[: self._inputs].count(None) == self._inputs:
            raise ValueError(_NOTHING)
        for place, check in self._checks:
            values[place] = check(values[place])
        return values

    def _table(self, columns: list[list[Any]], max_rows: int) -> Table | None:
        count = len(columns[0]) if columns else 0
        if not 0 < count <= max_rows:
            return None
        if self._inputs and _any_bare(columns[: self._inputs]):
            raise ValueError(_NOTHING)
        for place, check in self._checks:
            columns[place] = [check(value) for value in columns[place]]
        return Table(dict(zip(self._names, columns, strict=True)), count)

    def _across(self, held: Any) -> list[list[Any]]:
        columns = astuple(held)
        counts = {len(values) for values in columns if values is not UNSET}
        if len(counts) != 1:
            raise ValueError("columns of different lengths, or none")
        count = counts.pop()
        return [[None] * count if values is UNSET else values for values in columns]


class Readers:
    """The readers of the versions that answer now."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Signature, TypedReader | None]] = {}

    def read(self, body: bytes, signature: Signature, max_rows: int) -> Checked | None:
        """What the signature's own reader says."""
        known, reader = self._kept.get(id(signature), (None, None))
        # an id may be that of another signature that is gone by now
        if known is not signature:
            reader = self._made(signature)
        return reader.read(body, max_rows) if reader else None

    def _made(self, signature: Signature) -> TypedReader | None:
        try:
            reader = TypedReader(signature)
        except ValueError:
            reader = None
        kept = dict(list(self._kept.items())[1 - _KEPT :])
        self._kept = {**kept, id(signature): (signature, reader)}
        return reader


def _any_bare(columns: Sequence[Sequence[Any]]) -> bool:
    """Whether a row holds nothing but nulls."""
    bare: Iterable[int] = range(len(columns[0]))
    for column in columns:
        bare = [row for row in bare if column[row] is None]
        if not bare:
            return False
    return True


def _value(field: Field) -> Any:
    kind = _STRICT.get(field.type, Any)
    return kind if field.required else kind | None


def _values(field: Field) -> Any:
    return list[_value(field)]  # type: ignore[misc]


def _check(field: Field) -> Callable[[Any], Any]:
    check = CHECKS[field.type]
    return check if field.required else lambda value: None if value is None else check(value)


def _wrapped(key: str, kind: Any) -> Any:
    return msgspec.defstruct("Body", [(key, kind)], forbid_unknown_fields=True)


def _struct(name: str, fields: Sequence[Field], kind: Callable[[Field], Any], default: Any) -> Any:
    """A struct of the fields; one that may be missing is the default then."""
    own = {f"f{position}": field for position, field in enumerate(fields)}
    return msgspec.defstruct(
        name,
        [
            # what is left out may have to be looked up
            (name, kind(field))
            if field.required or field.stored
            else (name, kind(field) | type(default), default)
            for name, field in own.items()
        ],
        # names of columns needn't be Python's
        rename={name: field.name for name, field in own.items()},
        forbid_unknown_fields=True,
        kw_only=True,
    )
