"""Sensors: a policy asks for a retraining, once; blocks with ``automation`` refresh themselves.

Alerts are in :mod:`liminal_assets.factories.alerting`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import dagster as dg

from liminal_assets.errors import StepError
from liminal_assets.factories.alerting import alert_sensor
from liminal_assets.factories.common import asset_key, project_of, spec_of
from liminal_assets.factories.models import UNTIL_TAG
from liminal_assets.factories.monitors import JUDGEMENT
from liminal_assets.factories.situations import (
    MODEL_TAG,
    model_name,
    situation_of,
)
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.retraining import Retrain
from liminal_assets.steps.decision import Retraining, TakingBack
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.memory import PolicyState, latest
from liminal_assets.steps.policy import decide
from liminal_assets.steps.retraining import partition_to_learn_from

__all__ = [
    "CAUSE_TAG",
    "EVIDENCE_TAG",
    "MODEL_TAG",
    "MONITOR_TAG",
    "WINDOW_TAG",
    "alert_sensor",
    "automation_sensor",
    "retraining_sensor",
]

CAUSE_TAG = "liminal/cause"
"""Why a retraining was asked for, in words."""
MONITOR_TAG = "liminal/monitor"
WINDOW_TAG = "liminal/window"
"""The newest window that it is about."""
EVIDENCE_TAG = "liminal/evidence"
"""Where the proof is: the decision in the monitor's journal."""
_TRIGGERS_TAG = "liminal/triggers"
"""The kinds of reasons: breach, labels, every, fresh."""
_WINDOWS_TAG = "liminal/windows"
"""Every window whose breach it answers, each with its model version."""
_UNTIL_TIME_TAG = "liminal/until_time"
"""The end of the newest window."""

# PostgreSQL indexes tags, and an entry of its index holds 2,700 bytes
_MOST = 800
_BETWEEN = " · "
_EVENTS_AT_ONCE = 500
_RUNS_AT_ONCE = 50
_SECONDS = 30


def retraining_sensor(
    spec: Monitor | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    target: dg.AssetSelection | None = None,
    **keywords: Any,
) -> dg.SensorDefinition:
    """Asks for a retraining when a monitor's policy does, once however often it is evaluated, and
    takes a version back that does worse than the policy allows.

    A retraining trains, evaluates and, if the gate lets it pass, promotes the model of
    ``retrain`` (or ``on_breach.retrain``), and deploys it where it is served. The run's tags say
    why (``liminal/cause``), who saw it (``liminal/monitor``), where (``liminal/window``), the
    proof (``liminal/evidence``) and up to which partition to learn (``liminal/until``). When it
    does nothing it says why.

    >>> la.retraining_sensor(
    ...     monitor="churn_watch", deployment="churn_api", drift={},
    ...     on_breach={"retrain": "churn", "cooldown": "1d"}, project="shop",
    ... )

    Args:
        spec: the monitor; or ``keywords`` as in YAML.
        project: the project, or the name of one of its own.
        target: what a retraining materialises; default: the model's assets.

    Raises:
        ValueError: the keywords make no monitor, or it asks for no retraining.
    """
    block = spec_of(Monitor, spec, **keywords)
    owner = project_of(project, block, "monitors")
    policy = block.policy
    if policy is None:
        raise ValueError(f"the monitor {block.name} doesn't say which model to train again")

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return _evaluate(context, owner, block, policy)

    return dg.SensorDefinition(
        name=f"{owner.name}__{block.name}__retraining",
        evaluation_fn=evaluate,
        asset_selection=target or dg.AssetSelection.assets(*_targets(owner, policy.model)),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Trains {policy.model} again when {block.name} asks for it.",
    )


def _targets(project: Project, model: str) -> list[dg.AssetKey]:
    """The assets of a retraining: the model's and the servers that use it; scores made before
    stay as they are."""
    served = [
        deployment.name
        for deployment in project.spec.deployments
        if deployment.model == model and deployment.serve
    ]
    names = [model, f"{model}__evaluation", f"{model}__champion", *served]
    return [asset_key(project, name) for name in names]


def _evaluate(
    context: dg.SensorEvaluationContext, project: Project, block: Monitor, policy: Retrain
) -> dg.SensorResult:
    cursor = json.loads(context.cursor) if context.cursor else {}
    instance = context.instance
    judgements, newest = _judgements(instance, asset_key(project, block.name), cursor.get("event"))
    before = PolicyState.from_dict(cursor.get("policy", {}))
    decision = decide(
        block,
        _remembered(instance, project, block, policy, before),
        judgements,
        situation_of(instance, project, block, policy),
    )
    told = json.dumps({"event": newest, "policy": decision.state.as_dict()})
    if decision.rollback:
        try:
            _take_back(project, block, policy.model, decision.rollback)
        except StepError as error:
            # as if it hadn't looked: it tries again
            return dg.SensorResult(
                skip_reason=f"the rollback failed: {error.message}", cursor=context.cursor
            )
    if decision.retraining is None:
        return dg.SensorResult(skip_reason=decision.reason, cursor=told)
    _note(project, block, policy.model, decision.retraining)
    request = dg.RunRequest(
        run_key=f"{policy.model}:{decision.retraining.key}",
        tags=_tags(project, block, policy.model, decision.retraining),
    )
    return dg.SensorResult(run_requests=[request], cursor=told)


def _judgements(
    instance: dg.DagsterInstance, key: dg.AssetKey, after: int | None
) -> tuple[list[Judgement], int | None]:
    """What the monitor said since an event, and the last event."""
    found: list[Judgement] = []
    while True:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(key, after_storage_id=after),
            limit=_EVENTS_AT_ONCE,
            ascending=True,
        ).records
        for record in records:
            materialization = record.asset_materialization
            said = materialization.metadata.get(JUDGEMENT) if materialization else None
            if said is not None and isinstance(said.value, Mapping):
                found.append(Judgement.from_dict(said.value))
        after = records[-1].storage_id if records else after
        if len(records) < _EVENTS_AT_ONCE:
            return found, after


def _remembered(
    instance: dg.DagsterInstance,
    project: Project,
    block: Monitor,
    policy: Retrain,
    state: PolicyState,
) -> PolicyState:
    """The state with what the runs themselves say: they outlive a lost cursor, and a daemon that
    died after it launched one."""
    tags = {MONITOR_TAG: block.name, MODEL_TAG: model_name(project, policy.model)}
    handled, asked = dict.fromkeys(state.handled), set(state.asked)
    for run in instance.get_runs(dg.RunsFilter(tags=tags), limit=_RUNS_AT_ONCE):
        if windows := run.tags.get(_WINDOWS_TAG):
            handled |= {f"{block.name}:{window}": None for window in windows.split(_BETWEEN)}
        if until := run.tags.get(_UNTIL_TIME_TAG):
            asked.add(datetime.fromisoformat(until))
    held = tuple(breach for breach in state.held if breach.key not in handled)
    return replace(
        state,
        held=held,
        handled=tuple(handled),
        asked=tuple(sorted(asked)),
        last=latest(state.last, *asked),
    )


def _take_back(project: Project, block: Monitor, model: str, decided: TakingBack) -> None:
    """Moves the champion to the version before; the model's journal keeps why."""
    from liminal_assets.steps.deploy import bring_along
    from liminal_assets.storage.registry import ModelRegistry

    registry = ModelRegistry(project)
    before = registry.champion(model)
    version = registry.rollback(
        model,
        decided.to,
        decided.reason,
        {**decided.evidence, "monitor": block.name},
        f"sensor of {block.name}",
    )
    bring_along(project, version, before)


def _note(project: Project, block: Monitor, model: str, retraining: Retraining) -> None:
    """Keeps in the monitor's journal what was asked for, once."""
    from liminal_assets.storage.journal import Journal

    journal = Journal(project, block.name)
    with journal.lock():
        asked = (d.evidence.get("key") for d in journal.decisions() if d.action == "retrain")
        if retraining.key in asked:
            return
        version = retraining.breaches[-1].model_version if retraining.breaches else None
        number = int(version) if version and version.isdigit() else None
        journal.append(
            "retrain",
            version=number,
            champion=number,
            reason=retraining.cause,
            actor=f"sensor of {block.name}",
            evidence={"model": model, **retraining.record()},
        )


def _tags(project: Project, block: Monitor, model: str, retraining: Retraining) -> dict[str, str]:
    window, breaches = retraining.window, retraining.breaches
    windows = (breach.key.removeprefix(f"{block.name}:") for breach in breaches)
    proof = f"cause {breaches[-1].id}" if breaches else retraining.key
    tags = {
        CAUSE_TAG: _short(retraining.cause),
        MONITOR_TAG: block.name,
        WINDOW_TAG: window.key,
        EVIDENCE_TAG: f"_journal/{block.name} {proof}",
        MODEL_TAG: model_name(project, model),
        _TRIGGERS_TAG: ", ".join(reason.kind for reason in retraining.reasons),
    }
    if breaches:
        tags[_WINDOWS_TAG] = _newest_that_fit(list(windows))
    if until := partition_to_learn_from(project, block, model, retraining):
        tags[UNTIL_TAG] = until
    if window.until:
        tags[_UNTIL_TIME_TAG] = window.until.isoformat()
    return tags


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def _newest_that_fit(words: Sequence[str]) -> str:
    def fitting() -> Iterator[str]:
        length = 0
        for word in reversed(words):
            length += len(word) + len(_BETWEEN)
            if length > _MOST:
                return
            yield word

    return _BETWEEN.join(reversed(list(fitting())))


def automation_sensor(project: Project) -> dg.AutomationConditionSensorDefinition | None:
    """Evaluates the ``automation:`` of a project's blocks; Dagster's own sensor for it starts
    switched off. None for a project without any."""
    names = [block.name for block in project.spec.blocks if block.automation]
    if not names:
        return None
    return dg.AutomationConditionSensorDefinition(
        name=f"{project.name}__automation",
        # a block's derived assets are made by the same step
        target=dg.AssetSelection.key_prefixes([project.name]),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=_SECONDS,
        description=f"Refreshes the blocks of {project.name} with 'automation'.",
    )
