"""Some of the rows that break an expectation, whole."""

from __future__ import annotations

from typing import Any

from liminal_assets.integrations.expectations.batch import Batch
from liminal_assets.integrations.expectations.metrics import Counted
from liminal_assets.storage.forms import identifier

__all__ = ["failing_rows"]


def failing_rows(batch: Batch, counted: Counted, most: int) -> list[dict[str, Any]]:
    """The first rows that a count counted, at most ``most`` of them, as mappings."""
    test, domain = counted.test, counted.domain
    if test is None:
        if not counted.positions:
            return []
        listed = ", ".join(map(str, counted.positions[:most]))
        numbered = f"SELECT *, row_number() OVER () - 1 AS liminal_position FROM {batch.name}"
        where = f"WHERE {domain.condition}"
        sql = (
            f"SELECT * EXCLUDE (liminal_position) FROM ({numbered} {where}) "
            f"WHERE liminal_position IN ({listed})"
        )
    elif test.rows:
        rows, extra = test.rows
        sql = f"SELECT * EXCLUDE ({identifier(extra)}) FROM {rows} WHERE {test.breaks}"
    else:
        where = f"{domain.condition} AND {test.wrong(domain) or 'true'}"
        sql = f"SELECT * FROM {batch.name} WHERE {where}"
    found = batch.query(f"{sql} LIMIT {most}")
    names = found.columns
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
