"""Features: inputs joined as of a moment or on keys, then shaped by SQL or a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.steps.clean import query_over, register
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.functions import call_function
from liminal_assets.steps.inputs import read_input
from liminal_assets.steps.joins import Joined, join_inputs
from liminal_assets.steps.lineage import ColumnLineage
from liminal_assets.steps.rows import Made, as_table, made_at, table_of
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import connect
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

__all__ = ["build_features", "check_keys", "feature_rows", "read_feature_inputs"]


def build_features(
    project: Project,
    feature: Feature | str,
    inputs: Mapping[str, Any] | None = None,
    partition: str | None = None,
) -> Table:
    """The rows of a feature, nothing written.

    Args:
        feature: the feature or its name.
        inputs: rows by input name, in any form; default: what was materialised.
        partition: the key of the partition to make, for a feature that has partitions.

    Raises:
        StepError: an input is missing, a join or the SQL is wrong, the function fails.
    """
    block = project.block(feature) if isinstance(feature, str) else feature
    if not isinstance(block, Feature):
        raise StepError(f"{feature} is not a feature", location=project.locate(block))
    context = StepContext(project, block, partition)
    if inputs is None:
        tables = read_feature_inputs(context)
    else:
        tables = {name: as_table(rows, name) for name, rows in inputs.items()}
    made = feature_rows(context, tables, connect())
    rows = table_of(made.rows, block.name, made_at(project, block))
    check_keys(project, block, list(rows.schema.names))
    return rows


def read_feature_inputs(context: StepContext) -> dict[str, Table]:
    """The rows of a feature's inputs that one of its partitions is made of: of an input joined as
    of a moment also what was known before.

    Raises:
        StepError: an input has no rows for it yet.
    """
    block = cast("Feature", context.block)
    tables = {}
    for name, join in block.from_.items():
        tables[name] = read_input(
            context.project,
            block,
            name,
            context.partition_key,
            history=join.as_of is not None,
            reach=join.reach,
        )
    return tables


def feature_rows(
    context: StepContext, tables: Mapping[str, Table], session: duckdb.DuckDBPyConnection
) -> Made:
    """The rows of a feature, computed when they are read.

    Args:
        tables: the inputs by name.
        session: where joins and SQL are computed.

    Raises:
        StepError: a join or the SQL is wrong, or the function fails.
    """
    project, block = context.project, cast("Feature", context.block)
    joined_inputs = {name: f"liminal_input_{name}" for name, j in block.from_.items() if j.joined}
    views = {**joined_inputs, block.spine: f"liminal_input_{block.spine}"}
    register(session, {view: tables[name] for name, view in views.items()})
    joined = join_inputs(context, session, views[block.spine], joined_inputs)
    with engine_errors("join the inputs", location=project.locate(block, "from", key=True)):
        spine = session.sql(joined.sql)
    rest = {name: tables[name] for name, join in block.from_.items() if not join.joined}
    rest[block.spine] = Table(block.spine, value=_ordered(block, spine))
    if block.python:
        at = project.locate(block, "python")
        return Made(call_function(project, block.python, rest, context=context, location=at))
    if not block.sql:
        lineage = {column: (source,) for column, source in joined.columns.items()}
        return Made(_ordered(block, spine), lambda: lineage)
    spine.create_view(block.spine)
    register(session, {name: table for name, table in rest.items() if name != block.spine})
    made = query_over(context, session, rest, block.sql, "sql")
    lineage_of = made.lineage
    return Made(_ordered(block, made.rows), lambda: _through(lineage_of(), block.spine, joined))


def _ordered(block: Feature, rows: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Rows by moment and entity: joins leave them in any order, and what is learned from rows in
    another order isn't the same."""
    keys = [*([block.timestamp] if block.timestamp else []), *block.entity]
    known = [identifier(key) for key in keys if key in rows.columns]
    return rows.order(", ".join(known)) if known else rows


def _through(lineage: ColumnLineage, spine: str, joined: Joined) -> ColumnLineage:
    """The lineage of a query over the joined spine, back to the inputs."""
    return {
        column: [
            joined.columns.get(name, (source, name)) if source == spine else (source, name)
            for source, name in made_of
        ]
        for column, made_of in lineage.items()
    }


def check_keys(project: Project, block: Feature, columns: list[str]) -> None:
    """Checks that the rows of a feature have their entity and timestamp.

    Raises:
        StepError: one of the columns isn't there.
    """
    keys = [("entity", name) for name in block.entity]
    keys += [("timestamp", block.timestamp)] if block.timestamp else []
    for key, name in keys:
        if name not in columns:
            raise StepError(
                f"the rows have no {key} column {name!r}",
                location=project.locate(block, key),
                hint=did_you_mean(name, columns) or f"the columns are {', '.join(columns)}",
            )
