"""The rows that a metric looks at: a condition, the columns, and which rows with nulls count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liminal_assets.integrations.expectations.conditions import condition_sql
from liminal_assets.integrations.expectations.sql import NotInSqlError, Schema

__all__ = ["Domain"]

_ANY_NULL = {"either_value_is_missing", "any_value_is_missing"}
_ALL_NULL = {"both_values_are_missing", "all_values_are_missing"}


@dataclass(frozen=True)
class Domain:
    """What the domain arguments of a metric of Great Expectations say."""

    schema: Schema
    columns: tuple[str, ...]
    """None for a whole table, one, a pair or several."""
    condition: str
    """SQL: the rows of ``row_condition``."""
    ignored: str | None = None
    """``ignore_row_if``."""

    @classmethod
    def of(cls, arguments: Mapping[str, Any], schema: Schema) -> Domain:
        """The domain of a metric.

        Raises:
            NotInSqlError: the condition can't be said in SQL.
            MissingColumnError: a column isn't there.
        """
        if arguments.get("column") is not None:
            columns: tuple[str, ...] = (arguments["column"],)
        elif arguments.get("column_A") is not None:
            columns = (arguments["column_A"], arguments["column_B"])
        else:
            columns = tuple(arguments.get("column_list") or ())
        for column in columns:
            schema.find(column)
        condition = condition_sql(
            arguments.get("row_condition"), arguments.get("condition_parser"), schema
        )
        return cls(schema, columns, condition, arguments.get("ignore_row_if"))

    @property
    def column(self) -> str:
        """The only column."""
        (column,) = self.columns
        return column

    @property
    def source(self) -> str:
        """The SQL name of all rows.

        Raises:
            NotInSqlError: only the row at hand can be seen.
        """
        if self.schema.source is None:
            raise NotInSqlError("a test that compares rows with each other")
        return self.schema.source

    @property
    def present(self) -> str:
        """SQL: the rows of the condition whose nulls don't exclude them."""
        return f"{self.condition} AND {self.filled}"

    @property
    def filled(self) -> str:
        """SQL: whether a row's nulls let it count."""
        nulls = [f"{self.schema.value(column)} IS NULL" for column in self.columns]
        if len(nulls) == 1 or self.ignored in _ANY_NULL:
            return f"NOT ({' OR '.join(nulls)})"
        if nulls and self.ignored in _ALL_NULL:
            return f"NOT ({' AND '.join(nulls)})"
        return "true"

    def count(self, test: str = "true") -> str:
        """SQL: how many rows of the condition pass a test."""
        tests = [part for part in (self.condition, test) if part != "true"]
        return f"count(*) FILTER (WHERE {' AND '.join(tests)})" if tests else "count(*)"

    def aggregate(self, function: str) -> str:
        """SQL: an aggregate function over the rows of the condition."""
        if self.condition == "true":
            return function
        return f"{function} FILTER (WHERE {self.condition})"
