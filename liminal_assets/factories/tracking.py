"""dagster-mlflow's resource for the assets of one model, made when a step opens it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    from liminal_assets.integrations.mlflow import ActiveRun
    from liminal_assets.storage.model_version import ModelVersion

__all__ = [
    "RUN_TAG",
    "ModelTracking",
    "TrackingResource",
    "actor_of",
    "candidate_version",
    "cause_of",
    "dagster_page",
    "dagster_url",
    "functions_of",
    "reference_table",
    "tracking_resource",
]

RUN_TAG = "liminal.dagster_run"
"""Tag of a model version: the Dagster run that made it."""

TrackingResource = tuple[str, dg.ResourceDefinition]
"""The key of a resource and its definition."""


@dataclass(frozen=True)
class ModelTracking:
    """The MLflow runs of one model. Nothing is imported or opened before :meth:`run`."""

    project: Project
    model: str

    @contextmanager
    def run(
        self, context: dg.AssetExecutionContext, tags: Mapping[str, str] | None = None
    ) -> Iterator[ActiveRun]:
        """The model's MLflow run in this Dagster run; see
        :func:`~liminal_assets.integrations.mlflow.active_run`."""
        from liminal_assets.integrations.mlflow import DagsterRun, active_run

        def alive(run_id: str) -> bool:
            run = context.instance.get_run_by_id(run_id)
            return run is not None and not run.is_finished

        dagster = DagsterRun(
            run_id=context.run_id,
            url=dagster_url(context.run_id),
            log=context.log,
            alive=alive,
            interrupted=(KeyboardInterrupt, DagsterExecutionInterruptedError),
        )
        with active_run(self.project, self.model, dagster, tags) as run:
            yield run


def tracking_resource(project: Project, model: Model) -> TrackingResource:
    """The key and definition of a model's resource; the key is its own, so that several projects
    share a code location."""
    tracking = ModelTracking(project, model.model)
    key = f"mlflow__{project.name}__{model.model}"
    return key, dg.ResourceDefinition.hardcoded_resource(tracking, "MLflow, by dagster-mlflow")


def dagster_url(run_id: str) -> str:
    """A run's page in Dagster's UI (``LIMINAL_DAGSTER_URL``; default: that of ``liminal ui``)."""
    return dagster_page("runs", run_id)


def dagster_page(*path: str) -> str:
    """A page in Dagster's UI."""
    base = os.environ.get("LIMINAL_DAGSTER_URL", "http://127.0.0.1:3000")
    return "/".join([base.rstrip("/"), *path])


def reference_table(model: str) -> str:
    """The table of held-out rows and answers; a partition per version."""
    return f"{model}__reference"


def candidate_version(
    versions: Sequence[ModelVersion], run_id: str, model: Model, project: Project
) -> ModelVersion:
    """The version that this run made, else the newest candidate."""
    made = [version for version in versions if version.tags.get(RUN_TAG) == run_id]
    newest = [version for version in versions if "challenger" in version.aliases]
    for found in (made, newest):
        if found:
            return found[-1]
    raise StepError(
        f"{model.model} has no candidate yet",
        location=project.locate(model),
        hint=f"materialise {model.model} first",
    )


def cause_of(tags: Mapping[str, str]) -> dict[str, str]:
    """What asked for this run: the tags of the sensor or schedule."""
    own = ("liminal/project", "liminal/block")
    others = ("dagster/sensor_name", "dagster/schedule_name")
    return {
        name.replace("/", "."): value
        for name, value in tags.items()
        if name in others or (name.startswith("liminal/") and name not in own)
    }


def actor_of(context: dg.AssetExecutionContext) -> str:
    """Who or what started the run."""
    tags = context.run.tags
    for tag, kind in (("dagster/sensor_name", "sensor"), ("dagster/schedule_name", "schedule")):
        if name := tags.get(tag):
            return f"{kind} {name}"
    return f"Dagster run {context.run_id[:8]}"


def functions_of(model: Model) -> list[str]:
    """The user code that the model depends on."""
    if model.python:
        return [model.python]
    module, _, name = (model.estimator or "").rpartition(".")
    return [f"{module}:{name}"] if module else []
