"""``type: queue``: this machine, but so many tasks at once, and gently."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from liminal_assets.plugins import (
    Container,
    ContainerTask,
    Diagnostic,
    Executor,
    ExecutorSpec,
    LocalExecutor,
    StepError,
    Task,
    TaskRun,
    Workflow,
)

__all__ = ["QueueExecutor"]

_EVERY = 0.2
"""Seconds between two looks at the queue."""


class QueueExecutor(Executor):
    """Runs containers as the ``local`` executor does, at most ``slots`` at once.

    A slot is a lock on a file of the project's state, so it counts in all runs and processes, and
    the system gives it back however a process ends.
    """

    supported = (ContainerTask,)

    @classmethod
    def check(cls, spec: ExecutorSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        """What ``liminal validate`` finds, at its line."""
        for key, least, most in (("slots", 1, 1000), ("nice", 0, 19)):
            value = spec.get(key, least)
            if not isinstance(value, int) or not least <= value <= most:
                message = f"{key} must be a number from {least} to {most}, not {value!r}"
                yield Diagnostic(spec.locate(key), "invalid-value", message)

    def execute(self, task: Task, run: TaskRun) -> None:
        """Waits for a slot, then runs the task in it."""
        with self._slot(run):
            LocalExecutor(self.spec, self.workflow).execute(_Nice(task, self.spec), run)

    @contextmanager
    def _slot(self, run: TaskRun) -> Iterator[None]:
        folder = self.workflow.state / "queues" / self.spec.name
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{number}.lock" for number in range(self.spec.get("slots", 1))]
        waiting = False
        while True:
            for file in files:
                with _held(file) as held:
                    if held:
                        yield
                        return
            if run.remaining == 0:
                raise StepError(f"no slot of the queue {self.spec.name!r} became free in time")
            if not waiting:
                run.log(f"waits for one of {len(files)} slots of {self.spec.name!r}")
                waiting = True
            time.sleep(_EVERY)


@contextmanager
def _held(file: Path) -> Iterator[bool]:
    """Holds a lock for the length of the block, if nobody else does."""
    with file.open("a") as stream:
        held = False
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        yield held


class _Nice(ContainerTask):
    """A task whose command has less of the processor than others."""

    def __init__(self, task: Task, executor: ExecutorSpec) -> None:
        super().__init__(task.spec, task.workflow)
        self.task = task
        self.nice = executor.get("nice", 0)

    def container(self, run: TaskRun) -> Container:
        container = self.task.container(run)
        if not self.nice:
            return container
        return replace(container, command=["nice", "-n", str(self.nice), *container.command])
