"""Deployments → assets: a champion in use, as a server or as batch scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from liminal_assets.factories.common import (
    StepEvents,
    asset_key,
    asset_spec,
    partition_keys,
    project_of,
    spec_of,
    step_asset,
)
from liminal_assets.factories.materializations import Materializations
from liminal_assets.factories.partitions import input_dep, partitions_definition
from liminal_assets.factories.reports import metadata_of
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project

__all__ = ["deployment_assets"]


def deployment_assets(
    spec: Deployment | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    **keywords: Any,
) -> list[dg.AssetsDefinition]:
    """The asset of a deployment: a server that proved itself, or the scores of a feature's rows.

    >>> deployment_assets(deployment="late_api", model="late", serve={"port": 8080})

    Args:
        spec: the deployment; or ``keywords`` as in YAML.
        project: the project, or the name of one of its own.

    Raises:
        ValueError: the keywords make no deployment.
    """
    block = spec_of(Deployment, spec, **keywords)
    project = project_of(project, block, "deployments")
    return [_batch_asset(project, block) if block.batch else _server_asset(project, block)]


def _champion(project: Project, block: Deployment) -> dg.AssetKey:
    return asset_key(project, f"{block.model}__champion")


def _server_asset(project: Project, block: Deployment) -> dg.AssetsDefinition:
    target = block.serve.target if block.serve else "local"
    spec = asset_spec(
        project,
        block,
        block.name,
        group="deploy",
        deps=[_champion(project, block)],
        kinds=["rest", *([target] if target != "local" else [])],
        description=f"The champion of {block.model} behind a REST endpoint.",
    )

    def step(context: dg.AssetExecutionContext) -> StepEvents:
        from liminal_assets.steps.deploy import deploy

        deployed = deploy(project, block)
        version = deployed.version
        if warning := deployed.evidence.get("warning"):
            context.log.warning(warning)
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata=metadata_of(
                {
                    "model_version": str(version.version),
                    "mlflow_run": version.run_id,
                    "endpoint": deployed.endpoint,
                    **deployed.evidence,
                }
            ),
            data_version=dg.DataVersion(f"{version.name}-{version.version}"),
        )

    return step_asset(project, block, step, specs=[spec])


def _batch_asset(project: Project, block: Deployment) -> dg.AssetsDefinition:
    source = block.batch.from_ if block.batch else ""
    spec = asset_spec(
        project,
        block,
        block.name,
        group="inference",
        deps=[_champion(project, block), input_dep(project, block, source)],
        kinds=["scikitlearn", "parquet"],
        description=f"Every row of {source} scored by the champion of {block.model}.",
        partitions=partitions_definition(project, block),
        metadata={"dagster/relation_identifier": f"{project.name}.{block.name}"},
    )

    def step(context: dg.AssetExecutionContext) -> StepEvents:
        yield from _score(project, block, spec.key, context)

    return step_asset(project, block, step, specs=[spec])


def _score(
    project: Project, block: Deployment, key: dg.AssetKey, context: dg.AssetExecutionContext
) -> StepEvents:
    from liminal_assets.steps.batch import score_batch
    from liminal_assets.steps.champion import load_champion
    from liminal_assets.steps.deploy import record_live

    keys = partition_keys(context)
    made = Materializations(context, several=len(keys) > 1)
    champion = load_champion(project, block)
    for partition in keys:
        scored = score_batch(project, block, partition, champion)
        told = {
            "dagster/row_count": scored.table.rows,
            "path": dg.MetadataValue.path(scored.published.files[0]),
            **scored.metadata,
        }
        if partition is not None:
            told["dagster/partition_row_count"] = scored.table.rows
        yield from made.add(key, partition, metadata_of(told), scored.data_version)
    record_live(project, block, champion.version, {"partitions": [k for k in keys if k]})
    yield from made.results()
