"""The rows of a request and what the online store has of their entities, put together.

Stored values are put where the request's would be and checked as those are, so that a row is the
same whether it was sent whole or looked up. What a request says itself wins, nulls included.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from liminal_assets.serving.errors import Problem, RequestError
from liminal_assets.serving.protocols.records import MISSING, Rows
from liminal_assets.serving.validation import CHECKS, NATIVE_CHECKS
from liminal_assets.steps.signature import NUMBERS, Field, Signature
from liminal_assets.storage.online_stores.base import Place, key_text

__all__ = [
    "Completed",
    "FeatureSource",
    "absent_columns",
    "decode_row",
    "entity_keys",
    "filled",
    "never_looked_up",
    "old_row",
    "unknown_entity",
]

_LISTED = 8
"""Columns named in a hint."""


@dataclass(frozen=True)
class FeatureSource:
    """Where a version's inputs are in an online store.

    Attributes:
        project: whose feature it is.
        feature: its name.
        specification: by which the rows were made that the version learned from; None: the version
            doesn't say.
        entity: the columns that name a row.
        timestamp: the column that says which moment a row describes.
    """

    project: str
    feature: str
    specification: str | None
    entity: tuple[str, ...]
    timestamp: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any] | None) -> FeatureSource | None:
        """What a release says."""
        return cls(**{**said, "entity": tuple(said["entity"])}) if said else None

    @property
    def place(self) -> Place:
        """Where the rows are."""
        return Place(self.project, self.feature, self.specification or "")


@dataclass(frozen=True)
class Completed:
    """The rows of a request with what it left out.

    Attributes:
        rows: the rows.
        sent: the columns that the request itself held; None if nothing was looked up.
        filled: the rows in which a column came from the store, by column.
        lacking: rows that leave something out and don't say their entity.
        about: rows that leave something out and say it.
    """

    rows: Rows
    sent: tuple[str, ...] | None = None
    filled: Mapping[str, frozenset[int]] = field(default_factory=dict)
    lacking: frozenset[int] = frozenset()
    about: frozenset[int] = frozenset()

    def explain(self, error: RequestError, source: FeatureSource) -> RequestError:
        """What is wrong with the rows, with where the values came from."""
        problems = [self._explained(problem, source) for problem in error.problems]
        return RequestError(error.status, error.code, error.message, problems)

    def _explained(self, problem: Problem, source: FeatureSource) -> Problem:
        if problem.hint is None and problem.row in self.filled.get(problem.field, ()):
            return replace(problem, hint=f"the online store has it so in {source.feature}")
        if problem.row in self.lacking and problem.message.startswith("is missing"):
            named = " and ".join(source.entity)
            return replace(problem, hint=f"with {named} it comes from the online store")
        return problem


def absent_columns(signature: Signature, rows: Rows) -> dict[str, Sequence[int]]:
    """The rows that leave a column out, by column."""
    gaps = {name: _gaps(rows, name) for name, said in signature.known.items() if said.stored}
    return {name: absent for name, absent in gaps.items() if absent}


def _gaps(rows: Rows, name: str) -> Sequence[int]:
    values = rows.columns.get(name)
    if values is None:
        return range(rows.count)
    if not isinstance(values, list):
        return ()
    return [row for row, value in enumerate(values) if value is MISSING]


def entity_keys(
    source: FeatureSource, signature: Signature, rows: Rows, wanted: Sequence[int]
) -> dict[int, str]:
    """The key of each row that says its entity.

    Raises:
        RequestError: 422 for values that can't be one.
    """
    columns = [rows.columns.get(name) for name in source.entity]
    if any(values is None for values in columns):
        return {}
    fields = [signature.known[name] for name in source.entity]
    checks = [(NATIVE_CHECKS if rows.native else CHECKS)[said.type] for said in fields]
    keys: dict[int, str] = {}
    problems: list[Problem] = []
    for row in wanted:
        values = [_plain(column[row]) for column in columns if column is not None]
        if any(value is None or value is MISSING for value in values):
            continue
        checked = []
        for said, check, value in zip(fields, checks, values, strict=True):
            try:
                checked.append(check(value))
            except ValueError as error:
                problems.append(Problem(row, said.name, str(error)))
        if len(checked) == len(fields):
            keys[row] = key_text(checked)
    if problems:
        first = f"{problems[0].field}: {problems[0].message}"
        raise RequestError(422, "invalid_values", first, problems)
    return keys


def filled(
    source: FeatureSource,
    signature: Signature,
    rows: Rows,
    absent: Mapping[str, Sequence[int]],
    known: Mapping[int, Mapping[str, Any]],
    lacking: frozenset[int],
) -> Completed:
    """The rows with what the store has of them.

    Args:
        absent: the rows that leave a column out, by column.
        known: the stored rows.
        lacking: rows that leave something out and don't say their entity.
    """
    columns = dict(rows.columns)
    there: dict[str, frozenset[int]] = {}
    for name, gaps in {**absent, **_moments(source, rows)}.items():
        said = signature.known[name]
        given = columns.get(name)
        values = [MISSING] * rows.count if given is None else list(given)
        found = [row for row in gaps if name in known.get(row, ())]
        for row in found:
            values[row] = _as_sent(said, known[row][name], rows.native)
        columns[name] = values
        there[name] = frozenset(found)
    sent = tuple(
        name
        for name, values in rows.columns.items()
        if not isinstance(values, list) or any(value is not MISSING for value in values)
    )
    return Completed(replace(rows, columns=columns), sent, there, lacking)


def _moments(source: FeatureSource, rows: Rows) -> dict[str, Sequence[int]]:
    """The rows that don't say which moment they describe: it is logged with what is known of it."""
    return {source.timestamp: _gaps(rows, source.timestamp)} if source.timestamp else {}


def _as_sent(said: Field, value: Any, native: bool) -> Any:
    """A stored value as a request would hold it."""
    if said.type in NUMBERS and isinstance(value, str):
        # JSON has neither decimals nor NaN, which counts as null
        number = float(value)
        return None if math.isnan(number) else number
    if said.type == "string" and value is not None and not isinstance(value, str):
        return json.dumps(value)
    if said.type == "binary" and native and isinstance(value, str):
        return base64.b64decode(value)
    return value


def decode_row(row: str) -> dict[str, Any]:
    """The columns of a stored row."""
    try:
        found: dict[str, Any] = msgspec.json.decode(row)
    except msgspec.DecodeError:
        # NaN in lists, which no model takes
        found = json.loads(row)
    return found


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's."""
    return value.item() if hasattr(value, "item") else value


def _entity(source: FeatureSource, rows: Rows, row: int) -> str:
    values = [_plain(rows.columns[name][row]) for name in source.entity]
    shown = ", ".join(map(str, values))
    return shown if len(shown) <= 80 else shown[:79] + "…"


def unknown_entity(source: FeatureSource, signature: Signature, rows: Rows, row: int) -> Problem:
    """What to say of a row whose entity isn't there."""
    message = f"the online store has no {source.feature} of {_entity(source, rows, row)!r}"
    return Problem(row, source.entity[0], message, _send_others(signature))


def never_looked_up(source: FeatureSource, signature: Signature, rows: Rows, row: int) -> Problem:
    """What to say of a row that leaves something out, to a version that can look nothing up."""
    what = f"the {source.feature} of {_entity(source, rows, row)!r}"
    why = "this version doesn't say by which specification the rows were made that it learned from"
    message = f"{what} can't be looked up: {why}"
    return Problem(row, source.entity[0], message, _send_others(signature))


def _send_others(signature: Signature) -> str:
    names = [said.name for said in signature.fields if said.stored]
    named = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return f"send the row's other fields: {named}"


def old_row(source: FeatureSource, rows: Rows, row: int, age: float) -> Problem:
    """What to say of a row whose values are so many seconds old."""
    what = f"the {source.feature} of {_entity(source, rows, row)!r} in the online store"
    return Problem(row, source.entity[0], f"{what} are {_shown(age)} old, which is too old")


def _shown(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
