"""Tasks in the process of the step, and the end of their time."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.executors.airflow import AirflowExecutor
from liminal_assets.execution.plugins import executor_of
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets_tests.workflows import run_of, task_of


class Sleep(InProcessTask):
    """Sleeps, and doesn't like to be woken."""

    def run(self, run: TaskRun) -> None:
        try:
            time.sleep(float(self.spec.get("seconds")))
        except Exception:  # what ends the time is no exception that a task may take for its own
            time.sleep(99)
        run.results["slept"] = True


def execute(folder: Path, sleeps: float, seconds: float | None) -> TaskRun:
    spec, workflow = task_of(folder, f"type: job_start\nseconds: {sleeps}")
    run = run_of(workflow, seconds=seconds)
    task = Sleep(spec, workflow)
    executor = executor_of(task, workflow)
    assert type(executor) is AirflowExecutor
    executor.execute(task, run)
    return run


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_a_task_in_time_runs_to_its_end(tmp_path: Path, seconds: float | None) -> None:
    assert execute(tmp_path, 0.01, seconds).results == {"slept": True}


def test_a_task_is_interrupted_when_its_time_is_over(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(StepError, match=r"the task 't' was ended.*timeout_minutes"):
        execute(tmp_path, 60, 0.2)
    assert time.monotonic() - started < 5


def test_no_task_begins_after_its_time(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="was ended"):
        execute(tmp_path, 0, 0.0)


def test_in_another_thread_the_time_is_looked_at_afterwards(tmp_path: Path) -> None:
    raised: list[StepError] = []

    def work() -> None:
        try:
            execute(tmp_path, 0.2, 0.1)
        except StepError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "was ended" in raised[0].message


def test_a_timer_that_was_set_before_goes_on(tmp_path: Path) -> None:
    rang: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        execute(tmp_path, 0.1, 60)
        assert rang == []
        time.sleep(0.5)
        assert len(rang) == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
