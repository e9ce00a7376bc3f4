"""Features: Prepare."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from liminal_assets.language.base import Block, Duration, FunctionPath, Name, Names, Spec, switched
from liminal_assets.language.datasets import Check, Column, Freshness

__all__ = ["Feature", "Join", "Online"]


class Join(Spec):
    """How an input is joined to the first one.

    ``as_of`` joins the newest row that was known at that moment (DuckDB's ASOF join), ``on``
    joins equal keys. An input with neither stays a table of its own, read by name.
    """

    as_of: str | None = None
    """The first input's timestamp column."""
    timestamp: str | None = None
    """This input's timestamp column; default: the dataset's ``timestamp``, else the same name."""
    by: Names | dict[str, str] = ()
    """Columns that must be equal; a mapping where the names differ (first: this)."""
    within: Duration | None = None
    """The oldest that a joined row may be; older ones count as missing."""
    lag: Duration | None = None
    """How long after its timestamp a row becomes known."""
    on: Names | dict[str, str] = ()
    """Columns of an equality join."""
    how: Literal["left", "inner"] = "left"
    columns: Names | None = None
    """The columns to take; default: all that the first input doesn't have."""
    prefix: str = ""
    """Put before the names of the joined columns."""

    @model_validator(mode="after")
    def _one_kind(self) -> Join:
        if self.as_of and self.on:
            raise ValueError("takes 'as_of' (point in time) or 'on' (equal keys), not both")
        if not self.as_of and (self.by or self.within or self.lag or self.timestamp):
            raise ValueError("'by', 'within', 'lag' and 'timestamp' go with 'as_of'")
        return self

    @property
    def joined(self) -> bool:
        """Whether the input is joined to the first one."""
        return bool(self.as_of or self.on)

    @property
    def reach(self) -> timedelta | None:
        """How far back a point-in-time join looks; none for everything."""
        return self.within + (self.lag or timedelta()) if self.within else None


def _inputs(data: Any) -> Any:
    """``from: a`` and ``from: [a, b]`` are short for ``from: {a: {}, b: {}}``."""
    if isinstance(data, str):
        return {data: {}}
    if isinstance(data, list) and all(isinstance(item, str) for item in data):
        return {item: {} for item in data}
    if isinstance(data, dict):
        return {key: {} if value is None else value for key, value in data.items()}
    return data


class Online(Spec):
    """How the online store keeps the rows of a feature."""

    expire_after: Duration | None = None
    """Rows whose timestamp is older than that are removed at a refresh; default: they stay."""
    keep: Duration = timedelta(days=30)
    """How long the rows of an earlier specification of the feature stay after its last refresh, for
    models that learned from it."""


class Feature(Block):
    """Model inputs as an asset, one row per entity and moment."""

    feature: Name
    from_: Annotated[
        Annotated[dict[str, Join], Field(min_length=1)],
        BeforeValidator(_inputs, json_schema_input_type=str | list[str] | dict[str, Join | None]),
        Field(alias="from"),
    ]
    """Its inputs: datasets or features. The first is the spine that others are joined to."""
    entity: Names
    """The key column(s) of a row."""
    timestamp: str | None = None
    """The column that says which moment a row describes."""
    python: FunctionPath | None = None
    """A function that takes the joined spine (and unjoined inputs) by parameter name."""
    sql: str | None = None
    """A DuckDB query over the joined spine (and unjoined inputs) by name, or a ``.sql`` file."""
    after: Names = ()
    """Blocks and tasks (``pipeline/task``) that must be there first though it reads none of their
    rows."""
    online: Annotated[
        Online | None, BeforeValidator(switched, json_schema_input_type=bool | Online)
    ] = None
    """``true``, or how: keep the newest row per entity in the online store, for requests that carry
    only the entity."""
    columns: dict[str, Column] = {}
    checks: tuple[Check, ...] = ()
    freshness: Freshness | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Feature:
        if self.python and self.sql:
            raise ValueError("takes 'python' or 'sql', not both")
        if self.online and self.online.expire_after and not self.timestamp:
            raise ValueError("'expire_after' needs the feature's 'timestamp'")
        spine, *others = self.from_.items()
        if spine[1].joined:
            raise ValueError(f"the first input, {spine[0]}, is what others are joined to")
        if not self.python and not self.sql:
            for name, join in others:
                if not join.joined:
                    raise ValueError(f"input {name} is neither joined nor read by a function")
        return self

    @property
    def name(self) -> str:
        return self.feature

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the blocks it reads, the spine first."""
        return tuple(self.from_)

    @property
    def spine(self) -> str:
        """The input that others are joined to."""
        return next(iter(self.from_))
