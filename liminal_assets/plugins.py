"""What the author of a plugin needs: see ``docs/plugins.md``.

>>> from liminal_assets.plugins import InProcessTask, StepError, TaskRun
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liminal_assets.apache.images.builder import ImageBuilder
    from liminal_assets.apache.workflow import (
        ExecutorSpec,
        Image,
        Pipeline,
        Service,
        TaskSpec,
        Workflow,
    )
    from liminal_assets.errors import StepError
    from liminal_assets.execution.executors.local import LocalExecutor
    from liminal_assets.execution.task import (
        Container,
        ContainerTask,
        Executor,
        HadoopTask,
        InProcessTask,
        Mount,
        Task,
        TaskRun,
    )
    from liminal_assets.language.diagnostics import Diagnostic, did_you_mean

__all__ = [
    "Container",
    "ContainerTask",
    "Diagnostic",
    "Executor",
    "ExecutorSpec",
    "HadoopTask",
    "Image",
    "ImageBuilder",
    "InProcessTask",
    "LocalExecutor",
    "Mount",
    "Pipeline",
    "Service",
    "StepError",
    "Task",
    "TaskRun",
    "TaskSpec",
    "Workflow",
    "did_you_mean",
]

_HOMES = {
    "Diagnostic": "language.diagnostics",
    "ExecutorSpec": "apache.workflow",
    "Image": "apache.workflow",
    "ImageBuilder": "apache.images.builder",
    "LocalExecutor": "execution.executors.local",
    "Pipeline": "apache.workflow",
    "Service": "apache.workflow",
    "StepError": "errors",
    "TaskSpec": "apache.workflow",
    "Workflow": "apache.workflow",
    "did_you_mean": "language.diagnostics",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "execution.task")
    value = getattr(import_module(f"liminal_assets.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
