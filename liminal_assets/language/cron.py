"""Cron expressions, checked without a scheduler."""

from __future__ import annotations

import calendar
import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Cron", "check_cron"]

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name.lower(): (number + 1) % 7 for number, name in enumerate(calendar.day_abbr)}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_SHORT = {"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"}
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_COUNTED = re.compile(r"(\w+)#[1-5]|L(\d)", re.ASCII)
"""The second Friday of a month (``5#2``), the last one (``L5``)."""
_LENGTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def check_cron(text: str) -> str:
    """A schedule as it was written.

    Raises:
        ValueError: it is none, or no moment ever matches it.
    """
    if text.strip() in _SHORT:
        return text
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, *_ in _FIELDS)
        raise ValueError(f"a cron expression has five fields ({names}), not {len(fields)}")
    values = [
        set().union(*(_part(part, *field) for part in written.split(",")))
        for written, field in zip(fields, _FIELDS, strict=True)
    ]
    _, _, days, months, _ = values
    if fields[4] == "*" and all(min(days) > _LENGTHS.get(month, 31) for month in months):
        raise ValueError(f"no month of {fields[3]!r} has a day {fields[2]!r}")
    return text


def _part(part: str, name: str, low: int, high: int, words: dict[str, int]) -> set[int]:
    if name == "day of the month" and part == "L":
        return {min(_LENGTHS.values()) - 1}
    if name == "day of the week" and (counted := _COUNTED.fullmatch(part)):
        part = counted[1] or counted[2]
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is no {name} of a cron expression")

    def number(text: str) -> int:
        value = words.get(text.lower()[:3], -1) if text.isalpha() and len(text) == 3 else None
        value = int(text) if text.isdecimal() and len(text) < 4 else value
        if value is None or not low <= value <= high:
            raise ValueError(f"{text!r} is no {name}: it goes from {low} to {high}")
        return value

    first = number(match["first"]) if match["first"] else low
    last = number(match["last"]) if match["last"] else first
    if match["first"] is None or (match["step"] and not match["last"]):
        last = high
    if first > last:
        raise ValueError(f"the range {part!r} of a {name} ends before it starts")
    step = int(match["step"] or 1)
    if not 1 <= step <= high:
        raise ValueError(f"the step of {part!r} must be from 1 to {high}")
    return set(range(first, last + 1, step))


Cron = Annotated[str, AfterValidator(check_cron)]
"""A cron expression of five fields, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``. ``L`` is
the last day of a month, ``5#2`` its second Friday, ``L5`` its last one."""
