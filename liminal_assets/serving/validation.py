"""Rows of a request against the signature: typed values, or one problem per wrong field."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.serving.errors import Problem, RequestError
from liminal_assets.serving.protocols.records import MISSING, Rows
from liminal_assets.steps.signature import NUMBERS, Field, FieldType, Signature

__all__ = ["CHECKS", "FLOAT32_MAX", "NATIVE_CHECKS", "validated"]

FLOAT32_MAX = 3.4028235677973366e38
"""The largest number that rounds to a finite float32."""

_LISTED = 8
"""Fields named in a hint."""


def validated(
    rows: Rows, signature: Signature, about: Collection[int] = ()
) -> dict[str, list[Any]]:
    """The columns of the signature with checked values; null is None.

    An optional column that is missing counts as null, in a row that has another one.

    Args:
        about: the rows that say by their entity what they are about, and may hold nothing else.

    Raises:
        RequestError: 422 with a problem for every value that is unknown, missing or wrong; 400
            if the body was no JSON for a value that nobody reads.
    """
    problems: list[Problem] = []
    columns: dict[str, list[Any]] = {}
    for name, field in signature.known.items():
        values = rows.columns.get(name)
        if values is None:
            values = [MISSING] * rows.count
        if isinstance(values, np.ndarray):
            columns[name] = _of_array(field, values, problems)
        else:
            check = NATIVE_CHECKS[field.type] if rows.native else CHECKS[field.type]
            columns[name] = _checked(field, values, check, problems)
    if len(rows.columns) > len(columns) or rows.columns.keys() - columns.keys():
        problems.extend(_unknown(rows.columns, signature))
    if not problems:
        problems.extend(_nothing(rows, signature, about))
    if problems:
        problems.sort(key=lambda problem: problem.row)
        count = len(problems)
        said = "1 value is wrong" if count == 1 else f"{count} values are wrong"
        first = f"{problems[0].field}: {problems[0].message}"
        raise RequestError(422, "invalid_values", f"{said}; {first}", problems)
    if rows.flaw:
        raise RequestError(400, "invalid_json", rows.flaw)
    return columns


def _of_array(field: Field, values: Any, problems: list[Problem]) -> list[Any]:
    """The values of an array of numbers or truth values; NaN counts as null.

    Good ones are checked at once, others value by value.
    """
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    gaps = bool(missing.any())
    good = _fits(field, values[~missing] if gaps else values) and not (gaps and field.required)
    if good and field.type in ("float", "double"):
        values = values.astype("float64", copy=False)
    listed = values.tolist()
    if gaps:
        listed = [None if value != value else value for value in listed]
    return listed if good else _checked(field, listed, NATIVE_CHECKS[field.type], problems)


def _fits(field: Field, values: Any) -> bool:
    """Whether the signature allows every value."""
    kind = values.dtype.kind
    if kind == "b" or not values.size:
        return field.type == "boolean" and kind == "b"
    low, high = values.min(), values.max()
    if field.type == "double":
        return bool(np.isfinite(low) and np.isfinite(high))
    if field.type == "float":
        return bool(low > -FLOAT32_MAX and high < FLOAT32_MAX)
    if field.type in ("integer", "long") and kind in "iu":
        allowed = np.iinfo(NUMBERS[field.type])
        return int(low) >= allowed.min and int(high) <= allowed.max
    return False


def _checked(
    field: Field, values: Sequence[Any], check: Callable[[Any], Any], problems: list[Problem]
) -> list[Any]:
    checked: list[Any] = []
    for row, value in enumerate(values):
        if value is None or value is MISSING:
            if field.required:
                message = "is missing" if value is MISSING else "must not be null"
                problems.append(Problem(row, field.name, message))
            checked.append(None)
            continue
        try:
            checked.append(check(value))
        except ValueError as error:
            problems.append(Problem(row, field.name, str(error)))
    return checked


def _unknown(columns: Mapping[str, Sequence[Any]], signature: Signature) -> Iterator[Problem]:
    for name, values in columns.items():
        if name not in signature.known:
            row = next((i for i, value in enumerate(values) if value is not MISSING), 0)
            yield Problem(
                row, name, "the model has no such field", did_you_mean(name, signature.known)
            )


def _nothing(rows: Rows, signature: Signature, about: Collection[int]) -> Iterator[Problem]:
    """The rows that hold none of the model's fields: answering them as rows of nulls would hide a
    mistake."""
    bare: Sequence[int] = range(rows.count)
    for name in signature.names:
        values = rows.columns.get(name)
        if values is not None and not isinstance(values, list | tuple):
            return
        if values is not None:
            bare = [row for row in bare if values[row] is MISSING]
        if not bare:
            return
    listed = ", ".join(signature.names[:_LISTED])
    others = f" and {len(signature.names) - _LISTED} more" if len(signature.names) > _LISTED else ""
    for row in bare:
        if row not in about:
            message = "is missing, as is every other field of the model"
            hint = f"send some of {listed}{others}; null where a value isn't known"
            yield Problem(row, signature.names[0], message, hint)


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    if text is None:
        text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
        text = {"dict": "an object", "list": "a list"}.get(text, text)
    return text if len(text) <= 40 else text[:39] + "…"


def _number(value: Any) -> float:
    kind = type(value)
    if kind is float:
        if math.isfinite(value):
            return value  # type: ignore[no-any-return]
        raise ValueError(f"must be finite, not {value}")
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            raise ValueError("must be finite: the number is too large") from None
    raise ValueError(f"must be a number, not {_shown(value)}")


def _float32(value: Any) -> float:
    number = _number(value)
    if abs(number) >= FLOAT32_MAX:
        raise ValueError(f"must be finite as a 32-bit number, not {_shown(value)}")
    return number


def _whole(bits: int) -> Callable[[Any], int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def check(value: Any) -> int:
        kind = type(value)
        if kind is float and value.is_integer():
            # JSON knows no difference between 3 and 3.0
            value, kind = int(value), int
        if kind is not int:
            if kind is float and not math.isfinite(value):
                raise ValueError(f"must be finite, not {value}")
            raise ValueError(f"must be a whole number, not {_shown(value)}")
        if not low <= value <= high:
            raise ValueError(f"must be a whole number of {bits} bits, not {_shown(value)}")
        return value  # type: ignore[no-any-return]

    return check


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise ValueError(f"must be true or false, not {_shown(value)}")


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise ValueError(f"must be text, not {_shown(value)}")


def _moment(value: Any) -> datetime:
    if type(value) is str:
        try:
            return _in_utc(datetime.fromisoformat(value.replace("Z", "+00:00")))
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"must be a moment such as '2026-01-31T12:00:00', not {_shown(value)}")


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment


def _native_moment(value: Any) -> datetime:
    return _in_utc(value) if isinstance(value, datetime) else _moment(value)


def _native_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ValueError(f"must be bytes, not {_shown(value)}")


def _bytes(value: Any) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise ValueError(f"must be bytes in base64, not {_shown(value)}")


def _scalar(value: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"must be finite, not {value}")
    if isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"must be a single value, not {_shown(value)}")


CHECKS: Mapping[FieldType, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "integer": _whole(32),
    "long": _whole(64),
    "float": _float32,
    "double": _number,
    "string": _text,
    "datetime": _moment,
    "binary": _bytes,
    "any": _scalar,
}
"""What turns a value of JSON into one of a type, or raises a ValueError that says what is wrong."""

NATIVE_CHECKS: Mapping[FieldType, Callable[[Any], Any]] = {
    **CHECKS,
    "datetime": _native_moment,
    "binary": _native_bytes,
}
"""The same for values of formats that have moments and bytes of their own."""
