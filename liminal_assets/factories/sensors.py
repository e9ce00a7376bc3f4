"""Sensors: a breach asks for a retraining, once; blocks with ``automation`` refresh themselves.

Alerts are in :mod:`liminal_assets.factories.alerting`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from liminal_assets.factories.alerting import alert_sensor
from liminal_assets.factories.common import asset_key, project_of, spec_of
from liminal_assets.factories.models import TRAINED_UNTIL, UNTIL_TAG
from liminal_assets.factories.monitors import JUDGEMENT
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import moments_of, partitions_of
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.policy import PolicyState, Retraining, decide

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
"""The newest window that broke a bound."""
EVIDENCE_TAG = "liminal/evidence"
"""Where the proof is: the decision in the monitor's journal."""
MODEL_TAG = "liminal/model"
_WINDOWS_TAG = "liminal/windows"
"""Every window answered, each with its model version."""
_UNTIL_TIME_TAG = "liminal/until_time"
"""The end of the newest of them."""

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
    """Asks for a retraining when a monitor finds a breach, once however often it is evaluated.

    It trains, evaluates and, if the gate lets it pass, promotes the model of
    ``on_breach.retrain``, and deploys it where it is served. The run's tags say why
    (``liminal/cause``), who saw it (``liminal/monitor``), where (``liminal/window``), the proof
    (``liminal/evidence``) and up to which partition to learn (``liminal/until``). When it does
    nothing it says why.

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
    model = block.on_breach.retrain
    if model is None:
        raise ValueError(f"the monitor {block.name} doesn't say which model to train again")

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return _evaluate(context, owner, block, model)

    return dg.SensorDefinition(
        name=f"{owner.name}__{block.name}__retraining",
        evaluation_fn=evaluate,
        asset_selection=target or dg.AssetSelection.assets(*_targets(owner, model)),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Trains {model} again when {block.name} finds a breach.",
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
    context: dg.SensorEvaluationContext, project: Project, block: Monitor, model: str
) -> dg.SensorResult:
    cursor = json.loads(context.cursor) if context.cursor else {}
    instance = context.instance
    judgements, newest = _judgements(instance, asset_key(project, block.name), cursor.get("event"))
    before = PolicyState.from_dict(cursor.get("policy", {}))
    decision = decide(
        _remembered(instance, project, block, before),
        judgements,
        cooldown=block.on_breach.cooldown,
        busy=_busy(instance, project, model),
        learned=_learned(instance, project, block, model),
    )
    told = json.dumps({"event": newest, "policy": decision.state.as_dict()})
    if decision.retraining is None:
        return dg.SensorResult(skip_reason=decision.reason, cursor=told)
    _note(project, block, model, decision.retraining)
    request = dg.RunRequest(
        run_key=f"{model}:{decision.retraining.key}",
        tags=_tags(project, block, model, decision.retraining),
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
    instance: dg.DagsterInstance, project: Project, block: Monitor, state: PolicyState
) -> PolicyState:
    """The state with what the runs themselves say: they outlive a lost cursor, and a daemon that
    died after it launched one."""
    tags = {MONITOR_TAG: block.name, MODEL_TAG: _model_name(project, block.on_breach.retrain)}
    handled, last = dict.fromkeys(state.handled), state.last
    for run in instance.get_runs(dg.RunsFilter(tags=tags), limit=_RUNS_AT_ONCE):
        for window in run.tags.get(_WINDOWS_TAG, "").split(_BETWEEN):
            handled[f"{block.name}:{window}"] = None
        if until := run.tags.get(_UNTIL_TIME_TAG):
            moment = datetime.fromisoformat(until)
            last = max(last, moment) if last else moment
    held = tuple(breach for breach in state.held if breach.key not in handled)
    return replace(state, held=held, handled=tuple(handled), last=last)


def _busy(instance: dg.DagsterInstance, project: Project, model: str) -> str | None:
    """The run that is training the model or waits to, in words."""
    key, name = asset_key(project, model), _model_name(project, model)
    for run in instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        if run.tags.get(MODEL_TAG) == name or key in (run.asset_selection or ()):
            return f"run {run.run_id[:8]} is training {model} ({run.status.value.lower()})"
    return None


def _learned(
    instance: dg.DagsterInstance, project: Project, block: Monitor, model: str
) -> dict[str, datetime]:
    """By model version, the end of the partitions that it learned from."""
    partitions = partitions_of(project, block)
    if partitions is None or partitions.every is None:
        return {}
    records = instance.fetch_materializations(asset_key(project, model), _RUNS_AT_ONCE).records
    learned: dict[str, datetime] = {}
    for record in records:
        materialization = record.asset_materialization
        said = materialization.metadata if materialization else {}
        if "version" in said and TRAINED_UNTIL in said:
            # a model may learn from a table that is cut otherwise
            with suppress(ValueError):
                _, end = moments_of(partitions, str(said[TRAINED_UNTIL].value))
                learned.setdefault(str(said["version"].value), end)
    return learned


def _model_name(project: Project, model: str | None) -> str:
    return f"{project.name}.{model}"


def _note(project: Project, block: Monitor, model: str, retraining: Retraining) -> None:
    """Keeps in the monitor's journal what was asked for, once."""
    from liminal_assets.storage.journal import Journal

    journal = Journal(project, block.name)
    with journal.lock():
        asked = (d.evidence.get("key") for d in journal.decisions() if d.action == "retrain")
        if retraining.key in asked:
            return
        version = retraining.newest.model_version or ""
        number = int(version) if version.isdigit() else None
        journal.append(
            "retrain",
            version=number,
            champion=number,
            reason=retraining.cause,
            actor=f"sensor of {block.name}",
            evidence={
                "key": retraining.key,
                "model": model,
                "causes": [breach.id for breach in retraining.breaches],
                "windows": [breach.window.key for breach in retraining.breaches],
            },
        )


def _tags(project: Project, block: Monitor, model: str, retraining: Retraining) -> dict[str, str]:
    newest = retraining.newest
    windows = (breach.key.removeprefix(f"{block.name}:") for breach in retraining.breaches)
    tags = {
        CAUSE_TAG: _short(retraining.cause),
        MONITOR_TAG: block.name,
        WINDOW_TAG: newest.window.key,
        _WINDOWS_TAG: _newest_that_fit(list(windows)),
        EVIDENCE_TAG: f"_journal/{block.name} cause {newest.id}",
        MODEL_TAG: _model_name(project, model),
    }
    # partitions by listed values are in no order of time that training could stop at
    if newest.window.partition and _by_time(project, block):
        tags[UNTIL_TAG] = newest.window.partition
    if newest.window.until:
        tags[_UNTIL_TIME_TAG] = newest.window.until.isoformat()
    return tags


def _by_time(project: Project, block: Monitor) -> bool:
    partitions = partitions_of(project, block)
    return partitions is not None and partitions.every is not None


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
