"""Ten million sales and a thousand stores as Parquet files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

__all__ = ["AGGREGATE", "BROKEN", "CLEAN", "ROWS", "sales"]

ROWS = 10_000_000

CLEAN = """
SELECT id, store, coalesce(amount, 0) AS amount, sold_at, channel
FROM (SELECT DISTINCT * FROM sales)
"""
BROKEN = """
SELECT count(*) FROM {source}
WHERE id IS NULL OR amount IS NULL OR amount < 0 OR channel IS NULL
  OR channel NOT IN ('web', 'shop', 'phone')
"""
AGGREGATE = """
SELECT region, channel, date_trunc('day', sold_at) AS day,
  count(*) AS sales, sum(amount) AS amount, avg(amount) AS mean, max(amount) AS largest
FROM {source} JOIN stores USING (store)
GROUP BY ALL
"""


def sales(rows: int = ROWS) -> Path:
    """The folder of ``sales.parquet`` (one row in twenty twice, one amount in ten missing) and
    ``stores.parquet``; made once."""
    folder = Path(tempfile.gettempdir()) / f"liminal-benchmark-{rows}"
    if not (folder / "stores.parquet").is_file():
        folder.mkdir(exist_ok=True)
        made = duckdb.connect()
        made.execute(
            f"""COPY (
                SELECT number AS id, hash(number) % 1000 AS store,
                  CASE WHEN hash(number, 1) % 10 > 0 THEN (hash(number, 2) % 100000) / 100.0 END::DOUBLE
                    AS amount,
                  TIMESTAMP '2024-01-01' + to_seconds(number % 31536000) AS sold_at,
                  ['web', 'shop', 'phone'][1 + (hash(number, 3) % 3)::INT] AS channel
                FROM (SELECT CASE WHEN range % 20 = 0 THEN range + 1 ELSE range END AS number
                      FROM range({rows}))
            ) TO '{folder}/sales.parquet'"""  # noqa: E501
        )
        made.execute(
            "COPY (SELECT range AS store, 'region ' || range % 12 AS region, range % 7 AS size "
            f"FROM range(1000)) TO '{folder}/stores.parquet'"
        )
    return folder
