"""What a server keeps of the requests that it answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from liminal_assets.language.base import Duration, Finite, Name, NotBool, Spec

__all__ = ["HashMask", "LogTarget", "PredictionLogging"]


class HashMask(Spec):
    """A column whose values are replaced by keyed digests."""

    hash: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
    """The environment variable that holds the key (the salt)."""


class LogTarget(Spec):
    """A table of a connection that holds the log instead of files."""

    connection: Name | None = None
    """Default: the only one."""
    table: Annotated[str, Field(min_length=1)]
    """The table, or ``schema.table``; labels go to ``<table>__feedback``, what versions say in the
    background to ``<table>__shadow``."""


def _known(value: Any) -> Any:
    """One of the words; YAML reads null without quotes as none."""
    if value is None:
        return "null"
    if isinstance(value, str) and value not in get_args(_Word):
        raise ValueError(f"a mask is drop, hash, null or {{hash: NAME}}, not {value!r}")
    return value


_Word = Literal["drop", "hash", "null"]


class PredictionLogging(Spec):
    """The prediction log."""

    durable: bool = False
    """Answer only once the record is on the disk, so that nothing that was acknowledged is lost by
    a crash; while the disk can't take it the answer is 503. Otherwise a crash loses up to half a
    second of the process's records, one of the machine up to ``rotate`` more."""
    sample: Annotated[float, Field(gt=0, le=1), NotBool] = 1.0
    """The share of requests that is logged, chosen by prediction id. Rows say it in the column
    ``sample_rate``."""
    mask: dict[str, Annotated[_Word | HashMask, BeforeValidator(_known)]] = {}
    """Columns whose values are never written anywhere: ``drop`` leaves the column out, ``null``
    its values, ``hash`` replaces them by digests with a key of the deployment's own, kept in the
    state folder; ``{hash: NAME}`` takes the key from an environment variable."""
    to: LogTarget | None = None
    """Default: Parquet files beside the project's other tables."""
    max_mb: Annotated[float, Field(gt=0), Finite, NotBool] = 1024.0
    """The most that may wait on the server's disk while the log can't be written, in MiB. Past
    that the oldest rows are lost, and counted; with ``durable`` requests are refused."""
    rotate: Duration = timedelta(seconds=10)
    """How long rows are gathered before they are handed to the log."""

    @model_validator(mode="after")
    def _soon_enough(self) -> PredictionLogging:
        if not timedelta(milliseconds=100) <= self.rotate <= timedelta(hours=1):
            raise ValueError("'rotate' must be between 100ms and 1h")
        return self
