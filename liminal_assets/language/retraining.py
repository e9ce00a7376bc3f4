"""When a model is trained again, and when a new version is taken back: the policy of a monitor."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from liminal_assets.language.base import Duration, Name, Names, NotBool, Spec, one_of_keys
from liminal_assets.language.rates import RateField

__all__ = ["Cadence", "Retrain", "Rollback", "Trigger"]

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}
_CADENCE = re.compile(r"^(?:day|week|month|quarter|year|\s*\d+(?:\.\d+)?\s*(?:ms|s|m|h|d|w)\s*)$")


@dataclass(frozen=True)
class Cadence:
    """A length of time, or of the calendar."""

    length: timedelta
    months: int
    text: str

    def after(self, moment: datetime) -> datetime:
        """The moment that comes so much later on the same clock.

        >>> Cadence(timedelta(), 1, "month").after(datetime(2024, 1, 31))
        datetime.datetime(2024, 2, 29, 0, 0)
        """
        if not self.months:
            return moment + self.length
        number = moment.year * 12 + moment.month - 1 + self.months
        year, month = number // 12, number % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        return moment.replace(year=year, month=month, day=day)

    def __str__(self) -> str:
        return self.text


def _parse_cadence(value: Any) -> Cadence:
    if isinstance(value, Cadence):
        return value
    if not isinstance(value, str) or not _CADENCE.match(value):
        raise ValueError(
            "it is a day, week, month, quarter or year, or a duration such as '30d' or '12h'"
        )
    text = value.strip()
    if text in _MONTHS:
        return Cadence(timedelta(), _MONTHS[text], text)
    if text in _DAYS:
        return Cadence(timedelta(days=_DAYS[text]), 0, text)
    return Cadence(_duration(text), 0, text)


def _duration(text: str) -> timedelta:
    from pydantic import TypeAdapter

    return TypeAdapter(Duration).validate_python(text)


_CadenceField = Annotated[
    Cadence,
    PlainValidator(_parse_cadence),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _CADENCE.pattern,
            "examples": ["30d", "week", "month"],
            "$comment": "duration or period of the calendar",
        }
    ),
]


class Trigger(Spec):
    """One reason to train again."""

    breach: Literal[True] | Annotated[Names, Field(min_length=1)] | None = None
    """A window broke a bound, other than of data quality: nothing is to be learned from broken
    rows. Written as ``breach`` alone; ``{breach: performance}`` or ``{breach: [drift, quality]}``
    counts the bounds of these checks only."""
    labels: Annotated[int, Field(ge=1), NotBool] | None = None
    """So many rows got their label since the model last learned."""
    every: _CadenceField | None = None
    """So much time has passed since the model last learned, in the time of the data: ``30d``, or
    ``day``, ``week``, ``month``, ``quarter``, ``year`` of the calendar."""
    fresh: Annotated[int, Field(ge=1), NotBool] | None = None
    """So many complete partitions of the model's feature came since it last learned."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, str):
            if data != "breach":
                raise ValueError(
                    f"{data!r} is no reason to train: 'breach', or one of "
                    "{labels: 5000}, {every: 30d}, {fresh: 2}"
                )
            return {"breach": True}
        return data

    @model_validator(mode="after")
    def _one_reason(self) -> Trigger:
        one_of_keys(self, "breach", "labels", "every", "fresh")
        return self

    def counts(self, check: str) -> bool:
        """Whether a broken bound of a check is a reason."""
        if self.breach is True:
            return check != "quality"
        return check in (self.breach or ())

    @property
    def kind(self) -> str:
        """Which of them it is."""
        return one_of_keys(self, "breach", "labels", "every", "fresh")


class Rollback(Spec):
    """When a promoted version goes back to the one before, for it does worse on live rows."""

    below: Literal["predecessor", "validation"] = "predecessor"
    """What it is held against: the live performance of the version before it, in as many of its
    newest windows; or its own on the rows held out when it was trained."""
    by: Annotated[float, Field(ge=0), NotBool] = 0.0
    """How much worse it may be, in units of the monitor's metric."""
    windows: Annotated[int, Field(ge=1), NotBool] = 2
    """In so many windows in a row."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


Triggers = Annotated[
    tuple[Trigger, ...],
    BeforeValidator(_as_list, json_schema_input_type=Trigger | list[Trigger]),
]


class Retrain(Spec):
    """When the model is trained again. The new version takes over if it passes ``validate``."""

    model: Name
    when: Annotated[Triggers, Field(json_schema_extra={"default": "breach"})] = (
        Trigger(breach=True),
    )
    """``breach``, ``{labels: 5000}``, ``{every: 30d}``, ``{fresh: 2}``, or a list of them, any of
    which is reason enough. An empty list never trains."""
    consecutive: Annotated[int, Field(ge=1), NotBool] = 1
    """Breaches count from so many windows in a row."""
    min_rows: Annotated[int, Field(ge=1), NotBool] | None = None
    """Wait for so many rows in the windows since the model last learned."""
    cooldown: Duration | None = None
    """The shortest time between two retrainings, in the time of the data: a reason in a window
    that ends earlier waits for a later one."""
    at_most: RateField | None = None
    """Such as ``2 per week``: no more retrainings in any time so long, in the time of the data."""
    rollback: Rollback | None = None
    """Go back to the version before where a promoted one does worse on live rows."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Retrain:
        kinds = [trigger.kind for trigger in self.when]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"'when' says {twice[0]!r} twice")
        if self.consecutive > 1 and "breach" not in kinds:
            raise ValueError("'consecutive' counts breaches, which 'when' doesn't name")
        if self.at_most and self.at_most.count < 1:
            raise ValueError(f"'at_most: {self.at_most}' allows none; take 'when' away instead")
        return self

    def trigger(self, kind: str) -> Trigger | None:
        """The trigger of a kind."""
        return next((trigger for trigger in self.when if trigger.kind == kind), None)
