"""From a SQL query to a monitored, self-refreshing model: ``liminal.yml`` on Dagster.

>>> import liminal_assets as la
>>> project = la.load_project("examples/flights")
>>> definitions = la.build_definitions(project)

Every block has a factory that takes a spec or keywords and returns plain Dagster objects, and
``la.steps`` holds what the blocks do, free of Dagster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liminal_assets import apache, steps
    from liminal_assets.component import LiminalProject
    from liminal_assets.errors import StepError
    from liminal_assets.factories.build import build_definitions
    from liminal_assets.factories.checks import expectation_checks
    from liminal_assets.factories.datasets import dataset_asset
    from liminal_assets.factories.deployments import deployment_assets
    from liminal_assets.factories.features import feature_asset
    from liminal_assets.factories.io_manager import TableIOManager
    from liminal_assets.factories.models import model_assets
    from liminal_assets.factories.monitors import monitor_asset
    from liminal_assets.factories.schedules import schedule
    from liminal_assets.factories.sensors import alert_sensor, retraining_sensor
    from liminal_assets.language.diagnostics import InvalidProjectError
    from liminal_assets.language.loading import Project, load_project

__all__ = [
    "InvalidProjectError",
    "LiminalProject",
    "Project",
    "StepError",
    "TableIOManager",
    "alert_sensor",
    "apache",
    "build_definitions",
    "dataset_asset",
    "deployment_assets",
    "expectation_checks",
    "feature_asset",
    "load_project",
    "model_assets",
    "monitor_asset",
    "retraining_sensor",
    "schedule",
    "steps",
]

_HOMES = {
    "InvalidProjectError": "language.diagnostics",
    "LiminalProject": "component",
    "Project": "language.loading",
    "StepError": "errors",
    "TableIOManager": "factories.io_manager",
    "alert_sensor": "factories.sensors",
    "build_definitions": "factories.build",
    "dataset_asset": "factories.datasets",
    "deployment_assets": "factories.deployments",
    "expectation_checks": "factories.checks",
    "feature_asset": "factories.features",
    "load_project": "language.loading",
    "model_assets": "factories.models",
    "monitor_asset": "factories.monitors",
    "retraining_sensor": "factories.sensors",
    "schedule": "factories.schedules",
}


def __getattr__(name: str) -> Any:
    # imported on first use, so that a step or the command pays for nothing else
    if name in ("apache", "steps"):
        return import_module(f"liminal_assets.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"liminal_assets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
