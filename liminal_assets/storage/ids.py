"""Prediction ids: they sort by time, and tell it."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime, timezone

__all__ = ["is_id", "moment_of", "new_id", "of_request", "request_of", "row_ids", "sampled"]

_ID = re.compile(r"[0-9a-f]{32}(-\d{1,9})?")


_CHANCE: list[str] = []
"""Random digits for the next ids: one call of the system for 256 of them."""
os.register_at_fork(after_in_child=_CHANCE.clear)


def new_id() -> str:
    """A prediction id: 32 hexadecimal digits that sort by time (milliseconds, then chance)."""
    while True:
        try:
            chance = _CHANCE.pop()
            break
        except IndexError:
            digits = os.urandom(2560).hex()
            _CHANCE.extend(digits[start : start + 20] for start in range(0, 5120, 20))
    return f"{int(time.time() * 1000):012x}{chance}"


def row_ids(request: str, rows: int) -> list[str]:
    """The id of each row of a request: its own for a single row, else ``<id>-<row>``."""
    return [request] if rows == 1 else [f"{request}-{row}" for row in range(rows)]


def is_id(text: str) -> bool:
    """Whether a text is the id of a request or of a row."""
    return _ID.fullmatch(text) is not None


def request_of(own: str) -> str:
    """The request's id from that of one of its rows."""
    return own.partition("-")[0]


def of_request(own: str) -> str:
    """SQL of any database that is true of the rows of a request, or of the one row of that id."""
    told = own.replace("'", "''")
    rows = f"substr(prediction_id, 1, {len(own) + 1}) = '{told}-'"
    return f"prediction_id = '{told}' OR {rows}"


def moment_of(own: str) -> datetime:
    """When an id was made, to the millisecond."""
    return datetime.fromtimestamp(int(own[:12], 16) / 1000, timezone.utc)


def sampled(request: str, rate: float) -> bool:
    """Whether a request is in a sample: the same wherever and whenever it is asked.

    Args:
        request: its id.
        rate: the share of requests in the sample, from 0 to 1.
    """
    return int(request[12:20], 16) < rate * 0x1_0000_0000
