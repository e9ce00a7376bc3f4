"""Columns and values as DuckDB SQL that means what Great Expectations means on pandas.

A NaN counts as missing, decimals are compared as floats, categories as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.storage.forms import identifier, literal

__all__ = ["Kind", "MissingColumnError", "NotInSqlError", "Schema", "constant", "exactly", "moment"]

Kind = Literal["integer", "float", "boolean", "text", "moment", "date", "time", "other"]
"""What values of a column can be compared with."""

_INTEGERS = {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
}
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_INTEGERS, "integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL"), "float"),
    **dict.fromkeys(("VARCHAR", "ENUM"), "text"),
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIME": "time",
}


def exactly(function: Literal["avg", "sum"], value: str) -> str:
    """SQL of the mean or the sum of numbers without rounding errors that add up; infinite where
    one of them is, for which DuckDB 1.5's summation by Kahan has no answer."""
    exact = f"f{function}({value})"
    return f"CASE WHEN isnan({exact}) THEN {function}({value}) ELSE {exact} END"


class NotInSqlError(Exception):
    """A metric that SQL can't compute exactly as Great Expectations does."""


class MissingColumnError(LookupError):
    """An expectation names a column that the rows don't have."""

    def __init__(self, column: str, known: Iterable[str]) -> None:
        super().__init__(column)
        self.column = column
        self.hint = did_you_mean(column, known)


@dataclass(frozen=True)
class Schema:
    """The columns of the rows that are checked.

    Args:
        types: DuckDB's type of each column, in the order of the columns.
        source: the SQL name of the rows, for what must look at other rows; none where only the
            row at hand can be seen.
    """

    types: Mapping[str, str]
    source: str | None = None

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.types)

    def find(self, column: str) -> str:
        """The column of that name, whatever its case if only one is meant.

        Raises:
            MissingColumnError: there is no such column.
        """
        if column in self.types:
            return column
        close = [name for name in self.types if name.lower() == column.lower()]
        if len(close) != 1:
            raise MissingColumnError(column, self.types)
        return close[0]

    def type(self, column: str) -> str:
        """DuckDB's type of a column, without its parameters: ``DECIMAL``, ``ENUM``.

        Raises:
            MissingColumnError: there is no such column.
        """
        kind = self.types[self.find(column)]
        return kind if kind.endswith("[]") else kind.partition("(")[0]

    def kind(self, column: str) -> Kind:
        """What the values of a column can be compared with."""
        kind = self.type(column)
        if kind.startswith("TIMESTAMP"):
            return "moment"
        return _KINDS.get(kind, "other")

    def number(self, column: str) -> bool:
        """Whether a column holds numbers."""
        return self.kind(column) in ("integer", "float")

    def value(self, column: str) -> str:
        """The SQL of a column's value, null where pandas sees a missing one."""
        name, kind = identifier(self.find(column)), self.type(column)
        if kind in ("FLOAT", "DOUBLE"):
            return f"(CASE WHEN NOT isnan({name}) THEN {name} END)"
        if kind == "DECIMAL":
            return f"({name}::DOUBLE)"
        if kind == "ENUM":
            return f"({name}::VARCHAR)"
        return name

    def double(self, column: str) -> str:
        """The SQL of a number as a float of 64 bits."""
        value = self.value(column)
        return value if self.type(column) in ("DOUBLE", "DECIMAL") else f"({value}::DOUBLE)"

    def text(self, column: str) -> str:
        """The SQL of a value's text as Python's ``str`` writes it.

        Raises:
            NotInSqlError: DuckDB writes values of this type otherwise.
        """
        kind = self.kind(column)
        if kind == "text":
            return self.value(column)
        if kind == "integer":
            return f"({self.value(column)}::VARCHAR)"
        if kind == "boolean":
            return f"(CASE WHEN {self.value(column)} THEN 'True' ELSE 'False' END)"
        raise NotInSqlError(f"the text of a {self.type(column)}")

    def comparable(self, column: str, value: Any) -> str:
        """The SQL of a value that is compared with those of a column.

        Raises:
            NotInSqlError: they can't be compared.
        """
        kind = self.kind(column)
        if kind in ("integer", "float") and isinstance(value, int | float | Decimal):
            if self.type(column) == "FLOAT":
                return f"{constant(float(value))}::FLOAT"
            return constant(value)
        if kind == "text" and isinstance(value, str):
            return literal(value)
        if kind == "boolean" and isinstance(value, int | float):
            raise NotInSqlError("a truth value compared with a number")
        if kind in ("moment", "date") and isinstance(value, str | date):
            return moment(value, zoned=self.type(column) == "TIMESTAMP WITH TIME ZONE")
        if kind == "time" and isinstance(value, time):
            return constant(value)
        raise NotInSqlError(f"a {self.type(column)} compared with {value!r}")


def moment(value: str | date, *, zoned: bool) -> str:
    """The SQL of a date or moment; one without a time zone is taken as UTC where zones count.

    Raises:
        NotInSqlError: the text is no moment.
    """
    from dateutil.parser import ParserError, parse

    try:
        read = parse(value) if isinstance(value, str) else value
    except (ParserError, OverflowError):
        raise NotInSqlError(f"{value!r} is no moment") from None
    if not isinstance(read, datetime):
        read = datetime(read.year, read.month, read.day)
    if read.tzinfo is not None and not zoned:
        raise NotInSqlError("a moment with a time zone compared with ones without")
    kind = "TIMESTAMPTZ" if zoned else "TIMESTAMP"
    return f"'{read.isoformat(sep=' ')}'::{kind}"


def constant(value: Any) -> str:
    """A value as SQL of the type that Python gives it: a number with a point is a double.

    Raises:
        NotInSqlError: SQL has no such value.
    """
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        value = value.item()
    if isinstance(value, bool | str | None):
        return literal(value)
    if isinstance(value, int) and abs(value) < 2**127:
        return f"({value})"
    if isinstance(value, int | float | Decimal):
        return f"({literal(float(value))}::DOUBLE)"
    if isinstance(value, datetime):
        return moment(value, zoned=value.tzinfo is not None)
    if isinstance(value, date | time):
        return f"'{value.isoformat()}'::{type(value).__name__.upper()}"
    raise NotInSqlError(f"a value of type {type(value).__name__}")
