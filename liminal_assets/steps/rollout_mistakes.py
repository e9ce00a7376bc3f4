"""What is wrong with rollouts and takes stored rows or scikit-learn's metrics to know."""

from __future__ import annotations

from collections.abc import Iterator

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Diagnostic, closest, did_you_mean
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.identity import identifying_columns
from liminal_assets.storage.tables import TableStore

__all__ = ["rollout_mistakes"]


def rollout_mistakes(project: Project) -> Iterator[Diagnostic]:
    """Slices that are no inputs of the model, and metrics that there aren't."""
    for deployment in project.spec.deployments:
        model = project.blocks.get(deployment.model)
        if isinstance(model, Model):
            if deployment.rollout.slices:
                yield from _slices(project, deployment, model)
            if deployment.rollout.rollback_on.metric:
                yield from _metric(project, deployment, model)


def _slices(project: Project, deployment: Deployment, model: Model) -> Iterator[Diagnostic]:
    feature = project.blocks.get(model.features)
    never = {model.target, *model.columns.drop, *identifying_columns(feature)}
    listed = {*model.columns.numeric, *model.columns.categorical, *model.columns.passthrough}
    store = TableStore(project)
    stored = set(store.read(model.features).schema.names) if store.exists(model.features) else None
    declared = set(feature.columns) if isinstance(feature, Feature) else set()
    known = ((stored if stored is not None else declared) | listed) - (never - listed)
    for index, column in enumerate(deployment.rollout.slices):
        if column in known:
            continue
        hint = did_you_mean(column, known)
        certain = column in never or stored is not None
        if not certain and closest(column, known) is None:
            # before the feature is made its columns aren't all known
            continue
        yield Diagnostic(
            project.locate(deployment, "rollout", "slices", index),
            "unknown-column",
            f"{column!r} is no input of {model.name}",
            hint,
        )


def _metric(project: Project, deployment: Deployment, model: Model) -> Iterator[Diagnostic]:
    from liminal_assets.steps.metrics import UnknownMetricError, metric_of

    try:
        metric_of(str(deployment.rollout.rollback_on.metric), model.task)
    except UnknownMetricError as error:
        at = project.locate(deployment, "rollout", "rollback_on", "metric")
        yield Diagnostic(at, "unknown-metric", error.message, error.hint)
