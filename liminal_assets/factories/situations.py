"""What a retraining policy must know besides the windows, looked up in Dagster, the journal, the
tables and the servers' traffic plans."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from liminal_assets.factories.common import asset_key
from liminal_assets.factories.models import TRAINED_UNTIL
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import moments_of
from liminal_assets.language.retraining import Retrain
from liminal_assets.steps.decision import Promotion, Situation
from liminal_assets.steps.retraining import learning_partitions, looks_at_partitions, promotion_of

__all__ = ["MODEL_TAG", "model_name", "situation_of"]

MODEL_TAG = "liminal/model"
_VERSIONS_AT_ONCE = 50


def model_name(project: Project, model: str) -> str:
    """A model's name in tags: ``<project>.<model>``."""
    return f"{project.name}.{model}"


def situation_of(
    instance: dg.DagsterInstance, project: Project, monitor: Monitor, policy: Retrain
) -> Situation:
    """What is the case now."""
    cut = learning_partitions(project, monitor, policy.model)
    return Situation(
        busy=_busy(instance, project, policy.model),
        learned=_learned(instance, project, cut, policy.model),
        partitions=_partitions(project, cut, policy.model) if looks_at_partitions(policy) else {},
        promotion=_promotion(project, policy.model) if policy.rollback else None,
        canary=_canary(project, policy.model) if policy.rollback else None,
        zone=ZoneInfo(cut.timezone if cut else "UTC"),
    )


def _busy(instance: dg.DagsterInstance, project: Project, model: str) -> str | None:
    """The run that is training the model or waits to, in words."""
    key, name = asset_key(project, model), model_name(project, model)
    for run in instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        if run.tags.get(MODEL_TAG) == name or key in (run.asset_selection or ()):
            return f"run {run.run_id[:8]} is training {model} ({run.status.value.lower()})"
    return None


def _learned(
    instance: dg.DagsterInstance, project: Project, cut: Partitions | None, model: str
) -> dict[str, datetime]:
    """By model version, the end of the partitions that it learned from."""
    if cut is None:
        return {}
    records = instance.fetch_materializations(asset_key(project, model), _VERSIONS_AT_ONCE).records
    learned: dict[str, datetime] = {}
    for record in records:
        materialization = record.asset_materialization
        said = materialization.metadata if materialization else {}
        if "version" in said and TRAINED_UNTIL in said:
            # a model may learn from a table that is cut otherwise
            with suppress(ValueError):
                _, end = moments_of(cut, str(said[TRAINED_UNTIL].value))
                learned.setdefault(str(said["version"].value), end)
    return learned


def _partitions(project: Project, cut: Partitions | None, model: str) -> dict[str, datetime]:
    """The ends of the feature's partitions that are there and over."""
    from liminal_assets.storage.tables import TableStore

    block = project.blocks.get(model)
    if cut is None or not isinstance(block, Model):
        return {}
    now = datetime.now(timezone.utc)
    ends: dict[str, datetime] = {}
    for key in TableStore(project).partitions(block.features):
        # a feature whose partitions were cut otherwise before still has its old files
        with suppress(ValueError):
            ends[key] = moments_of(cut, key)[1]
    return {key: end for key, end in ends.items() if end <= now}


def _promotion(project: Project, model: str) -> Promotion | None:
    from liminal_assets.storage.journal import Journal

    return promotion_of(Journal(project, model).decisions())


def _canary(project: Project, model: str) -> str | None:
    """The server that is trying a version of the model, in words."""
    from liminal_assets.serving.control.plan import read_plan
    from liminal_assets.serving.releases.folders import ServingFolders

    for block in project.spec.deployments:
        if block.model == model and block.serve:
            plan = read_plan(ServingFolders.of(project.state, block.name).plan)
            if plan.candidate:
                return f"{block.name} is trying version {plan.candidate.partition('-')[0]}"
    return None
