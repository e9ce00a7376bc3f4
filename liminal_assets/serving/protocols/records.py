"""Rows in JSON: records, columns or split, as they are written; nothing is checked here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from liminal_assets.serving.errors import RequestError
from liminal_assets.steps.signature import Signature

__all__ = [
    "MISSING",
    "Rows",
    "check_count",
    "decode",
    "from_columns",
    "from_records",
    "from_split",
    "loads",
    "rows_of",
]


class _Missing:
    """Stands for a value that a row doesn't have."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


@dataclass(frozen=True)
class Rows:
    """The rows of a request as it wrote them, column by column; nothing is checked yet."""

    columns: Mapping[str, Sequence[Any]]
    count: int
    native: bool = False
    """Whether values are Python's (moments, bytes) and NumPy's arrays rather than JSON's."""
    flaw: str | None = None
    """Why the body is no JSON, where only a number is the reason: the values tell which."""


_FORMS = (
    'send {"records": [{...}, ...]}, {"columns": {name: [...], ...}} or '
    '{"columns": [name, ...], "data": [[...], ...]}'
)


def decode(body: bytes, signature: Signature, max_rows: int) -> Rows:
    """The rows of a JSON body.

    Raises:
        RequestError: 400 for what is no JSON or no rows, 413 for too many rows.
    """
    try:
        return rows_of(msgspec.json.decode(body), signature, max_rows)
    except RecursionError:
        raise RequestError(400, "invalid_json", "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not body.strip():
            raise RequestError(400, "invalid_json", f"the body is empty: {_FORMS}") from None
        flaw = f"the body is no JSON: {str(error).removeprefix('JSON is malformed: ')}"
    # other writers put NaN, Infinity and 1e999 into JSON: the answer then names the field
    said = _with_infinities(body)
    if said is None:
        raise RequestError(400, "invalid_json", flaw)
    return replace(rows_of(said, signature, max_rows), flaw=flaw)


def loads(body: bytes) -> Any:
    """A JSON value as other servers read it: NaN counts as null.

    Raises:
        RequestError: 400 for what is no JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    constants = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}
    try:
        return json.loads(body, parse_constant=constants.__getitem__)
    except RecursionError:
        raise RequestError(400, "invalid_json", "the body is nested too deeply") from None
    except ValueError as error:
        raise RequestError(400, "invalid_json", f"the body is no JSON: {error}") from None


def _with_infinities(body: bytes) -> Any:
    """A body that numbers which aren't finite keep from being JSON; None for any other."""
    found = []

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            found.append(value)
        return value

    try:
        said = json.loads(body, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError):
        return None
    return said if found else None


def rows_of(said: Any, signature: Signature, max_rows: int) -> Rows:
    """The rows that a decoded body holds."""
    if isinstance(said, list):
        return from_records(said, signature, max_rows)
    if not isinstance(said, dict):
        raise RequestError(400, "invalid_rows", f"the body holds no rows: {_FORMS}")
    if isinstance(said.get("records"), list):
        _only(said, "records")
        return from_records(said["records"], signature, max_rows)
    if isinstance(said.get("split"), dict):
        _only(said, "split")
        said = said["split"]
        if not isinstance(said.get("columns"), list):
            raise RequestError(400, "invalid_rows", f"'split' needs 'columns' and 'data': {_FORMS}")
    if isinstance(said.get("columns"), dict):
        _only(said, "columns")
        return from_columns(said["columns"], max_rows)
    if isinstance(said.get("columns"), list):
        _only(said, "columns", "data", "index")
        return from_split(said["columns"], said.get("data"), max_rows)
    _no_form(said, signature)
    return from_records([said], signature, max_rows)


def _no_form(said: Mapping[str, Any], signature: Signature) -> None:
    """Refuses what was meant for one of the forms, rather than as a row of unknown fields.

    Raises:
        RequestError: 400.
    """
    for key, what in _MEANT.items():
        if key in said and key not in signature.known:
            raise RequestError(400, "invalid_rows", f"{what}: {_FORMS}")


_MEANT = {
    "records": "'records' must be a list of objects",
    "columns": "'columns' must be an object of lists, or a list of names beside 'data'",
    "split": "'split' must be an object",
    **{
        key: f"{key!r} is of MLflow's protocol, which /invocations speaks; here"
        for key in ("instances", "inputs", "dataframe_records", "dataframe_split")
    },
}
"""What to say of a key that isn't what it should be."""


def _only(said: Mapping[str, Any], *keys: str) -> None:
    if other := [key for key in said if key not in keys]:
        raise RequestError(400, "invalid_rows", f"unknown key {other[0]!r}: {_FORMS}")


def check_count(rows: int, max_rows: int) -> None:
    """Refuses no rows, and too many.

    Raises:
        RequestError: 422 or 413.
    """
    if rows > max_rows:
        message = f"{rows} rows are more than the {max_rows} that one request may carry"
        raise RequestError(413, "too_many_rows", message)
    if not rows:
        raise RequestError(422, "no_rows", "there are no rows")


def from_records(records: list[Any], signature: Signature, max_rows: int) -> Rows:
    """A row per object."""
    check_count(len(records), max_rows)
    if not all(isinstance(record, dict) for record in records):
        raise RequestError(400, "invalid_rows", f"a record must be an object: {_FORMS}")
    names = signature.known
    if len(records) == 1:
        record = records[0]
        columns = {name: [record.get(name, MISSING)] for name in names}
        others = record.keys() - names.keys()
    else:
        columns = {name: [record.get(name, MISSING) for record in records] for name in names}
        others = {key for record in records for key in record.keys() - names.keys()}
    for other in sorted(others):
        columns[other] = [record.get(other, MISSING) for record in records]
    return Rows(columns, len(records))


def from_columns(columns: Mapping[str, Any], max_rows: int) -> Rows:
    """A list per column."""
    lengths = {len(values) if isinstance(values, list) else None for values in columns.values()}
    if None in lengths or len(lengths) > 1:
        message = "every column must be a list, and all of the same length"
        raise RequestError(400, "invalid_rows", message)
    count = lengths.pop() if lengths else 0
    check_count(count or 0, max_rows)
    return Rows(columns, count or 0)


def from_split(names: list[Any], data: Any, max_rows: int) -> Rows:
    """The names once, and a list per row."""
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise RequestError(400, "invalid_rows", "'columns' must be different names")
    if not isinstance(data, list):
        raise RequestError(400, "invalid_rows", f"'data' must be a list of rows: {_FORMS}")
    check_count(len(data), max_rows)
    if not all(isinstance(row, list) and len(row) == len(names) for row in data):
        message = f"every row of 'data' must be a list of {len(names)} values, one per column"
        raise RequestError(400, "invalid_rows", message)
    return Rows({name: [row[i] for row in data] for i, name in enumerate(names)}, len(data))
