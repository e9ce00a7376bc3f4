"""Metrics of a project's own runs, assets and sensors, sent to ``monitoring.metrics_backends``, and
the alarms of ``monitoring.alerts_backends``."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, cast

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorType, TickStatus

from liminal_assets.errors import StepError
from liminal_assets.factories.common import asset_key
from liminal_assets.factories.news import concerns
from liminal_assets.factories.pipelines import pipelines_of
from liminal_assets.factories.task_steps import PIPELINE_TAG
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.monitoring import Monitoring

if TYPE_CHECKING:
    from liminal_assets.integrations.cloudwatch import CloudWatch
    from liminal_assets.integrations.metrics import Metric

__all__ = ["metrics_sensor"]

_SECONDS = 60
_FIRST_LOOK = timedelta(hours=1)
_AT_ONCE = 100
_ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


@dataclass(frozen=True)
class _Progress:
    """What was sent.

    Attributes:
        since: when the last run that was reported ended.
        runs: the runs that ended at that moment and were reported.
        alarms: of what the alarms are that were set.
    """

    since: str
    runs: tuple[str, ...] = ()
    alarms: str = ""

    @classmethod
    def of(cls, cursor: str | None) -> _Progress:
        if cursor is None:
            return cls((datetime.now(timezone.utc) - _FIRST_LOOK).isoformat())
        said = json.loads(cursor)
        return cls(said["since"], tuple(said["runs"]), said["alarms"])

    def as_cursor(self) -> str:
        return json.dumps({"since": self.since, "runs": self.runs, "alarms": self.alarms})


def metrics_sensor(project: Project) -> dg.SensorDefinition | None:
    """Sends what happened since its last look: how runs and their assets ended and how long they
    took, how old assets with ``freshness`` are, which sensors and schedules fail. Each run is sent
    at least once. It also sets the alarms. None where the project has no ``metrics_backends``.
    """
    monitoring = project.spec.monitoring
    if not monitoring.metrics_backends:
        return None

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return _evaluate(context, project, monitoring)

    return dg.SensorDefinition(
        name=f"{project.name}__metrics",
        evaluation_fn=evaluate,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Sends the metrics of {project.name}'s runs, assets and sensors.",
    )


def _evaluate(
    context: dg.SensorEvaluationContext, project: Project, monitoring: Monitoring
) -> dg.SensorResult:
    from liminal_assets.integrations.metrics import send

    progress = _Progress.of(context.cursor)
    ended, after = _ended(context.instance, project, progress)
    found = [
        *(metric for run in ended for metric in _of_run(context.instance, project, run)),
        *_ages(context.instance, project),
        *_ticks(context.instance, project),
    ]
    for spec in monitoring.metrics_backends:
        try:
            send(spec, project.root, found)
        except StepError as error:
            # nothing is lost: it is sent again at the next look
            raise dg.Failure(f"metrics_backend {spec.metrics_backend}: {error}") from None
    alarms = _set_alarms(project, monitoring, progress.alarms)
    said = f"sent {len(found)} metrics, of {len(ended)} runs among them"
    cursor = replace(after, alarms=alarms).as_cursor()
    return dg.SensorResult(skip_reason=said, cursor=cursor)


def _ended(
    instance: dg.DagsterInstance, project: Project, progress: _Progress
) -> tuple[list[dg.RunRecord], _Progress]:
    """The project's runs that ended since the last look, the oldest first, and how far that is."""
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=datetime.fromisoformat(progress.since)),
        limit=_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    new = [record for record in records if record.dagster_run.run_id not in progress.runs]
    if not records:
        return [], progress
    last = records[-1].update_timestamp
    # what ends within the same moment may be read by the next look
    runs = [r.dagster_run.run_id for r in records if last - r.update_timestamp <= _MOMENT]
    since = (last - _MOMENT).replace(tzinfo=last.tzinfo or timezone.utc)
    kept = tuple(dict.fromkeys([*progress.runs, *runs]))[-_AT_ONCE:]
    found = [record for record in new if concerns(instance, record.dagster_run, project)]
    return found, _Progress(since.isoformat(), kept, progress.alarms)


_MOMENT = timedelta(seconds=2)


def _job_of(project: Project, run: dg.DagsterRun) -> str:
    """The pipeline of a run; for others the project."""
    return run.tags.get(PIPELINE_TAG, project.name)


def _of_run(
    instance: dg.DagsterInstance, project: Project, record: dg.RunRecord
) -> Iterator[Metric]:
    from liminal_assets.integrations.metrics import Metric

    run = record.dagster_run
    end = record.end_time or record.update_timestamp.timestamp()
    at = datetime.fromtimestamp(end, timezone.utc)
    tags = {"ApplicationName": _job_of(project, run)}
    yield Metric("", "JobResult", float(run.is_success), tags, at=at)
    if record.start_time:
        yield Metric("", "JobDuration", end - record.start_time, tags, "Seconds", at)
    for step in instance.get_run_step_stats(run.run_id):
        if step.end_time is None or step.status is None:
            continue
        name = step.step_key.removeprefix(f"{project.name}__")
        of = {"Project": project.name, "Asset": name}
        ended = datetime.fromtimestamp(step.end_time, timezone.utc)
        yield Metric("", "AssetResult", float(step.status.value == "SUCCESS"), of, at=ended)
        if step.start_time is not None:
            yield Metric("", "AssetDuration", step.end_time - step.start_time, of, "Seconds", ended)


def _ages(instance: dg.DagsterInstance, project: Project) -> Iterator[Metric]:
    """How old assets are that have a ``freshness``."""
    from liminal_assets.integrations.metrics import Metric

    tables: Sequence[Dataset | Feature] = (*project.spec.datasets, *project.spec.features)
    for block in tables:
        event = (
            instance.get_latest_materialization_event(asset_key(project, block.name))
            if block.freshness
            else None
        )
        if event is not None:
            tags = {"Project": project.name, "Asset": block.name}
            yield Metric("", "AssetAge", time.time() - event.timestamp, tags, "Seconds")


def _ticks(instance: dg.DagsterInstance, project: Project) -> Iterator[Metric]:
    """Whether the last evaluation of each sensor and schedule did what it should."""
    from liminal_assets.integrations.metrics import Metric

    if instance.schedule_storage is None:
        return
    for state in instance.all_instigator_state():
        name = state.instigator_name
        if not name.startswith(f"{project.name}__") or not state.is_running:
            continue
        done = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1, statuses=done
        )
        if ticks:
            kind = "Schedule" if state.instigator_type is InstigatorType.SCHEDULE else "Sensor"
            tags = {"Project": project.name, kind: name}
            ok = float(ticks[0].status is not TickStatus.FAILURE)
            yield Metric("", f"{kind}Result", ok, tags)


def _set_alarms(project: Project, monitoring: Monitoring, before: str) -> str:
    """Sets the alarms of every job, unless they are as they were.

    Returns:
        Of what they are.
    """
    from liminal_assets.integrations.metrics import Metric, backend_of

    jobs = _jobs(project)
    said = [spec.model_dump(mode="json") for spec in monitoring.alerts_backends]
    text = json.dumps([jobs, said, [m.namespace for m in monitoring.metrics_backends]])
    now = hashlib.sha256(text.encode()).hexdigest()[:16]
    if now == before:
        return now
    for spec in monitoring.alerts_backends:
        of = monitoring.backend(spec.metrics_backend)
        backend = cast("CloudWatch", backend_of(of, project.root, spec.location))
        for job in jobs:
            metric = Metric(of.namespace or "", "JobResult", 1.0, {"ApplicationName": job})
            backend.set_alarm(
                f"{spec.alerts_backend}-{project.name}-{job}",
                metric,
                alarm_actions=spec.alarm_actions,
                ok_actions=spec.ok_actions,
            )
    return now


def _jobs(project: Project) -> Sequence[str]:
    """The names that results are reported under."""
    ours = [project.name] if project.blocks else []
    return [*dict.fromkeys([*ours, *(pipeline.name for pipeline in pipelines_of(project))])]
