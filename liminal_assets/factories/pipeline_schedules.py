"""When Apache Liminal's pipelines run: as Airflow 2.1 scheduled them, without catching up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._utils.schedules import cron_string_iterator

from liminal_assets.apache.settings import PipelineSettings, settings_of
from liminal_assets.apache.workflow import Pipeline
from liminal_assets.factories.pipelines import dagster_name
from liminal_assets.factories.task_steps import EXECUTION_DATE_TAG, newest_run
from liminal_assets.language.loading import Project

__all__ = ["once_sensor", "pipeline_schedule"]

_UNSUCCESSFUL = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def pipeline_schedule(
    pipeline: Pipeline, job: UnresolvedAssetJobDefinition, *, project: Project
) -> dg.ScheduleDefinition | None:
    """The schedule of a pipeline's job; None for one that runs only when asked to.

    A run belongs to the interval between two moments of the schedule and starts at its end, in
    UTC. It is not requested if the interval begins before ``start_date`` or after ``end_date``, if
    the moment was missed and a later one has come, or if the pipeline ``depends_on_past`` and its
    newest run did not succeed.

    References: Airflow 2.1, ``DAG.next_dagrun_info`` with ``catchup=False``.
    """
    settings = _settings(pipeline, project)
    if settings.cron is None:
        return None

    def evaluate(
        context: dg.ScheduleEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        moment = context.scheduled_execution_time.astimezone(timezone.utc)
        begins = _neighbour(settings, moment, ascending=False)
        reason = _why_not(settings, moment, begins) or _past(context, project, pipeline, settings)
        if reason:
            yield dg.SkipReason(reason)
        else:
            tags = {EXECUTION_DATE_TAG: begins.isoformat()}
            yield dg.RunRequest(run_key=moment.isoformat(), tags=tags)

    return dg.ScheduleDefinition(
        name=_name(pipeline, project),
        job=job,
        cron_schedule=settings.cron,
        execution_timezone="UTC",
        execution_fn=evaluate,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Runs {pipeline.name}{_period(settings)}.",
    )


def once_sensor(
    pipeline: Pipeline, job: UnresolvedAssetJobDefinition, *, project: Project
) -> dg.SensorDefinition | None:
    """What runs a pipeline with ``schedule: '@once'``, exactly once; None for others."""
    settings = _settings(pipeline, project)
    if not settings.once:
        return None

    def evaluate(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if context.cursor:
            return dg.SkipReason("it has run")
        now = datetime.now(timezone.utc)
        if settings.start and now < settings.start:
            return dg.SkipReason(f"it starts at {settings.start.isoformat(sep=' ')}")
        context.update_cursor(now.isoformat())
        start = settings.start or now
        tags = {EXECUTION_DATE_TAG: start.isoformat()}
        return dg.RunRequest(run_key=f"{project.name}/{pipeline.name}@once", tags=tags)

    return dg.SensorDefinition(
        name=f"{_name(pipeline, project)}__once",
        job=job,
        evaluation_fn=evaluate,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs {pipeline.name} once.",
    )


def _settings(pipeline: Pipeline, project: Project) -> PipelineSettings:
    workflow = project.workflow.configuration if project.workflow else {}
    return settings_of(pipeline.configuration, workflow)


def _name(pipeline: Pipeline, project: Project) -> str:
    return dagster_name(f"{project.name}__{pipeline.name}")


def _period(settings: PipelineSettings) -> str:
    start = f" from {settings.start.date()}" if settings.start else ""
    return start + (f" to {settings.end.date()}" if settings.end else "")


def _neighbour(settings: PipelineSettings, moment: datetime, *, ascending: bool) -> datetime:
    """The moment of the schedule before or after one of its moments."""
    cron = settings.cron or ""
    found = cron_string_iterator(moment.timestamp(), cron, "UTC", ascending=ascending)
    return next(other for other in found if other != moment).astimezone(timezone.utc)


def _why_not(settings: PipelineSettings, moment: datetime, begins: datetime) -> str | None:
    """Why the run of an interval is not requested, if it isn't."""
    if settings.start and begins < settings.start:
        return f"its interval begins before start_date, {settings.start.isoformat(sep=' ')}"
    if settings.end and begins > settings.end:
        return f"its interval begins after end_date, {settings.end.isoformat(sep=' ')}"
    later = _neighbour(settings, moment, ascending=True)
    if later <= datetime.now(timezone.utc):
        return f"it was missed, and {later.isoformat(sep=' ')} has come: nothing is caught up"
    return None


def _past(
    context: dg.ScheduleEvaluationContext,
    project: Project,
    pipeline: Pipeline,
    settings: PipelineSettings,
) -> str | None:
    """Why the past keeps a run from being requested; one that goes on is waited for by the run."""
    if not settings.depends_on_past:
        return None
    newest = newest_run(context.instance, project, pipeline)
    if newest is None or newest.dagster_run.status not in _UNSUCCESSFUL:
        return None
    run = newest.dagster_run
    return (
        f"depends_on_past: its newest run, {run.run_id[:8]}, is in state "
        f"{run.status.value.lower()!r}; run it again: liminal run --pipeline {pipeline.name}"
    )
