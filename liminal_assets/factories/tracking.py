"""dagster-mlflow's resource for the assets of one model, made when a step opens it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    from liminal_assets.integrations.mlflow import ActiveRun

__all__ = ["ModelTracking", "dagster_url", "tracking_resource"]


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


def tracking_resource(project: Project, model: Model) -> tuple[str, dg.ResourceDefinition]:
    """The key and definition of a model's resource; the key is its own, so that several projects
    share a code location."""
    tracking = ModelTracking(project, model.model)
    key = f"mlflow__{project.name}__{model.model}"
    return key, dg.ResourceDefinition.hardcoded_resource(tracking, "MLflow, by dagster-mlflow")


def dagster_url(run_id: str) -> str:
    """A run's page in Dagster's UI (``LIMINAL_DAGSTER_URL``; default: that of ``liminal ui``)."""
    base = os.environ.get("LIMINAL_DAGSTER_URL", "http://127.0.0.1:3000")
    return f"{base.rstrip('/')}/runs/{run_id}"
