"""A Dagster IO manager by which a team's own assets read and write a project's tables."""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.language.loading import FILE_NAMES, Project, load_project
from liminal_assets.steps.functions import form_of
from liminal_assets.storage.forms import NotRowsError
from liminal_assets.storage.tables import TableStore

__all__ = ["TableIOManager"]


class TableIOManager(dg.ConfigurableIOManager):
    """Loads a project's datasets, features and scores as what a parameter's annotation asks for.

    Forms are those of user functions: pandas (also without an annotation), Polars (lazy as well),
    Arrow, DuckDB, Ibis, Spark. Of a partitioned asset the partitions that belong to the one being
    made are loaded. What a team's asset returns is kept beside the project's own tables.

    .. code-block:: python

        @dg.asset(ins={"departures": dg.AssetIn(["flights", "departures"])})
        def report(departures: pl.DataFrame) -> None: ...

        defs = dg.Definitions(
            assets=[report, *more],
            resources={"io_manager": la.TableIOManager(project="flights")},
        )
    """

    project: str = "."
    """The project's folder or its ``liminal.yml``; a folder without one keeps the tables of
    factories that are used without a project."""

    def load_input(self, context: dg.InputContext) -> Any:
        """The rows of an upstream asset.

        Raises:
            Failure: it has no rows yet, or the annotation asks for no form of rows.
        """
        project = _project(str(Path(self.project).expanduser().resolve()))
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else None
        annotation = context.dagster_type.typing_type
        asked = inspect.Parameter(
            context.name or "rows", inspect.Parameter.KEYWORD_ONLY, annotation=annotation
        )
        try:
            form = form_of(load_project, asked)
            return TableStore(project).read(_name(project, context.asset_key), partitions).to(form)
        except StepError as error:
            raise dg.Failure(str(error)) from None

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keeps the rows that an asset returned; nothing for None.

        Raises:
            Failure: it returned no rows, or several partitions in one piece.
        """
        if obj is None:
            return
        project = _project(str(Path(self.project).expanduser().resolve()))
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else [None]
        if len(partitions) != 1:
            raise dg.Failure("rows of several partitions at once: run them one by one")
        try:
            store = TableStore(project)
            staged = store.write(_name(project, context.asset_key), partitions[0], obj)
        except (StepError, NotRowsError) as error:
            raise dg.Failure(str(error)) from None
        context.add_output_metadata({"dagster/row_count": staged.rows})


def _name(project: Project, key: dg.AssetKey) -> str:
    """The name of an asset's table: the block's, or that of the whole key for others' assets."""
    first, *rest = key.path
    return "__".join(rest if rest and first == project.name else key.path)


@lru_cache(maxsize=16)
def _project(path: str) -> Project:
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).is_file() for name in FILE_NAMES):
        return Project.of("liminal", folder)
    return load_project(folder)
