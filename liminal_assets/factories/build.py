"""A project → Dagster :class:`~dagster.Definitions`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from liminal_assets.execution.memory import collection_paused
from liminal_assets.execution.steps import steps_executor
from liminal_assets.factories.datasets import dataset_asset
from liminal_assets.factories.deployments import deployment_assets
from liminal_assets.factories.features import feature_asset
from liminal_assets.factories.models import model_assets
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.factories.schedules import schedule
from liminal_assets.factories.sensors import (
    alert_sensor,
    automation_sensor,
    retraining_sensor,
)
from liminal_assets.language.loading import Project, load_project

__all__ = ["build_definitions"]


def build_definitions(project: Project | Path | str = ".") -> dg.Definitions:
    """Everything that a project declares, as Dagster objects.

    Args:
        project: a project, its folder or its ``liminal.yml``.

    Raises:
        InvalidProjectError: everything that is wrong with the file, with positions.
    """
    with collection_paused():
        if not isinstance(project, Project):
            project = load_project(project)
        return dg.Definitions(
            assets=list(_assets(project)),
            sensors=list(_sensors(project)),
            schedules=[schedule(spec, project=project) for spec in project.spec.schedules],
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


def _sensors(project: Project) -> Iterator[dg.SensorDefinition]:
    for monitor in project.spec.monitors:
        if monitor.on_breach.retrain:
            yield retraining_sensor(monitor, project=project)
    for alert in project.spec.alerts:
        yield alert_sensor(alert, project=project)
    if automation := automation_sensor(project):
        yield automation
