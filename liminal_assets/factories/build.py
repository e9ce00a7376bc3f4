"""A project → Dagster :class:`~dagster.Definitions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from liminal_assets.apache.projects import projects_at
from liminal_assets.execution.memory import collection_paused
from liminal_assets.execution.steps import steps_executor
from liminal_assets.factories.datasets import dataset_asset
from liminal_assets.factories.deployments import deployment_assets
from liminal_assets.factories.features import feature_asset
from liminal_assets.factories.metrics import metrics_sensor
from liminal_assets.factories.models import model_assets
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.factories.pipeline_schedules import once_sensor, pipeline_schedule
from liminal_assets.factories.pipelines import pipeline_assets, pipeline_job, pipelines_of
from liminal_assets.factories.schedules import schedule
from liminal_assets.factories.sensors import (
    alert_sensor,
    automation_sensor,
    retraining_sensor,
)
from liminal_assets.language.loading import Project

__all__ = ["build_definitions"]

_Jobs = Mapping[str, UnresolvedAssetJobDefinition]


def build_definitions(project: Project | Path | str = ".") -> dg.Definitions:
    """Everything that a project declares, as Dagster objects.

    Args:
        project: a project, its folder or its ``liminal.yml``. A folder of several of Apache
            Liminal's files is all of them.

    Raises:
        InvalidProjectError: everything that is wrong with the file, with positions.
    """
    with collection_paused():
        found = [project] if isinstance(project, Project) else projects_at(project)
        return dg.Definitions.merge(*map(_definitions, found))


def _definitions(project: Project) -> dg.Definitions:
    jobs = {
        pipeline.name: pipeline_job(pipeline, project=project) for pipeline in pipelines_of(project)
    }
    return dg.Definitions(
        assets=list(_assets(project)),
        jobs=list(jobs.values()),
        sensors=list(_sensors(project, jobs)),
        schedules=list(_schedules(project, jobs)),
        executor=steps_executor,
    )


def _assets(project: Project) -> Iterator[dg.AssetsDefinition]:
    spec = project.spec
    for dataset in spec.datasets:
        yield dataset_asset(dataset, project=project)
    for feature in spec.features:
        yield feature_asset(feature, project=project)
    for model in spec.models:
        yield from model_assets(model, project=project)
    for deployment in spec.deployments:
        yield from deployment_assets(deployment, project=project)
    for monitor in spec.monitors:
        yield monitor_asset(monitor, project=project)
    for pipeline in pipelines_of(project):
        yield from pipeline_assets(pipeline, project=project)


def _schedules(project: Project, jobs: _Jobs) -> Iterator[dg.ScheduleDefinition]:
    for spec in project.spec.schedules:
        yield schedule(spec, project=project)
    for pipeline in pipelines_of(project):
        if found := pipeline_schedule(pipeline, jobs[pipeline.name], project=project):
            yield found


def _sensors(project: Project, jobs: _Jobs) -> Iterator[dg.SensorDefinition]:
    for pipeline in pipelines_of(project):
        if found := once_sensor(pipeline, jobs[pipeline.name], project=project):
            yield found
    for monitor in project.spec.monitors:
        if monitor.policy:
            yield retraining_sensor(monitor, project=project)
    for alert in project.spec.alerts:
        yield alert_sensor(alert, project=project)
    if metrics := metrics_sensor(project):
        yield metrics
    if automation := automation_sensor(project):
        yield automation
