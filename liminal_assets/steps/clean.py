"""Clean: datasets into a cleaner one, by SQL, by a function or by declarative steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.loading import Project
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.declarative import compile_steps
from liminal_assets.steps.functions import call_function
from liminal_assets.steps.inputs import read_inputs
from liminal_assets.steps.lineage import sql_lineage
from liminal_assets.steps.rows import Made, as_table, made_at, table_of
from liminal_assets.steps.sql import sql_of
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.sessions import connect
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

__all__ = ["clean", "clean_rows", "query_over", "register"]


def clean(
    project: Project,
    dataset: Dataset | str,
    inputs: Mapping[str, Any] | None = None,
    partition: str | None = None,
) -> Table:
    """The rows that a dataset's ``clean:`` makes, nothing written.

    Args:
        dataset: the dataset or its name.
        inputs: rows by input name, in any form; default: what was materialised.
        partition: the key of the partition to make, for a dataset that has partitions.

    Raises:
        StepError: an input is missing, the SQL or a step is wrong, the function fails.
    """
    block = project.block(dataset) if isinstance(dataset, str) else dataset
    if not isinstance(block, Dataset) or block.clean is None:
        name = getattr(block, "name", dataset)
        raise StepError(f"{name} is not a dataset with 'clean'", location=project.locate(block))
    if inputs is None:
        tables = read_inputs(project, block, block.inputs, partition)
    else:
        tables = {name: as_table(rows, name) for name, rows in inputs.items()}
    made = clean_rows(StepContext(project, block, partition), tables, connect())
    return table_of(made.rows, block.name, made_at(project, block))


def clean_rows(
    context: StepContext, tables: Mapping[str, Table], session: duckdb.DuckDBPyConnection
) -> Made:
    """The rows of a cleaned dataset, computed when they are read.

    Args:
        tables: the inputs by name.
        session: where SQL and steps are computed.

    Raises:
        StepError: the SQL or a step is wrong, or the function fails.
    """
    project, block = context.project, context.block
    spec = block.clean if isinstance(block, Dataset) else None
    if spec is None:
        raise StepError(f"{block} cleans nothing", location=project.locate(block))
    if spec.python:
        at = project.locate(block, "clean", "python")
        return Made(call_function(project, spec.python, tables, context=context, location=at))
    register(session, tables)
    if spec.sql:
        return query_over(context, session, tables, spec.sql, "clean", "sql")
    (source,) = tables
    plan = compile_steps(
        session,
        source,
        spec.steps or (),
        lambda *path: project.locate(block, "clean", "steps", *path, key=True),
    )
    lineage = {
        name: tuple((source, column) for column in sorted(made_of))
        for name, made_of in plan.lineage.items()
    }
    return Made(session.sql(plan.sql), lambda: lineage)


def register(session: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> None:
    """Makes tables readable by name in a session."""
    for name, table in tables.items():
        table.relation(session).create_view(name)


def query_over(
    context: StepContext,
    session: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Table],
    sql: str,
    *path: str,
) -> Made:
    """The rows of a query over the views of a session.

    Args:
        tables: the inputs, for the lineage of the columns.
        path: where in the block the query stands.

    Raises:
        StepError: the query is wrong.
    """
    project, block = context.project, context.block
    at = project.locate(block, *path)
    text = sql_of(project, block, sql, context.partition_key, at)
    with engine_errors("run the query", location=at):
        relation = session.sql(text)
    if relation is None:
        raise StepError("the query returns no rows", location=at, hint="end it with a SELECT")
    # DuckDB 1.5, the last for Python 3.10, looks for a view() in no schema but its main one
    columns = {name: session.table(name).columns for name in tables}
    return Made(relation, lambda: sql_lineage(text, columns, relation.columns))
