"""Runs of assets in process, and what they left behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from liminal_assets.factories.datasets import dataset_asset
from liminal_assets.factories.features import feature_asset
from liminal_assets.language.loading import Project, load_project

__all__ = ["Run", "run", "table_assets", "write_project"]


def write_project(folder: Path, yaml: str, **files: str) -> Project:
    """A project of a YAML text and other files (``fns="…"`` is ``fns.py``)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liminal.yml").write_text(yaml)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return load_project(folder)


def table_assets(project: Project) -> list[dg.AssetsDefinition]:
    """The assets of a project's datasets and features."""
    datasets = [dataset_asset(spec, project=project) for spec in project.spec.datasets]
    return datasets + [feature_asset(spec, project=project) for spec in project.spec.features]


@dataclass(frozen=True)
class Run:
    """What one run told Dagster."""

    succeeded: bool
    materialized: dict[tuple[str, str | None], dg.AssetMaterialization] = field(repr=False)
    checks: dict[tuple[str, str], dg.AssetCheckEvaluation] = field(repr=False)
    failures: list[str]

    @property
    def failure(self) -> str:
        """The message of the only failure."""
        (message,) = self.failures
        return message

    def metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """The metadata of a materialisation, as plain values."""
        found = self.materialized[asset, partition].metadata
        return {key: value.value for key, value in found.items()}


def run(
    project: Project,
    selection: str = "*",
    *,
    instance: dg.DagsterInstance | None = None,
    partition: str | None = None,
    partitions: tuple[str, str] | None = None,
    assets: Iterable[Any] | None = None,
) -> Run:
    """Materialises datasets and features of a project in this process.

    Args:
        selection: Dagster's asset selection, by block name.
        partitions: the first and the last partition of a range, made in one run.
    """
    start, end = partitions or (None, None)
    tags = (
        {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
        if start and end
        else {}
    )
    result = dg.materialize(
        list(assets or table_assets(project)),
        selection=selection,
        instance=instance or dg.DagsterInstance.ephemeral(),
        partition_key=partition,
        tags=tags,
        raise_on_error=False,
    )
    materialized, checks, failures = {}, {}, []
    for event in result.all_events:
        if event.is_step_materialization:
            found = event.step_materialization_data.materialization
            key = (found.asset_key.path[-1], found.partition)
            assert key not in materialized, f"{key} was materialised twice"
            materialized[key] = found
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            evaluation = event.asset_check_evaluation_data
            checks[evaluation.asset_key.path[-1], evaluation.check_name] = evaluation
        elif event.is_step_failure:
            told = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            failures.append(told.description if told else f"not ours: {error}")
    return Run(result.success, materialized, checks, failures)
