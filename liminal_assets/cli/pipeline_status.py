"""How the pipelines of a project are doing: their newest runs, and when the next ones are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from dagster._core.storage.dagster_run import RunRecord
from dagster._utils.schedules import cron_string_iterator

from liminal_assets.apache.settings import PipelineSettings, settings_of
from liminal_assets.apache.workflow import Pipeline
from liminal_assets.cli.output import duration, print_table
from liminal_assets.cli.session import Session
from liminal_assets.factories.pipelines import step_name
from liminal_assets.factories.task_steps import newest_run

__all__ = ["pipeline_rows", "print_pipelines"]


def pipeline_rows(session: Session) -> Iterator[dict[str, Any]]:
    """A row per pipeline."""
    workflow = session.project.workflow
    for pipeline in workflow.pipelines.values() if workflow else ():
        settings = settings_of(pipeline.configuration, workflow.configuration if workflow else {})
        record = newest_run(session.instance, session.project, pipeline)
        yield {
            "pipeline": pipeline.name,
            "schedule": "@once" if settings.once else settings.cron,
            "next": _next(settings),
            **_newest(session, pipeline, record),
        }


def print_pipelines(rows: Iterable[dict[str, Any]]) -> None:
    """The rows as a table."""
    print_table(
        ["pipeline", "last run", "started", "took", "failed", "schedule", "next run"],
        [
            [
                row["pipeline"],
                row["state"] or "never",
                _moment(row["started"]),
                duration(row["seconds"]) if row["seconds"] is not None else "",
                ", ".join(row["failed"]),
                row["schedule"] or "",
                _moment(row["next"]),
            ]
            for row in rows
        ],
    )


def _newest(session: Session, pipeline: Pipeline, record: RunRecord | None) -> dict[str, Any]:
    if record is None:
        return {"run": None, "state": None, "started": None, "seconds": None, "failed": []}
    run, began, ended = record.dagster_run, record.start_time, record.end_time
    steps = {step_name(session.project, task): task.name for task in pipeline.tasks}
    stats = session.instance.get_run_step_stats(run.run_id, list(steps))
    failed = [steps[s.step_key] for s in stats if s.status and s.status.value == "FAILURE"]
    return {
        "run": run.run_id,
        "state": run.status.value.lower(),
        "started": _iso(began) if began else None,
        "seconds": round(ended - began, 3) if began and ended else None,
        "failed": failed,
    }


def _next(settings: PipelineSettings) -> str | None:
    """When its schedule runs it next."""
    if settings.cron is None:
        return None
    now = datetime.now(timezone.utc)
    start = max(now, settings.start) if settings.start else now
    moments = cron_string_iterator(start.timestamp(), settings.cron, "UTC")
    first = next(moments)
    # a run starts at the end of its interval, the first one of which begins at start_date
    moment = next(moments) if settings.start and settings.start >= now else first
    return _iso(moment.timestamp()) if not settings.end or moment <= settings.end else None


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, timezone.utc).isoformat(timespec="seconds")


def _moment(text: str | None) -> str:
    return text.replace("T", " ").removesuffix("+00:00") if text else ""
