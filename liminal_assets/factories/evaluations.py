"""The evaluation of a model's newest candidate, with the gate's blocking checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.factories.common import StepEvents, asset_key, asset_spec, step_asset
from liminal_assets.factories.reports import check_result, check_spec, metadata_of
from liminal_assets.factories.tracking import (
    ModelTracking,
    TrackingResource,
    actor_of,
    candidate_version,
    dagster_url,
    functions_of,
    reference_table,
)
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.report import Outcome
from liminal_assets.steps.rules import rule_names, rule_sentence

if TYPE_CHECKING:
    from liminal_assets.storage.model_version import ModelVersion

__all__ = ["evaluation_asset"]


def evaluation_asset(
    project: Project, model: Model, resource: TrackingResource
) -> dg.AssetsDefinition:
    """The asset ``m__evaluation``: a report, and each rule of ``validate`` as a blocking check."""
    name = f"{model.model}__evaluation"
    spec = asset_spec(
        project,
        model,
        name,
        group="evaluate",
        deps=[model.model],
        kinds=["scikitlearn", "mlflow"],
        functions=functions_of(model),
        description=f"How good the newest candidate of {model.model} is on rows held out, and "
        "whether it may be deployed.",
    )
    checks = [
        check_spec(project, name, check, description=rule_sentence(rule))
        for check, rule in rule_names(model)
    ]

    def step(context: dg.AssetExecutionContext) -> StepEvents:
        tracking: ModelTracking = getattr(context.resources, resource[0])
        yield from _judge(project, model, context, tracking)

    return step_asset(
        project, model, step, specs=[spec], checks=checks, resource_defs=dict([resource])
    )


def _judge(
    project: Project, model: Model, context: dg.AssetExecutionContext, tracking: ModelTracking
) -> StepEvents:
    from liminal_assets.steps.evaluate import evaluate
    from liminal_assets.steps.record import candidate_of, log_evaluation
    from liminal_assets.steps.validate import reasons, validate
    from liminal_assets.storage.registry import ModelRegistry
    from liminal_assets.storage.tables import TableStore

    name = f"{model.model}__evaluation"
    registry = ModelRegistry(project)
    version = candidate_version(registry.versions(model.model), context.run_id, model, project)
    champion = registry.champion(model.model)
    if champion and champion.version == version.version:
        # evaluated anew: it competes with the one that it replaced, or none
        champion = None
    with tracking.run(context) as run:
        pipeline = registry.load(version)
        reference = TableStore(project).read(reference_table(model.model), [version.partition])
        candidate, sample = candidate_of(project, model, version, pipeline, reference.to("pandas"))
        evaluation = evaluate(candidate, project=project)
        outcomes = validate(
            candidate,
            evaluation,
            champion=registry.load(champion) if champion and _compares(model) else None,
            champion_name=f"version {champion.version}" if champion else "",
            reload=lambda: registry.load(version),
            sample=sample,
            project=project,
        )
        log_evaluation(project, version, evaluation, outcomes)
        failed = reasons(outcomes)
        evidence = _evidence(evaluation.metrics, outcomes, context, version)
        if failed:
            registry.reject(version, failed, evidence=evidence, actor=actor_of(context))
            run.status = "FAILED"
        else:
            registry.accept(version)
    for outcome in outcomes:
        yield check_result(project, name, outcome)
    yield dg.MaterializeResult(
        asset_key=asset_key(project, name),
        data_version=dg.DataVersion(f"{version.digest}-{_digest(failed)}"),
        metadata=metadata_of(
            {
                **evaluation.metadata(),
                "version": version.version,
                "champion": champion.version if champion else None,
                "validation": "failed" if failed else "passed",
                "reasons": failed or None,
                "mlflow_run": dg.MetadataValue.url(run.url),
            }
        ),
    )
    if failed:
        raise _rejected(project, model, version, champion, outcomes)


def _compares(model: Model) -> bool:
    return any(rule.beats_champion_by is not None for rule in model.validate_)


def _rejected(
    project: Project,
    model: Model,
    version: ModelVersion,
    champion: ModelVersion | None,
    outcomes: Sequence[Outcome],
) -> StepError:
    """Why the run stops here, in one message."""
    failing = [outcome for outcome in outcomes if outcome.blocks]
    said = "; ".join(f"{outcome.description}" for outcome in failing)
    stays = f"version {champion.version} stays" if champion else "there is no champion yet"
    names = [name for name, _ in rule_names(model)]
    index = names.index(failing[0].name)
    return StepError(
        f"version {version.version} of {model.model} did not pass {len(failing)} of "
        f"{len(outcomes)} rules and is not deployed: {said}",
        location=project.locate(model, "validate", index),
        hint=f"{stays}; the candidate is kept in MLflow with its report",
    )


def _evidence(
    metrics: Mapping[str, float],
    outcomes: Sequence[Outcome],
    context: dg.AssetExecutionContext,
    version: ModelVersion,
) -> dict[str, Any]:
    return {
        "metrics": dict(metrics),
        "rules": [
            {"rule": outcome.name, "passed": outcome.passed, "said": outcome.description}
            for outcome in outcomes
        ],
        "mlflow_run": version.run_id,
        "dagster_run": context.run_id,
        "dagster_url": dagster_url(context.run_id),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8] if text else "passed"
