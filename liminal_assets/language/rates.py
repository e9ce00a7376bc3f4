"""Rates: so many per so much time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

__all__ = ["Rate", "RateField"]

_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 365.25 / 12, "year": 365.25}
_RATE = re.compile(
    r"^\s*(\d+(?:\.\d+)?)\s+(?:per|a|an|every)\s+(?:(\d+)\s+)?(hour|day|week|month|year)s?\s*$"
)


@dataclass(frozen=True)
class Rate:
    """So many per so much time."""

    count: float
    every: timedelta
    text: str

    def within(self, length: timedelta) -> float:
        """How many come within some time.

        >>> Rate(2, timedelta(days=10), "2 per 10 days").within(timedelta(days=5))
        1.0
        """
        return self.count * (length / self.every)

    def __str__(self) -> str:
        return self.text


def _parse_rate(value: Any) -> Rate:
    if isinstance(value, Rate):
        return value
    found = _RATE.match(value) if isinstance(value, str) else None
    if found is None or not float(found[1]) > 0 or found[2] == "0":
        raise ValueError(
            "a rate is a number above zero and a period of hours, days, weeks, months or years, "
            "such as '1 per month' or '2 per year'"
        )
    days = int(found[2] or 1) * _DAYS[found[3]]
    return Rate(float(found[1]), timedelta(days=days), " ".join(value.split()))


RateField = Annotated[
    Rate,
    PlainValidator(_parse_rate),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _RATE.pattern,
            "examples": ["1 per month", "2 per year"],
            "$comment": "rate",
        }
    ),
]
"""``1 per month``, ``2 per week``, ``3 per 10 days``."""
