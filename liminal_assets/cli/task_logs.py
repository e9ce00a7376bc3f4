"""What the tasks of pipelines wrote when they last ran, from Dagster's event log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liminal_assets.language.loading import Project

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["TaskLog", "task_logs"]


@dataclass
class TaskLog:
    """The log of one task: the lines of its last run, and those that come."""

    name: str
    """``pipeline/task``"""
    pipeline: str
    task: str
    key: dg.AssetKey
    step: str
    """The key of its step in a run."""
    _run_id: str | None = None
    _cursor: str | None = None

    def lines(self, instance: dg.DagsterInstance) -> Iterator[str]:
        """The lines of its last run that weren't told yet; all of them if it is a new one."""
        planned = instance.get_latest_planned_materialization_info(self.key)
        if planned is None:
            return
        if planned.run_id != self._run_id:
            self._run_id, self._cursor = planned.run_id, None
        while True:
            page = instance.get_records_for_run(planned.run_id, self._cursor, limit=1000)
            self._cursor = page.cursor
            for record in page.records:
                entry = record.event_log_entry
                if entry.step_key == self.step:
                    yield from _said(entry)
            if not page.has_more:
                return


def _said(entry: dg.EventLogEntry) -> Iterator[str]:
    event = entry.dagster_event
    if event is None:
        yield from entry.user_message.splitlines()
    elif event.event_type_value in ("STEP_START", "STEP_SUCCESS"):
        yield f"-- {event.event_type_value.removeprefix('STEP_').lower()}, run {entry.run_id}"
    elif event.event_type_value == "STEP_FAILURE":
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        error = data.error.message.strip() if data.error else "no reason is known"
        yield from f"-- failure, run {entry.run_id}: {told or error}".splitlines()


def task_logs(projects: Sequence[Project]) -> list[TaskLog]:
    """The logs of every task of some projects."""
    from liminal_assets.factories.common import task_key
    from liminal_assets.factories.pipelines import dagster_name

    found = []
    for project in projects:
        pipelines = project.workflow.pipelines if project.workflow else {}
        for pipeline in pipelines.values():
            for task in pipeline.tasks:
                key = task_key(project, task)
                step = dagster_name("__".join(key.path))
                name = f"{pipeline.name}/{task.name}"
                found.append(TaskLog(name, pipeline.name, task.name, key, step))
    return found
