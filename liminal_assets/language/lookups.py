"""What a server takes from the online store for requests that carry only the entity."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from liminal_assets.language.base import Duration, Spec

__all__ = ["FeatureLookups"]


def _word(value: Any) -> Any:
    """YAML reads null without quotes as none."""
    return "null" if value is None else value


class FeatureLookups(Spec):
    """Columns that a request leaves out come from the online store, by the row's entity."""

    missing: Annotated[
        Literal["refuse", "null"],
        BeforeValidator(_word, json_schema_input_type=Literal["refuse", "null"] | None),
    ] = "refuse"
    """An entity that the store doesn't know: 422, or nulls in the columns in which the model takes
    them."""
    max_age: Duration | None = None
    """How old the row of an entity may be, by the feature's timestamp."""
    stale: Literal["refuse", "answer"] = "refuse"
    """A row older than ``max_age``: 422; or it answers, is counted, and the answer says so in the
    header ``x-stale-rows``."""
    timeout: Duration = timedelta(milliseconds=250)
    """The longest that the store may take; after that the answer is 503."""
    required: bool = True
    """Whether the server is ready only while the store can be read and has the rows of the version
    that answers; else it is ready, and says what is wrong."""

    @model_validator(mode="after")
    def _of_age(self) -> FeatureLookups:
        if self.stale == "answer" and self.max_age is None:
            raise ValueError("'stale' goes with 'max_age'")
        if not timedelta(milliseconds=5) <= self.timeout <= timedelta(seconds=10):
            raise ValueError("'timeout' must be between 5ms and 10s")
        return self
