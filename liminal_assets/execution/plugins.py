"""The class of each type of task and executor: built in, of the project, or installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from liminal_assets.apache.plugin_modules import (
    class_of_module,
    importable,
    plugin_class,
    written_for_original,
)
from liminal_assets.apache.plugins import Kind, find_plugin, unknown_type_hint
from liminal_assets.apache.vocabulary import EXECUTORS, TASKS
from liminal_assets.apache.workflow import ExecutorSpec, Item, TaskSpec, Workflow
from liminal_assets.errors import StepError, user_errors
from liminal_assets.execution.clusters import cluster_configured
from liminal_assets.execution.rendering import rendered
from liminal_assets.execution.task import ContainerTask, Executor, Task, TaskRun
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.source import LocatedDict

__all__ = [
    "executor_class",
    "executor_of",
    "executor_spec",
    "plugin_mistakes",
    "run_task",
    "task_class",
    "task_of",
]

T = TypeVar("T")
_FORCING = "LIMINAL_EXECUTOR"


def task_of(spec: TaskSpec, workflow: Workflow) -> Task:
    """The task that a spec describes, ready to run.

    Raises:
        StepError: there is no such type, or its plugin can't be used.
    """
    kind = task_class(spec, workflow)
    with user_errors(workflow.root, f"the task {spec.name!r}", spec.locate("type")):
        return kind(spec, workflow)


def executor_of(task: Task, workflow: Workflow) -> Executor:
    """What runs a task: the executor it names, else the one for its kind.

    A container runs on this machine where it names none, where it names one of type
    ``kubernetes`` and no cluster is configured here, and with ``LIMINAL_EXECUTOR=local``;
    ``LIMINAL_EXECUTOR=kubernetes`` has every container run on the cluster.

    Raises:
        StepError: there is no such executor or type, its plugin can't be used, or it can't run
            tasks of this kind.
    """
    spec, because = executor_spec(task, workflow)
    if because:
        from liminal_assets.execution.executors.local import LocalExecutor

        here: Executor = LocalExecutor(spec, workflow, because=because)
        return here
    at = task.spec.locate("executor")
    kind = executor_class(spec, workflow, at)
    if not issubclass(type(task), tuple(kind.supported)):
        raise _cannot_run(task.spec, spec, kind)
    with user_errors(workflow.root, f"the executor {spec.name!r}", at):
        return kind(spec, workflow)


def _cannot_run(task: TaskSpec, executor: ExecutorSpec, kind: type[Executor]) -> StepError:
    return StepError(
        f"an executor of type {executor.type!r} can't run a task of type {task.type!r}",
        location=task.locate("executor"),
        hint=f"it runs subclasses of {_names(kind.supported)}; leave 'executor' out to run "
        "the task where its kind runs",
    )


def run_task(spec: TaskSpec, run: TaskRun) -> None:
    """Runs a task, its placeholders filled in, with what runs it.

    Raises:
        StepError: it failed, could not be run, or the code of a plugin raised something.
    """
    workflow = run.workflow
    spec = rendered(spec, run)
    with importable(workflow.root):
        task = task_of(spec, workflow)
        executor = executor_of(task, workflow)
        with user_errors(workflow.root, f"the task {spec.name!r}", spec.locate()):
            executor.execute(task, run)


def executor_spec(task: Task, workflow: Workflow) -> tuple[ExecutorSpec, str | None]:
    """The executor of a task as the file has it, or as its kind has it by default.

    Returns:
        The spec, and why the task runs on this machine instead, if it does.

    Raises:
        StepError: the task names an executor that there isn't, or what forces one names no type.
    """
    spec, forced = task.spec.executor, os.environ.get(_FORCING) or None
    if forced not in (None, "local", "kubernetes"):
        raise StepError(f"{_FORCING}={forced} names no executor", hint="'local' or 'kubernetes'")
    if spec is None and (name := task.spec.get("executor")):
        raise StepError(
            f"no executor is called {name!r}",
            location=task.spec.locate("executor"),
            hint=did_you_mean(str(name), workflow.executors),
        )
    container = isinstance(task, ContainerTask)
    if spec is None and not (container and forced == "kubernetes"):
        return _default_spec("local" if container else "airflow", task.spec.locate()), None
    if not container:
        return _present(spec), None
    if forced == "local" and (spec is None or spec.type != "local"):
        return _present(spec), f"{_FORCING}=local"
    if forced == "kubernetes" and (spec is None or spec.type != "kubernetes"):
        clusters = (item for item in workflow.executors.values() if item.type == "kubernetes")
        spec = next(clusters, None) or _default_spec("kubernetes", task.spec.locate())
    spec = _present(spec)
    if spec.type == "kubernetes" and not forced and not cluster_configured(spec):
        return spec, f"no cluster is configured here for the executor {spec.name!r}"
    return spec, None


def _present(spec: ExecutorSpec | None) -> ExecutorSpec:
    assert spec is not None  # noqa: S101  # the cases before have one
    return spec


def _default_spec(kind: str, at: Location) -> ExecutorSpec:
    configuration = LocatedDict(at)
    configuration.put("executor", kind, at, at)
    configuration.put("type", kind, at, at)
    return ExecutorSpec(kind, configuration)


def task_class(spec: TaskSpec, workflow: Workflow) -> type[Task]:
    """The class of a task's type.

    Raises:
        StepError: there is none, or its plugin can't be used.
    """
    return _known(_task_class(spec, workflow), "tasks", spec, spec.locate("type"), TASKS)


def executor_class(
    spec: ExecutorSpec, workflow: Workflow, at: Location | None = None
) -> type[Executor]:
    """The class of an executor's type.

    Args:
        at: where it is used, if that is not where it stands.

    Raises:
        StepError: there is none, or its plugin can't be used.
    """
    at = at or spec.locate("type")
    return _known(_executor_class(spec, workflow, at), "executors", spec, at, EXECUTORS)


def _task_class(spec: TaskSpec, workflow: Workflow) -> type[Task] | None:
    name, at = spec.type, spec.locate("type")
    if name in TASKS and (found := _built_in("tasks", name, Task)):
        return found
    return plugin_class("tasks", name, workflow.root, Task, at)


def _executor_class(spec: ExecutorSpec, workflow: Workflow, at: Location) -> type[Executor] | None:
    base: Any = Executor
    if spec.type in EXECUTORS and (found := _built_in("executors", spec.type, base)):
        return found
    return plugin_class("executors", spec.type, workflow.root, base, at)


def _built_in(kind: Kind, name: str, base: type[T]) -> type[T] | None:
    module = f"{__package__}.{kind}.{name}"
    if importlib.util.find_spec(module) is None:
        return None
    return class_of_module(importlib.import_module(module), base, None)


def _known(found: T | None, kind: Kind, spec: Item, at: Location, known: Collection[str]) -> T:
    if found is None:
        hint = unknown_type_hint(kind, spec.type, known)
        raise StepError(f"no {kind[:-1]} is of type {spec.type!r}", location=at, hint=hint)
    return found


def plugin_mistakes(workflow: Workflow) -> Iterator[Diagnostic]:
    """What takes the imports of tasks and executors to know: plugins that can't be used, and what
    each class finds wrong with its configuration.

    A plugin that was written for Apache Liminal is a warning: the others run without it. Types
    that there aren't are :func:`~liminal_assets.apache.references.check_references`'s.
    """
    for executor in workflow.executors.values():
        at = executor.locate("type")
        with _found("executors", executor, workflow) as mistakes:
            if of_executor := _executor_class(executor, workflow, at):
                mistakes.extend(of_executor.check(executor, workflow))
        yield from mistakes
    for pipeline in workflow.pipelines.values():
        for task in pipeline.tasks:
            with _found("tasks", task, workflow) as mistakes:
                if of_task := _task_class(task, workflow):
                    mistakes.extend(of_task.check(task, workflow))
                    mistakes.extend(_unsupported(task, of_task, workflow))
            yield from mistakes


def _unsupported(spec: TaskSpec, kind: type[Task], workflow: Workflow) -> Iterator[Diagnostic]:
    """A task whose executor doesn't run tasks of its kind."""
    if spec.executor is None:
        return
    at = spec.locate("executor")
    try:
        executor = _executor_class(spec.executor, workflow, at)
    except StepError:
        return  # told where the executor stands
    if executor is not None and not issubclass(kind, tuple(executor.supported)):
        error = _cannot_run(spec, spec.executor, executor)
        yield Diagnostic(at, "unsupported-task", error.message, error.hint)


@contextmanager
def _found(kind: Kind, spec: Item, workflow: Workflow) -> Iterator[list[Diagnostic]]:
    """A list for what is wrong with an item; gets what is raised inside."""
    mistakes: list[Diagnostic] = []
    at = spec.locate("type")
    try:
        with importable(workflow.root), user_errors(workflow.root, f"checking {spec.name!r}", at):
            yield mistakes
    except StepError as error:
        path = find_plugin(kind, spec.type, workflow.root)
        where = error.location or at
        if path is not None and written_for_original(path):
            code = "plugin-of-original"
            mistakes.append(Diagnostic(where, code, error.message, error.hint, "warning"))
        else:
            mistakes.append(Diagnostic(where, "plugin", error.message, error.hint))


def _names(kinds: Iterable[type[Task]]) -> str:
    return " or ".join(kind.__name__ for kind in kinds) or "nothing"
