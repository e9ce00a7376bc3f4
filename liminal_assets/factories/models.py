"""Models: three assets each, the candidate, its evaluation with the gate, and the champion."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.factories.common import (
    StepEvents,
    asset_key,
    asset_spec,
    named_key,
    project_of,
    spec_of,
    step_asset,
)
from liminal_assets.factories.evaluations import evaluation_asset
from liminal_assets.factories.reports import metadata_of
from liminal_assets.factories.tracking import (
    RUN_TAG,
    ModelTracking,
    TrackingResource,
    actor_of,
    candidate_version,
    cause_of,
    functions_of,
    reference_table,
    tracking_resource,
)
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.report import Records

if TYPE_CHECKING:
    from liminal_assets.steps.train import Trained
    from liminal_assets.storage.model_version import ModelVersion

__all__ = ["TRAINED_UNTIL", "UNTIL_TAG", "model_assets", "until_of"]

UNTIL_TAG = "liminal/until"
"""Tag of a run: the last partition that a model may learn from."""
TRAINED_UNTIL = "trained_until"
"""Metadata of a candidate: the last partition that it learned from."""

_PARTITION_TAGS = ("dagster/asset_partition_range_end", "dagster/partition")


def model_assets(
    spec: Model | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    **keywords: Any,
) -> list[dg.AssetsDefinition]:
    """The assets of a model: ``m`` registers a candidate, ``m__evaluation`` reports on it and
    holds it against the rules, ``m__champion`` moves the alias to it.

    >>> assets = la.model_assets(
    ...     model="churn", features="churn_features", target="churned",
    ...     estimator="sklearn.linear_model.LogisticRegression",
    ...     validate=[{"metric": "roc_auc", "at_least": 0.7}], project="shop",
    ... )
    >>> defs = dg.Definitions(assets=assets)

    Args:
        spec: the block, or its keys as keywords.
        project: the project or its name, the first part of the asset keys.
    """
    model = spec_of(Model, spec, **keywords)
    owner = project_of(project, model, "models")
    resource = tracking_resource(owner, model)
    return [
        _candidate(owner, model, resource),
        evaluation_asset(owner, model, resource),
        _champion(owner, model),
    ]


def until_of(tags: Mapping[str, str]) -> str | None:
    """The last partition that a model may learn from in a run with these tags."""
    return next((tags[tag] for tag in (UNTIL_TAG, *_PARTITION_TAGS) if tags.get(tag)), None)


def _candidate(project: Project, model: Model, resource: TrackingResource) -> dg.AssetsDefinition:
    functions = functions_of(model)
    spec = asset_spec(
        project,
        model,
        model.model,
        group="train",
        deps=[model.features, *(named_key(project, name) for name in project.awaited(model))],
        kinds=["scikitlearn", "mlflow"],
        functions=functions,
        description=model.description or _described(model),
    )

    def step(context: dg.AssetExecutionContext) -> StepEvents:
        tracking: ModelTracking = getattr(context.resources, resource[0])
        yield _train(project, model, context, tracking, spec.code_version or "")

    return step_asset(project, model, step, specs=[spec], resource_defs=dict([resource]))


def _train(
    project: Project,
    model: Model,
    context: dg.AssetExecutionContext,
    tracking: ModelTracking,
    code_version: str,
) -> dg.MaterializeResult[Any]:
    from liminal_assets.integrations.mlflow import git_commit
    from liminal_assets.steps.learning import learning_rows, read_features
    from liminal_assets.steps.lookups import learned_features
    from liminal_assets.steps.record import log_training
    from liminal_assets.steps.train import train
    from liminal_assets.storage.registry import ModelRegistry
    from liminal_assets.storage.tables import TableStore

    until = until_of(context.run.tags)
    table, partitions = read_features(project, model, until)
    learned = learned_features(project, model, partitions, context.log.warning)
    with tracking.run(context) as run:
        rows = learning_rows(project, model, table, partitions=partitions, until=until)
        context.log.info(f"{model.model} learns from {len(rows.frame):,} rows of {model.features}")
        trained = train(rows, model, project=project)
        commit = git_commit(project.root)
        tags = {
            "liminal.project": project.name,
            "liminal.model": model.model,
            "liminal.code_version": code_version,
            "liminal.data_version": rows.version,
            "liminal.trained_until": until or (partitions[-1] if partitions else ""),
            RUN_TAG: context.run_id,
            **learned,
            **cause_of(context.run.tags),
            **({"mlflow.source.git.commit": commit} if commit else {}),
        }
        started = time.perf_counter()
        logged = log_training(project, run.run_id, trained, tags)
        registry = ModelRegistry(project)
        version = registry.register(
            model.model,
            logged.source,
            run_id=run.run_id,
            model_id=logged.model_id,
            tags={name: value for name, value in tags.items() if not name.startswith("mlflow.")},
            description=model.description,
        )
        seconds = time.perf_counter() - started
        # readers of the alias find the reference already there
        reference = trained.reference()
        TableStore(project).write(reference_table(model.model), version.partition, reference)
        registry.challenge(version)
    context.log.info(f"{model.model} version {version.version} is registered")
    return dg.MaterializeResult(
        asset_key=asset_key(project, model.model),
        data_version=dg.DataVersion(version.digest or str(version.version)),
        metadata=metadata_of(
            {
                **_told(trained),
                "version": version.version,
                "mlflow_run": dg.MetadataValue.url(run.url),
                TRAINED_UNTIL: tags["liminal.trained_until"] or None,
                "data_version": rows.version,
                "logging_seconds": round(seconds, 3),
            }
        ),
    )


def _told(trained: Trained) -> dict[str, Any]:
    """What people see of a training."""
    from liminal_assets.steps.plots import search_plot

    told: dict[str, Any] = {
        **trained.metrics,
        "dagster/row_count": trained.learned_from,
        "learned_from_rows": trained.learned_from,
        "held_out_rows": len(trained.held_out),
        "rows_without_target": trained.rows.left_out,
        "fit_seconds": round(trained.seconds, 3),
        "params": {name: str(value) for name, value in trained.params.items()},
        "columns": {
            "numeric": list(trained.roles.numeric),
            "categorical": list(trained.roles.categorical),
            "passthrough": list(trained.roles.passthrough),
        },
    }
    if trained.folds:
        told["cross_validation"] = Records(
            [
                {"fold": fold + 1, **{name: values[fold] for name, values in trained.folds.items()}}
                for fold in range(len(next(iter(trained.folds.values()))))
            ]
        )
    if search := trained.search:
        told["search"] = search_plot(search)
        told["best_trials"] = search.best()
        told["trials"] = len(search.trials)
        told["trials_resumed"] = search.resumed
    return told


def _champion(project: Project, model: Model) -> dg.AssetsDefinition:
    name = f"{model.model}__champion"
    spec = asset_spec(
        project,
        model,
        name,
        group="deploy",
        deps=[f"{model.model}__evaluation"],
        kinds=["mlflow"],
        description=f"The version of {model.model} in use: the alias 'champion' of the registry.",
    )

    def step(context: dg.AssetExecutionContext) -> StepEvents:
        yield _promote(project, model, context)

    return step_asset(project, model, step, specs=[spec])


def _promote(
    project: Project, model: Model, context: dg.AssetExecutionContext
) -> dg.MaterializeResult[Any]:
    from liminal_assets.storage.registry import ModelRegistry

    registry = ModelRegistry(project)
    versions = registry.versions(model.model)
    candidate = candidate_version(versions, context.run_id, model, project)
    before = registry.champion(model.model)
    taken_back = registry.taken_back(candidate)
    if candidate.validated and before and taken_back:
        champion, reason = before, f"version {candidate.version} was taken back: {taken_back}"
    elif candidate.validated:
        reason = _promotion_reason(model, candidate, context)
        champion = registry.promote(
            model.model,
            candidate,
            reason,
            {
                "metrics": dict(candidate.metrics),
                "mlflow_run": candidate.run_id,
                "dagster_run": context.run_id,
                **cause_of(context.run.tags),
            },
            actor_of(context),
        )
    elif before is None or candidate.validated is None:
        raise _not_validated(project, model, candidate)
    else:
        # a failed candidate changes nothing: the run that judged it has said so
        champion, reason = before, f"version {candidate.version} did not pass its validation"
    moved = before is None or before.version != champion.version
    context.log.info(
        f"{model.model} version {champion.version} is the champion"
        + ("" if moved else f" as before: {reason}")
    )
    return dg.MaterializeResult(
        asset_key=asset_key(project, f"{model.model}__champion"),
        data_version=dg.DataVersion(champion.digest or str(champion.version)),
        metadata=metadata_of(
            {
                **champion.metrics,
                "version": champion.version,
                "previous": before.version if before else None,
                "moved": moved,
                "reason": reason,
                "mlflow_model": champion.name,
            }
        ),
    )


def _not_validated(project: Project, model: Model, candidate: ModelVersion) -> StepError:
    if candidate.validated is None:
        said, hint = "was not evaluated yet", f"materialise {model.model}__evaluation first"
    else:
        lines = candidate.tags.get("liminal.validation.reasons", "").splitlines()
        said = f"did not pass its validation: {'; '.join(lines)}"
        hint = "there is no champion until a candidate passes"
    return StepError(
        f"version {candidate.version} of {model.model} {said}",
        location=project.locate(model, "validate"),
        hint=hint,
    )


def _promotion_reason(
    model: Model, candidate: ModelVersion, context: dg.AssetExecutionContext
) -> str:
    rules = len(model.validate_)
    passed = f"passed all {rules} rules" if rules > 1 else "passed its rule"
    cause = context.run.tags.get("liminal/cause")
    because = f", trained because {cause}" if cause else ""
    return f"version {candidate.version} {passed if rules else 'has no rules to pass'}{because}"


def _described(model: Model) -> str:
    said = model.estimator or model.python or ""
    name = said.rpartition(".")[2] if model.estimator else said
    return f"{name} that predicts `{model.target}` from {model.features}."
