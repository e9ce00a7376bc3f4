"""What all specs share: frozen, positioned, no unknown keys; and the scalar types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticKnownError

from liminal_assets.language.diagnostics import Location

__all__ = [
    "Block",
    "Bound",
    "Duration",
    "Finite",
    "FunctionPath",
    "Name",
    "Names",
    "NotBool",
    "Number",
    "Owner",
    "Retries",
    "Scalar",
    "Spec",
    "Tags",
    "TimeZone",
    "Whole",
    "as_name",
    "changed",
    "is_owner",
    "one_of_keys",
    "switched",
    "write_duration",
]

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*$", max_length=120),
    Field(description="A name: letters, digits and single underscores, a letter first."),
]
"""A block's name. Two underscores are reserved for derived assets (``x__quarantine``)."""


def as_name(text: str, default: str) -> str:
    """A text as a :data:`Name`: its words joined by single underscores.

    >>> as_name("my-first project", "project")
    'my_first_project'

    Args:
        default: the name of a text without words; its first letter goes before one that begins
            with a digit.
    """
    words = [word for word in re.split(r"[^A-Za-z0-9]+", text) if word]
    name = "_".join(words) or default
    return name if name[0].isalpha() else f"{default[0]}_{name}"


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value,
        json_schema_input_type=str | list[str],
    ),
]
"""One name or a list of names."""

Scalar = str | bool | int | float | None


def _not_bool(value: Any) -> Any:
    """Python's ``True`` is the number 1, which nobody who writes ``true`` means."""
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


NotBool = BeforeValidator(_not_bool)
"""Goes with every number, after its bounds: ``true`` and ``false`` are none."""

Finite = Field(allow_inf_nan=False)
"""Goes with a number of which infinitely much can't be had."""

Whole = Annotated[int, NotBool]
Number = Annotated[float, NotBool]
Bound = Annotated[float | str, NotBool]
"""A number, or a date or moment as text."""


def _without_positions(value: Any) -> Any:
    """Mappings and lists as plain ones: other libraries take a subclass for something else."""
    if isinstance(value, Mapping):
        return {key: _without_positions(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_positions(item) for item in value]
    return value


Options = Annotated[dict[str, Any], AfterValidator(_without_positions)]
"""Keyword arguments that are handed on to another library."""

FunctionPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
    ),
    Field(description="A Python function as 'package.module:function'."),
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*$")


def _parse_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.match(value)):
        try:
            return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
        except OverflowError:
            raise ValueError("a duration must be shorter than that") from None
    raise ValueError("a duration is a number and a unit of ms, s, m, h, d or w, such as '26h'")


def write_duration(value: timedelta) -> str:
    """A length of time as a file says it: ``10m``, ``26h``."""
    seconds = value.total_seconds()
    for unit, size in sorted(_UNITS.items(), key=lambda item: -item[1]):
        if seconds >= size and (seconds / size).is_integer():
            return f"{int(seconds / size)}{unit}"
    return f"{seconds}s"


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration must be longer than nothing")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_parse_duration),
    AfterValidator(_positive),
    PlainSerializer(write_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _DURATION.pattern,
            "examples": ["26h", "7d"],
            "$comment": "duration",
        }
    ),
]
"""A positive length of time: ``90s``, ``10m``, ``26h``, ``7d``."""


def is_owner(value: str) -> bool:
    """Whether Dagster takes it for an owner."""
    return _OWNER.fullmatch(value) is not None


def _check_owner(value: str) -> str:
    if is_owner(value):
        return value
    raise ValueError(f"an owner is 'team:name' or an e-mail address, not {value!r}")


_OWNER = re.compile(r"team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+")

Owner = Annotated[str, AfterValidator(_check_owner)]
"""A Dagster owner: ``team:name`` or an e-mail address."""


def _check_tags(tags: dict[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if not _TAG_KEY.fullmatch(key):
            raise ValueError(
                f"{key!r} is no tag: letters, digits, '_', '-' and '.', at most 63, "
                "after an optional 'prefix/'"
            )
        if not _TAG_VALUE.fullmatch(value):
            raise ValueError(
                f"{value!r} is no value of a tag: letters, digits, '_', '-' and '.', at most 63"
            )
    return tags


_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")

Tags = Annotated[dict[str, str], AfterValidator(_check_tags)]
"""Dagster tags of an asset."""


def _check_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {value!r}; write it as 'America/New_York'"
        ) from None
    return value


TimeZone = Annotated[str, AfterValidator(_check_timezone)]
"""The IANA name of a time zone: ``UTC``, ``America/New_York``."""


class Spec(BaseModel):
    """A checked, immutable piece of ``liminal.yml`` that knows its position."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )

    _location: Location | None = None

    @property
    def location(self) -> Location | None:
        """Where the piece was written; none for one made in Python."""
        return self._location

    @model_validator(mode="wrap")
    @classmethod
    def _keep_location(cls, data: Any, handler: Any) -> Any:
        spec = handler(data)
        location = getattr(data, "location", None)
        if location is not None and spec is not data:
            spec._location = location
        return spec


def switched(data: Any) -> Any:
    """``true`` and ``false`` are short for the defaults and for none.

    Raises:
        ValueError: it is neither of them nor says how; ``yes`` is a word in YAML 1.2.
    """
    if isinstance(data, bool):
        return {} if data else None
    if isinstance(data, str | int | float | list):
        shown = "a list" if isinstance(data, list) else repr(data)
        raise ValueError(f"must be true, false or a mapping of keys, not {shown}")
    return data


def one_of_keys(spec: Spec, *keys: str) -> str:
    """The one of ``keys`` that is set.

    Raises:
        ValueError: none of them is set, or more than one.
    """
    present = [key for key in keys if getattr(spec, key) is not None]
    names = [cls_alias(type(spec), key) for key in (present or keys)]
    if len(present) == 1:
        return present[0]
    if present:
        raise ValueError(f"takes one of {', '.join(names)}, not several")
    raise ValueError(f"needs one of {', '.join(names)}")


def changed(spec: Spec, names: Iterable[str]) -> list[str]:
    """The keys, as YAML has them, of those fields that were set to something else than their
    default, which 'liminal resolve' writes too."""
    fields = type(spec).model_fields
    return [
        cls_alias(type(spec), name)
        for name in sorted(spec.model_fields_set.intersection(names))
        if getattr(spec, name) != fields[name].get_default(call_default_factory=True)
    ]


def cls_alias(cls: type[Spec], key: str) -> str:
    """The name of a field as it is written in YAML."""
    return cls.model_fields[key].alias or key


class Retries(Spec):
    """How often and how a failed step is tried again."""

    max: Annotated[int, Field(ge=0, le=100), NotBool] = 3
    """Tries after the first."""
    delay: Duration | None = None
    """Wait before a try."""
    backoff: Literal["constant", "linear", "exponential"] = "constant"
    """How the wait grows from try to try."""


class Block(Spec):
    """What every named block that becomes an asset may say."""

    description: str | None = None
    """Markdown shown in the Dagster UI."""
    owner: Owner | None = None
    """``team:name`` or an e-mail address; default: the project's owner."""
    tags: Tags = {}
    """Dagster tags."""
    executor: str | None = None
    """Where the step runs; default: the process of the run."""
    retries: Retries | None = None
    """Tries after a failure."""
    pool: str | None = None
    """A Dagster concurrency pool: how many steps of it run at once is set on the instance."""
    automation: Literal["eager", "on_missing"] | None = None
    """Refresh by Dagster's declarative automation: ``eager`` whenever an input changes,
    ``on_missing`` when a partition or the asset is missing."""
