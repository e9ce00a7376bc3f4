"""What tasks and executors are: the interface of the built-in ones and of plugins."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from liminal_assets.apache.workflow import ExecutorSpec, Pipeline, TaskSpec, Workflow
from liminal_assets.language.diagnostics import Diagnostic

if TYPE_CHECKING:
    import dagster as dg

__all__ = [
    "Container",
    "ContainerTask",
    "Executor",
    "HadoopTask",
    "InProcessTask",
    "Mount",
    "Task",
    "TaskRun",
]


@dataclass(frozen=True)
class TaskRun:
    """One execution of a task, whatever executes it."""

    workflow: Workflow
    pipeline: Pipeline
    run_id: str
    """Of the pipeline's run."""
    log: Callable[[str], None]
    """Takes a line of the task's output, for the log of the run."""
    deadline: float | None = None
    """When the run must have ended (``timeout_minutes``), on :func:`time.monotonic`'s clock."""
    started: datetime | None = None
    """When the first task of the pipeline began in this run."""
    moment: datetime | None = None
    """When the interval begins that a scheduled run is for; None in a run that someone started."""
    until: datetime | None = None
    """When that interval ends."""
    failed: Sequence[str] = ()
    """The tasks of this run that failed, of those before this one: a task that always runs, such
    as one that reports the end of a job, is run all the same."""
    other_runs: Callable[[], Sequence[str]] = tuple
    """The ids of the pipeline's other runs that haven't ended."""
    results: dict[str, Any] = field(default_factory=dict)
    """What a task or an executor has to tell: shown with the asset."""
    dagster: dg.AssetExecutionContext | None = None
    """The step's context where Dagster runs the task."""

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 if it is over; None if there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


class Task:
    """A task of a pipeline. A plugin is a module with one subclass, named like its type."""

    def __init__(self, spec: TaskSpec, workflow: Workflow) -> None:
        self.spec = spec
        self.workflow = workflow

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        """What is wrong with a task's configuration, without running it."""
        return ()


class InProcessTask(Task, ABC):
    """A task that runs in the process of the step."""

    @abstractmethod
    def run(self, run: TaskRun) -> None:
        """Does the work.

        Raises:
            StepError: what is the user's to mend.
        """


@dataclass(frozen=True)
class Mount:
    """A folder or a file that a container sees."""

    name: str
    """Of the volume or the secret."""
    path: str
    """Where the container sees it."""
    sub_path: str | None = None
    read_only: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Container:
    """What a container runs."""

    image: str
    command: Sequence[str]
    """Program and arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    workers: int = 1
    """How many run at once, each with its index in the environment."""


class ContainerTask(Task, ABC):
    """A task that is a command in a container."""

    @abstractmethod
    def container(self, run: TaskRun) -> Container:
        """What is to run."""

    def check_machine(self, environment: Mapping[str, str]) -> None:
        """Called where the command is to run on this machine without a container.

        Args:
            environment: that of the command.

        Raises:
            StepError: the machine lacks what the command needs.
        """


class HadoopTask(Task, ABC):
    """A task that a Hadoop cluster can run as a step."""

    @abstractmethod
    def command(self, run: TaskRun) -> Sequence[str]:
        """The command of the step: program and arguments."""


class Executor(ABC):
    """Runs tasks somewhere. A plugin is a module with one subclass, named like its type."""

    supported: ClassVar[tuple[type[Task], ...]] = ()
    """The kinds of tasks that it can run."""

    def __init__(self, spec: ExecutorSpec, workflow: Workflow) -> None:
        self.spec = spec
        self.workflow = workflow

    @classmethod
    def check(cls, spec: ExecutorSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        """What is wrong with an executor's configuration, without running anything."""
        return ()

    @abstractmethod
    def execute(self, task: Task, run: TaskRun) -> None:
        """Runs a task to its end; ends what it started when it is interrupted.

        Raises:
            StepError: the task failed, or could not be run here.
        """
