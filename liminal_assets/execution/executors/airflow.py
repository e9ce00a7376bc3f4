"""The step's own process, which in Apache Liminal was Airflow's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import ITIMER_REAL, SIGALRM, setitimer, signal
from types import FrameType

from liminal_assets.errors import StepError
from liminal_assets.execution.task import Executor, InProcessTask, Task, TaskRun

__all__ = ["AirflowExecutor", "out_of_time"]


class AirflowExecutor(Executor):
    """Runs a task in the process of the step, until the run's time is over."""

    supported = (InProcessTask,)

    def execute(self, task: Task, run: TaskRun) -> None:
        if not isinstance(task, InProcessTask):
            raise StepError(
                f"the task {task.spec.name!r} can't run in the process of the step",
                location=task.spec.locate("executor"),
                hint="only subclasses of InProcessTask do",
            )
        with within(run, task):
            task.run(run)


def out_of_time(run: TaskRun, task: Task) -> StepError:
    """The error of a task that was ended at the run's deadline."""
    minutes = run.pipeline.get("timeout_minutes")
    return StepError(
        f"the task {task.spec.name!r} was ended: the pipeline {run.pipeline.name!r} may take "
        f"{minutes} minutes (timeout_minutes)",
        location=run.pipeline.locate("timeout_minutes"),
    )


class _TimeIsOverError(BaseException):
    """Raised in the task; no handler of its ``Exception`` may swallow it."""


@contextmanager
def within(run: TaskRun, task: Task) -> Iterator[None]:
    """Ends what runs inside at the run's deadline.

    By a signal, so whatever it waits for is interrupted. Only the main thread gets signals: in
    another one, the time is checked before and after.

    Raises:
        StepError: the time is over.
    """
    remaining = run.remaining
    if remaining == 0:
        raise out_of_time(run, task)
    if remaining is None or threading.current_thread() is not threading.main_thread():
        yield
        if run.remaining == 0:
            raise out_of_time(run, task)
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TimeIsOverError

    before, begun = signal(SIGALRM, interrupt), time.monotonic()
    outer, _ = setitimer(ITIMER_REAL, remaining)
    try:
        yield
    except _TimeIsOverError:
        raise out_of_time(run, task) from None
    finally:
        setitimer(ITIMER_REAL, 0)
        signal(SIGALRM, before)
        if outer:  # whoever had set the timer goes on waiting for it
            setitimer(ITIMER_REAL, max(0.001, outer - (time.monotonic() - begun)))
