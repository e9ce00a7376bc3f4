"""A resolved project of Apache Liminal as immutable values: pipelines, tasks, executors, images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from liminal_assets.apache.defaults import section
from liminal_assets.apache.merging import merged
from liminal_assets.apache.resolve import ResolvedProject
from liminal_assets.language.datasets import Connection
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import home_of
from liminal_assets.language.monitoring import Monitoring
from liminal_assets.language.source import LocatedDict, locate

__all__ = ["ExecutorSpec", "Image", "Item", "Pipeline", "Service", "TaskSpec", "Workflow"]


@dataclass(frozen=True)
class Item:
    """A named mapping of a file."""

    name: str
    configuration: LocatedDict
    """All its keys, after inheritance, defaults and variables."""

    @property
    def type(self) -> str:
        """What ``type:`` says; empty if it says nothing."""
        return str(self.configuration.get("type") or "")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; ``default`` where it isn't written or is blank."""
        value = self.configuration.get(key)
        return default if value is None else value

    def locate(self, *path: str | int) -> Location:
        """Where a value in it was written; where it begins, if it wasn't."""
        return locate(self.configuration, path) or self.configuration.location


@dataclass(frozen=True)
class TaskSpec(Item):
    """A task of a pipeline."""

    pipeline: str
    executor: ExecutorSpec | None
    """What runs it; None where it names none: in the step's own process."""

    @property
    def path(self) -> str:
        """``pipeline/task``: its name in a project."""
        return f"{self.pipeline}/{self.name}"

    @property
    def produces(self) -> tuple[str, ...]:
        """The datasets of the project that it makes the source of."""
        return _names(self.configuration.get("produces"))


@dataclass(frozen=True)
class ExecutorSpec(Item):
    """Where tasks run."""


@dataclass(frozen=True)
class Image(Item):
    """What a container image is built from."""


@dataclass(frozen=True)
class Service(Item):
    """A server that is to run as long as the project does."""


@dataclass(frozen=True)
class Pipeline(Item):
    """Tasks that run one after the other."""

    tasks: tuple[TaskSpec, ...]

    def awaited(self, task: TaskSpec) -> tuple[str, ...]:
        """What comes before a task: the task before it, and what it waits for besides, which for
        the first one is also what the pipeline waits for. Names of blocks, of pipelines, and of
        tasks as ``pipeline/task``."""
        at = self.tasks.index(task)
        before = (self.tasks[at - 1].path,) if at else _names(self.configuration.get("after"))
        return (*before, *_names(task.configuration.get("after")))


def _names(value: Any) -> tuple[str, ...]:
    """One name, or a list of them."""
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


@dataclass(frozen=True)
class Workflow:
    """One file that is no super, with all that it inherits."""

    file: Path
    configuration: LocatedDict
    folder: Path | None = None
    """The folder that was searched for the file, whose state it shares; None: its own."""
    connections: tuple[Connection, ...] = ()
    """The databases that a file with our own sections names."""

    @classmethod
    def of(cls, resolved: ResolvedProject, folder: Path | None = None) -> Workflow:
        """The workflow that a resolved file describes.

        Args:
            folder: the folder that was searched for it, whose state it shares; default: its own.
        """
        return cls(resolved.file, resolved.configuration, folder)

    @cached_property
    def monitoring(self) -> Monitoring:
        """Where metrics go, and which alarms are set on them.

        Raises:
            ValidationError: the section is wrong, as checks of the file say.
        """
        return Monitoring.model_validate(self.configuration.get("monitoring") or {})

    @property
    def name(self) -> str:
        return str(self.configuration["name"])

    @property
    def root(self) -> Path:
        """The file's folder: ``source`` of images and paths of local volumes start here."""
        return self.file.parent

    @property
    def state(self) -> Path:
        """The state folder (``.liminal``)."""
        return home_of(self.folder or self.root) / ".liminal"

    @cached_property
    def executors(self) -> Mapping[str, ExecutorSpec]:
        """The executors by name."""
        return {item.name: item for item in self._items("executors", "executor", ExecutorSpec)}

    @cached_property
    def images(self) -> Mapping[str, Image]:
        """The images by name."""
        return {item.name: item for item in self._items("images", "image", Image)}

    @cached_property
    def volumes(self) -> Mapping[str, Item]:
        """The volumes by name."""
        return {item.name: item for item in self._items("volumes", "volume", Item)}

    @cached_property
    def secrets(self) -> Mapping[str, Item]:
        """The secrets by name."""
        return {item.name: item for item in self._items("secrets", "secret", Item)}

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """The services by name."""
        return {item.name: item for item in self._items("services", "service", Service)}

    @cached_property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """The pipelines by name, in the order of the file."""
        return {
            name: Pipeline(name, item, self._tasks(name, item))
            for name, item in self._named("pipelines", "pipeline")
        }

    @cached_property
    def tasks(self) -> Mapping[str, TaskSpec]:
        """Every task by its path; the name of a pipeline stands for its last one."""
        found = {task.path: task for item in self.pipelines.values() for task in item.tasks}
        last = {item.name: item.tasks[-1] for item in self.pipelines.values() if item.tasks}
        return {**last, **found}

    @cached_property
    def producers(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks that make the source of each dataset that a task names."""
        found: dict[str, tuple[str, ...]] = {}
        for pipeline in self.pipelines.values():
            for task in pipeline.tasks:
                for name in task.produces:
                    found[name] = (*found.get(name, ()), task.path)
        return found

    def _tasks(self, pipeline: str, configuration: LocatedDict) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                str(task.get("task") or ""),
                task,
                pipeline,
                self.executors.get(str(task["executor"])) if task.get("executor") else None,
            )
            for task in self._around(configuration)
        )

    def _around(self, pipeline: LocatedDict) -> list[LocatedDict]:
        """The tasks of a pipeline, with those of ``pipeline_defaults`` that stand around a task
        of type ``pipeline`` there: it is where the pipeline's own tasks go.

        Own tasks are those of the pipeline's file, for the tasks before and after them come from
        a super.
        """
        written = pipeline.get("tasks") or []
        common = section(self.configuration, "pipeline_defaults").get("tasks") or []
        at = next((index for index, task in enumerate(common) if _is_placeholder(task)), None)
        if at is None:
            return list(written)
        tasks = [task for task in written if task.location != common[at].location]
        own = [task for task in tasks if task.location.file == pipeline.location.file]
        if len(tasks) < len(written) or not own:  # it has no tasks but those of the defaults
            return tasks
        first, last = tasks.index(own[0]), tasks.index(own[-1])
        defaults = section(self.configuration, "task_defaults")
        before, after = (
            [merged(task, section(defaults, str(task.get("type", "")))) for task in some]
            for some in (common[:at], common[at + 1 :])
        )
        return [*tasks[:first], *before, *tasks[first : last + 1], *after, *tasks[last + 1 :]]

    def _items(self, section: str, key: str, kind: type[Item]) -> list[Any]:
        return [kind(name, item) for name, item in self._named(section, key)]

    def _named(self, section: str, key: str) -> list[tuple[str, LocatedDict]]:
        items = self.configuration.get(section) or ()
        return [(str(item.get(key) or item.get("name")), item) for item in items]


def _is_placeholder(task: object) -> bool:
    return isinstance(task, dict) and task.get("type") == "pipeline" and not task.get("pipeline")
