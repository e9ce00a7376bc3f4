"""The declarative steps of ``clean: {steps: [...]}``, each one key and what it takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BeforeValidator, Field, model_validator

from liminal_assets.language.base import Bound, Names, NotBool, Scalar, Spec, Whole, one_of_keys

__all__ = [
    "Cast",
    "CleaningStep",
    "Clip",
    "ColumnType",
    "DropDuplicates",
    "DropNull",
    "Fill",
    "ParseTimestamp",
    "ReplaceText",
]

ColumnType = Literal[
    "string",
    "integer",
    "float",
    "boolean",
    "timestamp",
    "timestamptz",
    "date",
    "time",
    "decimal",
    "category",
    "binary",
    "json",
]


def _short(spec: type[Spec], key: str, *kinds: type) -> Any:
    """A validator by which a bare value is short for a spec with that one key."""

    def expand(value: Any) -> Any:
        return {key: value} if isinstance(value, kinds) else value

    forms = (list[str] if kind is list else kind for kind in kinds)
    return BeforeValidator(expand, json_schema_input_type=Union[(spec, *forms)])


# an unquoted null is YAML's own
Invalid = Annotated[
    Literal["error", "null"],
    BeforeValidator(
        lambda value: "null" if value is None else value,
        json_schema_input_type=Literal["error", "null"] | None,
    ),
]


class Cast(Spec):
    """The type that a column is turned into."""

    type: ColumnType
    invalid: Invalid = "error"
    """What becomes of a value that is none of that type."""


class Fill(Spec):
    """What nulls of a column become: a value, or one computed from its other rows."""

    value: Scalar = None
    method: Literal["mean", "median", "most_frequent", "min", "max", "previous", "next"] | None = (
        None
    )
    by: Names = ()
    """Columns within whose groups ``method`` looks."""
    order_by: Names = ()
    """The order for ``previous`` and ``next``."""

    @model_validator(mode="after")
    def _one_way(self) -> Fill:
        if (self.value is None) == (self.method is None):
            raise ValueError("takes 'value' or 'method', one of them")
        ordered = self.method in ("previous", "next")
        if ordered != bool(self.order_by):
            raise ValueError("'order_by' goes with method 'previous' or 'next', which need it")
        if self.by and not self.method:
            raise ValueError("'by' goes with 'method'")
        return self


class DropNull(Spec):
    """Which rows with nulls are dropped."""

    columns: Names = ()
    """Columns looked at; default: all."""
    how: Literal["any", "all"] = "any"
    """Whether one null is enough or all must be null."""


class DropDuplicates(Spec):
    """Which of the rows that are alike is kept."""

    by: Names = ()
    """Columns that make rows alike; default: all."""
    keep: Literal["first", "last", "none"] = "first"
    order_by: Names = ()
    """The order that says what is first, ``-column`` descending; default: the rows' own."""


class ReplaceText(Spec):
    """A regular expression and what its matches become."""

    pattern: str
    with_: Annotated[str, Field(alias="with")]
    r"""The new text; ``\1`` is the first group of the pattern."""


class Clip(Spec):
    """The bounds that values are held within."""

    at_least: Bound | None = None
    at_most: Bound | None = None

    @model_validator(mode="after")
    def _some_bound(self) -> Clip:
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs 'at_least' or 'at_most'")
        return self


class ParseTimestamp(Spec):
    """How text is read as a moment."""

    format: str | Annotated[tuple[str, ...], Field(min_length=1)] = "iso"
    """``iso``, or one or several ``strptime`` formats (``%d/%m/%Y %H:%M``) tried in order."""
    timezone: str | None = None
    """The zone of the wall-clock times; the result is in UTC, with a time zone."""
    invalid: Invalid = "error"
    """What becomes of text that isn't a moment."""


CastTo = Annotated[Cast, _short(Cast, "type", str)]
FillWith = Annotated[Fill, _short(Fill, "value", str, bool, int, float)]
ReadAs = Annotated[ParseTimestamp, _short(ParseTimestamp, "format", str, list)]


class CleaningStep(Spec):
    """One step of ``steps:``: a mapping with one of these keys. Expressions are DuckDB's SQL."""

    select: Names | None = None
    """Keep these columns, in this order."""
    drop: Names | None = None
    """Take these columns away."""
    rename: dict[str, str] | None = None
    """Old name: new name."""
    cast: dict[str, CastTo] | None = None
    """Column: type, or ``{type: float, invalid: null}``."""
    filter: str | None = None
    """Keep rows for which this is true."""
    derive: dict[str, str] | None = None
    """New or replaced column: expression over the columns before this step."""
    fill_null: dict[str, FillWith] | None = None
    """Column: value, or ``{method: median, by: [...]}``."""
    null_if: dict[str, Scalar | tuple[Scalar, ...]] | None = None
    """Column: value(s) that mean null, such as ``NA``."""
    drop_null: Annotated[DropNull, _short(DropNull, "columns", str, list)] | None = None
    """Drop rows with nulls: columns, or ``{columns: [...], how: all}``."""
    drop_duplicates: Annotated[DropDuplicates, _short(DropDuplicates, "by", str, list)] | None = (
        None
    )
    """Drop rows that are alike: columns, or ``{by: [...], keep: last, order_by: [...]}``."""
    trim: Names | None = None
    """Take white space off both ends."""
    lower: Names | None = None
    """To lower case."""
    upper: Names | None = None
    """To upper case."""
    replace: dict[str, dict[str, Scalar]] | None = None
    """Column: ``{old value: new value}``."""
    replace_text: dict[str, ReplaceText] | None = None
    """Column: ``{pattern: ..., with: ...}``, every match."""
    clip: dict[str, Clip] | None = None
    """Column: ``{at_least: 0, at_most: 100}``."""
    round: dict[str, Whole] | None = None
    """Column: digits after the point."""
    parse_timestamp: dict[str, ReadAs] | None = None
    """Column: format, or ``{format: ..., timezone: ..., invalid: null}``."""
    sort: Names | None = None
    """Order rows by columns, ``-column`` descending, nulls last."""
    limit: Annotated[int, Field(ge=0), NotBool] | None = None
    """Keep the first rows."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {data: {}}
        if isinstance(data, dict):
            return {key: {} if value is None else value for key, value in data.items()}
        return data

    @model_validator(mode="after")
    def _one_kind(self) -> CleaningStep:
        if len(self.model_fields_set) != 1:
            one_of_keys(self, *type(self).model_fields)
        return self

    @property
    def kind(self) -> str:
        """The key of the step."""
        return next(iter(self.model_fields_set))
