"""What a monitor measures besides drift, performance and KPIs: quality, slices; alarm rates."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from liminal_assets.language.base import Names, NotBool, Spec
from liminal_assets.language.rates import RateField

__all__ = ["Alarms", "ColumnQuality", "Quality", "Share", "Slices", "SlicesField"]

Share = Annotated[float, Field(ge=0, le=1), NotBool]
"""A part of the rows, from 0 to 1."""


class ColumnQuality(Spec):
    """Bounds of one column's quality, where they differ from the monitor's."""

    missing: Share | None = None
    """Default: the monitor's."""
    unseen: Share | None = None
    """Default: the monitor's."""
    out_of_range: Share | None = None
    """Default: the monitor's."""
    ignore: bool = False
    """Leave the column out."""


class Quality(Spec):
    """Whether a window's rows are whole: bounds on shares of its rows. ``quality: {}`` takes
    bounds from the reference rows."""

    missing: Share | None = None
    """The largest share of missing values (null, NaN) in a column; default: 0.05 above the
    reference's, or what one window of 10,000 exceeds by chance if that is more, as for
    ``unseen`` and ``out_of_range``. A column that has no value at all, where the reference had
    some, breaks it."""
    unseen: Share | None = None
    """The largest share of a category column's values that the reference never had; default: 0.01,
    or twice the share that the reference itself leads one to expect, if that is more."""
    out_of_range: Share | None = None
    """The largest share of a number column's values below the reference's smallest or above its
    largest; default: 0.01."""
    duplicates: Share | None = None
    """The largest share of rows whose entity another row has; default: 0.01 above the reference's
    in batch scores; in served rows, where the same is asked again, no bound."""
    rows: tuple[Annotated[float, Field(ge=0), NotBool], Annotated[float, Field(gt=0), NotBool]] = (
        0.2,
        5.0,
    )
    """The smallest and the largest number of rows, as multiples of the usual one: the median of up
    to 12 earlier windows. It is judged in a window with fewer than ``min_rows`` rows too."""
    constant: bool = True
    """Whether a column that has one value only, where the reference had several, is a breach."""
    types: bool = True
    """Whether a column that is missing, or of another type than the reference's, is a breach."""
    columns: dict[str, ColumnQuality] = {}
    """Bounds per column; others use those above."""

    @model_validator(mode="after")
    def _in_order(self) -> Quality:
        low, high = self.rows
        if not low <= high:
            raise ValueError(f"'rows' goes from low to high, not from {low:g} to {high:g}")
        return self


class Slices(Spec):
    """Groups of rows that are measured each by itself."""

    by: Annotated[Names, Field(min_length=1)]
    """The columns whose values are the groups."""
    most: Annotated[int, Field(ge=1, le=200), NotBool] = 10
    """Groups per column, those with the most rows; the others are one group."""
    min_rows: Annotated[int, Field(ge=1), NotBool] | None = None
    """A group with fewer rows is shown, not judged; default: the monitor's ``min_rows``."""


def _as_slices(value: Any) -> Any:
    return {"by": value} if isinstance(value, str | list | tuple) else value


SlicesField = Annotated[
    Slices, BeforeValidator(_as_slices, json_schema_input_type=Slices | str | list[str])
]
"""Column names, or a mapping."""


class Alarms(Spec):
    """How often a monitor may call drift where there is none."""

    at_most: RateField
    """Such as ``1 per month`` or ``2 per year``: for all columns and windows together. The
    thresholds of columns that have none of their own are set so, by resampling the reference."""
    seed: Annotated[int, Field(ge=0), NotBool] = 0
    """Of the resampling: equal seeds give equal thresholds."""
