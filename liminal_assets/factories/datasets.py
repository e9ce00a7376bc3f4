"""Datasets → assets: fetched from outside or cleaned from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from liminal_assets.factories.common import project_of, spec_of
from liminal_assets.factories.partitions import input_dep
from liminal_assets.factories.tables import TableRecipe, table_asset
from liminal_assets.language.datasets import Clean, Dataset, Fetch
from liminal_assets.language.loading import Project
from liminal_assets.steps.clean import clean_rows
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.fetch import open_source, source_version
from liminal_assets.steps.inputs import read_inputs
from liminal_assets.steps.rows import Made
from liminal_assets.steps.sql import is_sql_file

if TYPE_CHECKING:
    import duckdb

__all__ = ["dataset_asset"]


def dataset_asset(
    spec: Dataset | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    **keywords: Any,
) -> dg.AssetsDefinition:
    """The asset of a dataset, with its quarantine and its checks.

    >>> dataset_asset(dataset="weather", fetch={"file": "data/weather.parquet"})

    Args:
        spec: the dataset; or ``keywords`` as in YAML.
        project: the project, or the name of one of its own.

    Raises:
        ValueError: the keywords make no dataset.
    """
    block = spec_of(Dataset, spec, **keywords)
    project = project_of(project, block, "datasets")
    if block.fetch:
        recipe = _fetch_recipe(project, block, block.fetch)
    else:
        recipe = _clean_recipe(project, block, cast("Clean", block.clean))
    return table_asset(project, block, recipe)


def _fetch_recipe(project: Project, block: Dataset, spec: Fetch) -> TableRecipe:
    return TableRecipe(
        group="fetch",
        open=_open_fetch,
        kinds=_fetch_kinds(project, spec),
        deps=[input_dep(project, block, name) for name in project.awaited(block)],
        functions=[spec.python] if spec.python else [],
        files=[spec.sql.strip()] if spec.sql and is_sql_file(spec.sql) else [],
        private=any("://" in name for name in spec.file or ()),
        source_version=lambda partition: source_version(project, block, partition),
    )


@contextmanager
def _open_fetch(context: StepContext, session: duckdb.DuckDBPyConnection) -> Iterator[Made]:
    with open_source(context, session) as rows:
        yield Made(rows)


def _fetch_kinds(project: Project, spec: Fetch) -> list[str]:
    if spec.python:
        return ["python"]
    if spec.file:
        names = [name.rpartition(".")[2].lower() for name in spec.file]
        known = next((name for name in names if name in ("csv", "json", "parquet")), "file")
        return [spec.format or known]
    schemes = {c.connection: c.url.partition("://")[0] for c in project.spec.connections}
    scheme = schemes.get(spec.connection or next(iter(schemes), ""), "")
    return ["sql", *([scheme] if scheme.isalnum() else [])]


def _clean_recipe(project: Project, block: Dataset, spec: Clean) -> TableRecipe:
    return TableRecipe(
        group="clean",
        open=_open_clean,
        kinds=["python"] if spec.python else ["duckdb", *(["sql"] if spec.sql else [])],
        deps=[input_dep(project, block, name) for name in (*spec.from_, *project.awaited(block))],
        functions=[spec.python] if spec.python else [],
        files=[spec.sql.strip()] if spec.sql and is_sql_file(spec.sql) else [],
    )


@contextmanager
def _open_clean(context: StepContext, session: duckdb.DuckDBPyConnection) -> Iterator[Made]:
    block = cast("Dataset", context.block)
    tables = read_inputs(context.project, block, block.inputs, context.partition_key)
    yield clean_rows(context, tables, session)
