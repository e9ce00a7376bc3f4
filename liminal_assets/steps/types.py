"""The column types of the language as DuckDB's."""

from __future__ import annotations

from collections.abc import Mapping

from liminal_assets.language.cleaning import ColumnType

__all__ = ["DUCKDB_TYPES"]

DUCKDB_TYPES: Mapping[ColumnType, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
    "time": "TIME",
    "decimal": "DECIMAL(38,9)",
    "category": "VARCHAR",
    "binary": "BLOB",
    "json": "JSON",
}
