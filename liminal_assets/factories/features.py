"""Features → assets: joined inputs, one row per entity and moment, online where asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from liminal_assets.factories.common import project_of, spec_of
from liminal_assets.factories.partitions import input_dep
from liminal_assets.factories.tables import TableRecipe, table_asset
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.features import feature_rows, read_feature_inputs
from liminal_assets.steps.rows import Made
from liminal_assets.steps.sql import is_sql_file
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

__all__ = ["feature_asset"]


def feature_asset(
    spec: Feature | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    **keywords: Any,
) -> dg.AssetsDefinition:
    """The asset of a feature, with its checks.

    >>> feature_asset(
    ...     feature="departure_features",
    ...     **{"from": {"departures": {}, "weather": {"as_of": "scheduled_at", "by": "origin"}}},
    ...     entity="flight_id",
    ...     timestamp="scheduled_at",
    ... )

    Args:
        spec: the feature; or ``keywords`` as in YAML.
        project: the project, or the name of one of its own.

    Raises:
        ValueError: the keywords make no feature.
    """
    block = spec_of(Feature, spec, **keywords)
    project = project_of(project, block, "features")
    recipe = TableRecipe(
        group="prepare",
        open=_open,
        kinds=["python"] if block.python else ["duckdb", *(["sql"] if block.sql else [])],
        deps=[
            *(
                input_dep(project, block, name, history=join.as_of is not None, reach=join.reach)
                for name, join in block.from_.items()
            ),
            *(input_dep(project, block, name) for name in project.awaited(block)),
        ],
        functions=[block.python] if block.python else [],
        files=[block.sql.strip()] if block.sql and is_sql_file(block.sql) else [],
        published=_publish_online if block.online else lambda context, rows: {},
    )
    return table_asset(project, block, recipe)


@contextmanager
def _open(context: StepContext, session: duckdb.DuckDBPyConnection) -> Iterator[Made]:
    yield feature_rows(context, read_feature_inputs(context), session)


def _publish_online(context: StepContext, rows: Table) -> Mapping[str, Any]:
    from liminal_assets.storage.online import OnlineStore
    from liminal_assets.storage.specifications import feature_specification

    block = cast("Feature", context.block)
    specification = feature_specification(context.project, block)
    written = OnlineStore(context.project).write(
        block, rows, specification=specification, source=context.partition_key or ""
    )
    return {"online_entities": written, "online_specification": specification}
