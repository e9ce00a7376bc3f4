"""A command in the container of a Python image."""

from __future__ import annotations

from collections.abc import Iterable

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.execution.containers import (
    check_container,
    environment_of,
    mounts_of,
    workers_of,
)
from liminal_assets.execution.task import Container, ContainerTask, TaskRun
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["PythonTask"]


class PythonTask(ContainerTask):
    """``cmd`` by bash in the container of an ``image``.

    Without an image it can run on this machine only, in the folder of the file.
    """

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from check_container(spec, workflow)
        if spec.get("cmd") in (None, ""):
            hint = "such as 'cmd: python -u my_module.py'"
            yield Diagnostic(spec.locate(), "missing-key", "'cmd' is missing", hint)
        for key in ("cmd", "image"):
            if isinstance(value := spec.get(key), list | dict):
                kind = "list" if isinstance(value, list) else "mapping"
                message = f"{key} must be text, not a {kind}"
                yield Diagnostic(spec.locate(key), "invalid-type", message)

    def container(self, run: TaskRun) -> Container:
        spec = self.spec
        return Container(
            image=str(spec.get("image", "")),
            command=["/bin/bash", "-c", str(spec.get("cmd", ""))],
            environment=environment_of(spec),
            mounts=mounts_of(spec),
            workers=workers_of(spec),
        )
