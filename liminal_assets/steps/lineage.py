"""Which columns of the inputs a query's columns are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["ColumnLineage", "sql_lineage"]

ColumnLineage = Mapping[str, Sequence[tuple[str, str]]]
"""Output column → (input, column) pairs."""

_MOST_COLUMNS = 200


def sql_lineage(
    sql: str, inputs: Mapping[str, Sequence[str]], outputs: Sequence[str]
) -> ColumnLineage:
    """The lineage of a DuckDB query's columns; empty where sqlglot can't follow the query.

    Args:
        inputs: column names by table name.
        outputs: the columns that the query returns.
    """
    import sqlglot.errors
    from sqlglot.lineage import lineage

    if len(outputs) > _MOST_COLUMNS:
        return {}
    schema = {table: dict.fromkeys(columns, "VARCHAR") for table, columns in inputs.items()}
    found: dict[str, list[tuple[str, str]]] = {}
    try:
        for output in outputs:
            root = lineage(f'"{output}"', sql, schema=schema, dialect="duckdb")
            leaves = [
                (node.source.name, node.name.rpartition(".")[2].strip('"'))
                for node in root.walk()
                if not node.downstream and node.source.key == "table"
            ]
            known = {leaf for leaf in leaves if leaf[0] in inputs}
            found[output] = sorted(known)
    except (sqlglot.errors.SqlglotError, ValueError, KeyError):
        return {}
    return found
