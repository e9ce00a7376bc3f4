"""The op of a task: what a pipeline says about its runs, around the task itself."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import FrameType
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import (
    NOT_FINISHED_STATUSES,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)
from dagster._core.storage.tags import SCHEDULE_NAME_TAG, SCHEDULED_EXECUTION_TIME_TAG

from liminal_assets.apache.settings import PipelineSettings
from liminal_assets.apache.workflow import Pipeline, TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.task import TaskRun
from liminal_assets.factories.common import PROJECT_TAG, StepEvents, failure_of, task_key
from liminal_assets.factories.reports import metadata_of
from liminal_assets.language.loading import Project
from liminal_assets.steps.report import Markdown

__all__ = ["EXECUTION_DATE_TAG", "PIPELINE_TAG", "TaskStep", "newest_run"]

PIPELINE_TAG = "liminal/pipeline"
EXECUTION_DATE_TAG = "liminal/execution_date"
"""The tag of a scheduled run with the moment at which its interval begins."""

_LOGGED_LINES = 1000
"""Lines of a task that go to Dagster's event log; all of them go to the step's output."""
_LAST_LINES = 30
_PATIENCE = 15.0
"""Seconds after the deadline in which an executor may end its task itself: processes get 10 to
end gently."""
_SHORT_PATIENCE = 1.0
"""The same for a task in this process, which has none to end."""
_PAUSE = 5.0
"""Seconds between two looks at a run that is waited for."""


@dataclass(frozen=True)
class TaskStep:
    """A task of a pipeline as a step of a Dagster run.

    Dagster skips whatever depends on a step that failed. Tasks that run after a failure all the
    same are therefore run by the step that failed, at its last try, in the order of the pipeline.
    """

    project: Project
    workflow: Workflow
    pipeline: Pipeline
    task: TaskSpec
    settings: PipelineSettings

    def run(self, context: dg.AssetExecutionContext) -> StepEvents:
        """Runs the task.

        Raises:
            Failure: it failed, its time is over, or the run before did not succeed.
        """
        try:
            _wait_for_past(context, self.project, self.pipeline, self.settings)
            metadata = self._execute(context, self.task, ())
        except StepError as error:
            failed = self._failure(self.task, error)
            tries_left = context.retry_number < self.settings.retries
            if tries_left and not isinstance(error, _TimeOverError):
                raise failed from None
        else:
            version = dg.DataVersion(f"{context.run_id}-{context.retry_number}")
            yield dg.MaterializeResult(metadata=metadata, data_version=version)
            return
        yield from self._go_on(context, failed)

    def _go_on(self, context: dg.AssetExecutionContext, failed: dg.Failure) -> StepEvents:
        """Runs what runs after a failure, then fails."""
        messages = [failed.description or ""]
        lost, before_failed = [self.task.name], True
        for task in self._rest(context):
            if before_failed and not self.settings.runs_after_failure(task.type):
                continue
            context.log.info(f"{task.name} runs although {', '.join(lost)} failed")
            try:
                metadata = self._execute(context, task, lost)
            except StepError as error:
                messages.append(self._failure(task, error).description or "")
                lost, before_failed = [*lost, task.name], True
            else:
                before_failed = False
                ran = {"ran_after_failure_of": ", ".join(lost)}
                key = task_key(self.project, task)
                yield dg.AssetMaterialization(key, metadata={**metadata, **ran})
        raise dg.Failure("\n".join(messages), metadata=failed.metadata, allow_retries=False)

    def _failure(self, task: TaskSpec, error: StepError) -> dg.Failure:
        return failure_of(f"{self.project.name}/{task.path}", error, task.locate(), retry=True)

    def _rest(self, context: dg.AssetExecutionContext) -> list[TaskSpec]:
        """The tasks after this one that the run has selected."""
        layer = context.op_execution_context.job_def.asset_layer
        selected = layer.selected_asset_keys if layer else set()
        rest = self.pipeline.tasks[self.pipeline.tasks.index(self.task) + 1 :]
        return [task for task in rest if task_key(self.project, task) in selected]

    def _execute(
        self, context: dg.AssetExecutionContext, task: TaskSpec, failed: Sequence[str]
    ) -> Mapping[str, Any]:
        """Runs one task; what there is to tell about it.

        Raises:
            StepError: it failed, or could not be run.
        """
        # classes of tasks are imported when one runs
        from liminal_assets.execution.plugins import run_task

        output = _Output(context)
        started = self._started(context)
        limits = self._limits(task, started, after_failure=bool(failed))
        run = TaskRun(
            workflow=self.workflow,
            pipeline=self.pipeline,
            run_id=context.run_id,
            log=output,
            deadline=limits[0][0] if limits else None,
            started=started,
            moment=_moment(context, EXECUTION_DATE_TAG),
            until=_moment(context, SCHEDULED_EXECUTION_TIME_TAG),
            failed=tuple(failed),
            other_runs=lambda: _other_runs(context, self.project, self.pipeline),
            dagster=context,
        )
        begun = time.monotonic()
        with _until(limits, _PATIENCE if _has_processes(task) else _SHORT_PATIENCE):
            run_task(task, run)
        return metadata_of(
            {
                **run.results,
                "seconds": round(time.monotonic() - begun, 3),
                "output": output.last_lines(),
            }
        )

    def _limits(
        self, task: TaskSpec, started: datetime, *, after_failure: bool
    ) -> list[tuple[float, StepError]]:
        """The moments at which the task is ended, on the monotonic clock, and what is told then;
        the first one first.

        What runs after a failure, such as that the time was over, has time of its own.
        """
        limits: list[tuple[float, StepError]] = []
        now, moment = time.monotonic(), datetime.now(timezone.utc)
        if (allowed := self.settings.timeout) and not after_failure:
            left = (allowed - (moment - started)).total_seconds()
            message = f"the run's {_length(allowed)} are over (timeout_minutes)"
            over = _TimeOverError(message, location=self.pipeline.locate("timeout_minutes"))
            limits.append((now + left, over))
        if allowed := self.settings.task_timeout:
            message = f"{task.name}'s {_length(allowed)} are over (execution_timeout)"
            at = self.pipeline.locate("execution_timeout")
            limits.append((now + allowed.total_seconds(), StepError(message, location=at)))
        return sorted(limits, key=lambda limit: limit[0])

    def _started(self, context: dg.AssetExecutionContext) -> datetime:
        """When the first task of the pipeline began in this run."""
        keys = {task_key(self.project, task) for task in self.pipeline.tasks}
        layer = context.op_execution_context.job_def.asset_layer
        nodes = {
            str(data.node_handle)
            for data in (layer.data if layer else ())
            if data.assets_def.keys & keys
        }
        stats = context.instance.get_run_step_stats(context.run_id, sorted(nodes))
        starts = [step.start_time for step in stats if step.start_time is not None]
        return datetime.fromtimestamp(min(starts, default=time.time()), timezone.utc)


@dataclass
class _Output:
    """Takes the lines of a task: into Dagster's log and the step's own output."""

    context: dg.AssetExecutionContext
    count: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, line: str) -> None:
        # workers of a task write at the same time
        with self.lock:
            print(line, flush=True)
            self.lines.append(line)
            self.count += 1
            if self.count <= _LOGGED_LINES:
                self.context.log.info(line)
            if self.count == _LOGGED_LINES:
                self.context.log.info("further lines are in the step's output (stdout) only")

    def last_lines(self) -> Markdown | None:
        if not self.lines:
            return None
        text = "\n".join(self.lines).replace("```", "'''")
        return Markdown(f"```\n{text}\n```")


def _has_processes(task: TaskSpec) -> bool:
    """Whether a task is, or may be, a program in processes of its own."""
    return bool(task.get("image") or task.get("cmd")) or task.type in ("pipeline", "spark")


class _TimeOverError(StepError):
    """The run's time is over: trying again doesn't help."""


@contextmanager
def _until(limits: Sequence[tuple[float, StepError]], patience: float) -> Iterator[None]:
    """Ends what runs inside when the first limit is reached, and says so.

    An executor ends its task itself; what it doesn't, and a task in this process, is interrupted,
    which only the main thread can be.

    Args:
        limits: moments on the monotonic clock and what is told then, the first one first.
        patience: the seconds after the limit in which it may end by itself.

    Raises:
        StepError: the one of the limit.
    """
    if not limits:
        yield
        return
    deadline, over = limits[0]
    left = deadline - time.monotonic()
    if left <= 0:
        raise over
    with _alarm(left + patience, over):
        try:
            yield
        except StepError:
            if time.monotonic() >= deadline:
                raise over from None
            raise


@contextmanager
def _alarm(seconds: float, error: StepError) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def newest_run(
    instance: dg.DagsterInstance, project: Project, pipeline: Pipeline
) -> RunRecord | None:
    """The newest run of a pipeline."""
    tags = {PROJECT_TAG: project.name, PIPELINE_TAG: pipeline.name}
    return next(iter(instance.get_run_records(RunsFilter(tags=tags), limit=1)), None)


def _other_runs(
    context: dg.AssetExecutionContext, project: Project, pipeline: Pipeline
) -> list[str]:
    tags = {PROJECT_TAG: project.name, PIPELINE_TAG: pipeline.name}
    unfinished = RunsFilter(tags=tags, statuses=list(NOT_FINISHED_STATUSES))
    found = context.instance.get_run_ids(unfinished)
    return [run_id for run_id in found if run_id != context.run_id]


def _wait_for_past(
    context: dg.AssetExecutionContext,
    project: Project,
    pipeline: Pipeline,
    settings: PipelineSettings,
) -> None:
    """Waits for the run before a scheduled one (``depends_on_past``).

    Raises:
        StepError: that run failed, or waiting for it took longer than the pipeline may.
    """
    if not settings.depends_on_past or SCHEDULE_NAME_TAG not in context.run_tags:
        return
    deadline = time.monotonic() + (settings.timeout or timedelta.max).total_seconds()
    while (before := _run_before(context, project, pipeline)) is not None:
        run = before.dagster_run
        if run.status == DagsterRunStatus.SUCCESS:
            return
        if run.is_finished or time.monotonic() > deadline:
            state = run.status.value.lower()
            raise StepError(
                f"the run before, {run.run_id[:8]}, is in state {state!r}",
                location=pipeline.locate("depends_on_past"),
                hint=f"make it succeed: liminal run --pipeline {pipeline.name}",
            )
        context.log.info(f"waiting for the run before, {run.run_id[:8]}")
        time.sleep(_PAUSE)


def _run_before(
    context: dg.AssetExecutionContext, project: Project, pipeline: Pipeline
) -> RunRecord | None:
    """The newest run of the pipeline that was created before this one."""
    tags = {PROJECT_TAG: project.name, PIPELINE_TAG: pipeline.name}
    own = context.instance.get_run_record_by_id(context.run_id)
    if own is None:
        return None
    found = context.instance.get_run_records(
        RunsFilter(tags=tags, created_before=own.create_timestamp), limit=2
    )
    return next((record for record in found if record.dagster_run.run_id != context.run_id), None)


def _moment(context: dg.AssetExecutionContext, tag: str) -> datetime | None:
    """The moment that a tag of the run holds."""
    text = context.run_tags.get(tag)
    return datetime.fromisoformat(text) if text else None


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
