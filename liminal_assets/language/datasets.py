"""Connections and datasets: Fetch and Clean."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from liminal_assets.language.base import (
    Block,
    Bound,
    Duration,
    FunctionPath,
    Name,
    Names,
    Options,
    Scalar,
    Spec,
    TimeZone,
    one_of_keys,
)
from liminal_assets.language.cleaning import CleaningStep, ColumnType

__all__ = [
    "Check",
    "Clean",
    "Column",
    "ColumnType",
    "Connection",
    "Dataset",
    "Fetch",
    "Freshness",
    "Partitions",
]


class Connection(Spec):
    """A database, reached through Ibis."""

    connection: Name
    url: str
    """Any Ibis URL: ``duckdb://warehouse.duckdb``, ``postgres://user@host/db``,
    ``snowflake://…``. A relative path of DuckDB or SQLite starts at the project's folder."""
    options: Options = {}
    """Keyword arguments of the backend's ``connect``."""
    description: str | None = None


class Fetch(Spec):
    """Reads rows from outside: by SQL, from a table, from files or from a function."""

    sql: str | None = None
    """A query in the connection's dialect, or the path of a ``.sql`` file.
    ``{{ partition_start }}``, ``{{ partition_end }}`` (wall-clock time of the partitions' time
    zone), ``{{ partition_start_utc }}``, ``{{ partition_end_utc }}`` and ``{{ partition_key }}``
    are filled in for each partition."""
    table: str | None = None
    """A whole table of the connection (``table`` or ``schema.table``)."""
    connection: Name | None = None
    """Where ``sql`` or ``table`` is read; default: the only connection."""
    file: Names | None = None
    """Paths, globs or fsspec URLs (``s3://…``); relative ones start at the project's folder."""
    format: Literal["csv", "json", "parquet"] | None = None
    """Default: by the file's ending."""
    options: Options = {}
    """Options of DuckDB's reader of the format, such as ``{delim: ';', nullstr: NA}``."""
    storage_options: Options = {}
    """fsspec options of the file system, such as ``{anon: true}``."""
    python: FunctionPath | None = None
    """A function that returns the rows; it may take ``context``."""

    @model_validator(mode="after")
    def _one_source(self) -> Fetch:
        source = one_of_keys(self, "sql", "table", "file", "python")
        if self.connection and source not in ("sql", "table"):
            raise ValueError("'connection' goes with 'sql' or 'table' only")
        if (self.format or self.options or self.storage_options) and source != "file":
            raise ValueError("'format', 'options' and 'storage_options' go with 'file' only")
        return self


class Clean(Spec):
    """Turns datasets into a cleaner one: by SQL, by a function or by listed steps."""

    from_: Annotated[Names, Field(alias="from", min_length=1)]
    """The datasets it reads."""
    sql: str | None = None
    """A DuckDB query over the inputs by name, or the path of a ``.sql`` file."""
    python: FunctionPath | None = None
    """A function that takes the inputs by parameter name, in the form it annotates."""
    steps: Annotated[tuple[CleaningStep, ...], Field(min_length=1)] | None = None
    """Declarative steps over the (single) input, in order; see the reference of steps."""

    @model_validator(mode="after")
    def _one_way(self) -> Clean:
        way = one_of_keys(self, "sql", "python", "steps")
        if way == "steps" and len(self.from_) != 1:
            raise ValueError("'steps' work on one input; use 'sql' to join several")
        return self


class Partitions(Spec):
    """Cuts a dataset by time or by listed values."""

    every: Literal["hour", "day", "week", "month"] | None = None
    start: str | None = None
    """The first moment, ISO 8601; with ``every``."""
    end: str | None = None
    """The moment after the last; default: partitions go on with the clock."""
    timezone: TimeZone = "UTC"
    """Of ``start``, ``end`` and the partitions between them."""
    values: tuple[str, ...] | None = None
    """The partition keys themselves."""

    @field_validator("start", "end", mode="before")
    @classmethod
    def _moment(cls, value: Any) -> Any:
        # YAML reads an unquoted 2013-01-01 as a date
        return value.isoformat() if hasattr(value, "isoformat") else value

    @model_validator(mode="after")
    def _time_or_values(self) -> Partitions:
        if one_of_keys(self, "every", "values") == "every":
            if self.start is None:
                raise ValueError("partitions by time need a 'start', such as '2013-01-01'")
            _check_moments(self)
        elif self.start or self.end:
            raise ValueError("'start' and 'end' go with 'every'")
        elif not self.values:
            raise ValueError("'values' must list at least one partition key")
        return self


def _check_moments(partitions: Partitions) -> None:
    moments = {}
    for key in ("start", "end"):
        text = getattr(partitions, key)
        try:
            moments[key] = datetime.fromisoformat(text).replace(tzinfo=None) if text else None
        except ValueError:
            raise ValueError(
                f"{key!r} must be a date or a moment, such as '2013-01-01', not {text!r}"
            ) from None
    start, end = moments["start"], moments["end"]
    if start and end and end <= start:
        raise ValueError(f"'end' ({partitions.end}) must be after 'start' ({partitions.start})")
    if start and partitions.every == "month" and start.day > 28:
        raise ValueError("monthly partitions must start on a day from 1 to 28")


class Freshness(Spec):
    """How old the newest materialisation may be."""

    within: Duration


class Check(Spec):
    """One Great Expectations expectation on the rows of an asset.

    Usually written short, the expectation as the key and its arguments below it, ``severity`` and
    ``name`` among them: ``expect_column_values_to_be_between: {column: age, min_value: 0}``.
    """

    expectation: str
    """Its snake-case or class name: ``expect_column_values_to_not_be_null``."""
    arguments: Options = {}
    """The expectation's own arguments, ``mostly`` and ``row_condition`` included."""
    severity: Annotated[
        Literal["error", "warning"],
        BeforeValidator(lambda word: {"critical": "error", "info": "warning"}.get(word, word)),
    ] = "error"
    """``error`` blocks what is downstream and fails the run; ``warning`` reports. Great
    Expectations' ``critical`` and ``info`` mean the same."""
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=200)] | None = (
        None
    )
    """The asset check's name; default: made of the expectation and its columns."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"expectation": data}
        if not isinstance(data, dict) or "expectation" in data:
            return data
        if len(data) != 1:
            raise ValueError(
                "a check is one expectation with its arguments, "
                "such as 'expect_column_values_to_not_be_null: {column: id}'"
            )
        ((expectation, arguments),) = data.items()
        if not isinstance(arguments, dict | None):
            raise ValueError(f"the arguments of {expectation} must be a mapping")
        rest = dict(arguments or {})
        own = {key: rest.pop(key) for key in ("severity", "name") if key in rest}
        return {"expectation": expectation, "arguments": rest, **own}


class Column(Spec):
    """The contract of one column: a row that breaks it is an error or goes to quarantine.

    A type alone is the short form: ``id: string``, ``delay: float?`` where nulls are allowed.
    """

    type: ColumnType
    nullable: bool = False
    """Whether nulls are allowed; ``type: float?`` is the short form."""
    one_of: tuple[Scalar, ...] | None = None
    """The only values allowed."""
    at_least: Bound | None = None
    at_most: Bound | None = None
    matches: str | None = None
    """A regular expression that the whole text must match."""
    unique: bool = False
    description: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"type": data}
        kind = data.get("type") if isinstance(data, dict) else None
        if isinstance(kind, str) and re.fullmatch(r"\w+\?", kind):
            return {"nullable": True, **data, "type": kind[:-1]}
        return data


class Dataset(Block):
    """Rows as an asset: fetched from outside or cleaned from other datasets."""

    dataset: Name
    fetch: Fetch | None = None
    clean: Clean | None = None
    after: Names = ()
    """Blocks and tasks (``pipeline/task``) that must be there first though it reads none of their
    rows, such as one that fills the database that this one queries."""
    partitions: Partitions | None = None
    """Default: those of its partitioned inputs."""
    freshness: Freshness | None = None
    timestamp: str | None = None
    """The column that says when a row became known; point-in-time joins use it."""
    columns: dict[str, Column] = {}
    """The contract: types, nullability and allowed values. Columns not listed pass as they are."""
    quarantine: bool = False
    """Rows that break the contract or a row-level check go to ``<name>__quarantine`` with the
    reason; without it they fail the run."""
    checks: tuple[Check, ...] = ()

    @model_validator(mode="after")
    def _one_phase(self) -> Dataset:
        one_of_keys(self, "fetch", "clean")
        return self

    @property
    def name(self) -> str:
        return self.dataset

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the blocks it reads."""
        return self.clean.from_ if self.clean else ()
