"""The table and the ten expectations that both sides check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["EXPECTATIONS", "write_orders"]

EXPECTATIONS: list[dict[str, dict[str, Any]]] = [
    {"expect_column_values_to_not_be_null": {"column": "order_id"}},
    {"expect_column_values_to_be_unique": {"column": "order_id"}},
    {
        "expect_column_values_to_be_between": {
            "column": "amount",
            "min_value": 0,
            "max_value": 1000,
            "mostly": 0.99,
        }
    },
    {
        "expect_column_values_to_be_in_set": {
            "column": "country",
            "value_set": ["AT", "CH", "DE", "FR", "IT"],
        }
    },
    {"expect_column_values_to_match_regex": {"column": "code", "regex": r"^[A-Z]{2}-\d{4}$"}},
    {
        "expect_column_value_lengths_to_be_between": {
            "column": "code",
            "min_value": 5,
            "max_value": 7,
        }
    },
    {"expect_column_mean_to_be_between": {"column": "score", "min_value": 0.4, "max_value": 0.6}},
    {"expect_column_max_to_be_between": {"column": "quantity", "max_value": 99}},
    {"expect_column_unique_value_count_to_be_between": {"column": "country", "max_value": 10}},
    {
        "expect_column_pair_values_a_to_be_greater_than_b": {
            "column_A": "shipped_at",
            "column_B": "ordered_at",
            "or_equal": True,
            "mostly": 0.95,
        }
    },
]


def write_orders(path: Path, rows: int) -> None:
    """Orders as Parquet: 8 columns, some nulls, one row in a thousand wrong here and there."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SELECT setseed(0.5)")
    connection.execute(
        f"""
        COPY (
            SELECT
                range AS order_id,
                CASE WHEN random() < 0.05 THEN NULL
                     WHEN random() < 0.001 THEN -1.0
                     ELSE random() * 1000 END AS amount,
                ['AT', 'CH', 'DE', 'FR', 'IT'][1 + (random() * 4.999)::INTEGER % 5] AS country,
                CASE WHEN random() < 0.001 THEN 'bad'
                     ELSE 'AB-' || lpad((range % 10000)::VARCHAR, 4, '0') END AS code,
                random() AS score,
                (1 + random() * 98)::INTEGER AS quantity,
                TIMESTAMP '2024-01-01' + to_seconds(range::BIGINT) AS ordered_at,
                TIMESTAMP '2024-01-01'
                    + to_seconds(range::BIGINT + (random() * 100000)::BIGINT - 2000) AS shipped_at
            FROM range({rows})
        ) TO '{path}' (FORMAT parquet)
        """
    )
