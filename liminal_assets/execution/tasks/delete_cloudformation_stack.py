"""Deletes a stack of CloudFormation, unless another run of the pipeline may need it."""

from __future__ import annotations

from collections.abc import Iterable

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets.integrations.cloudformation import Stack
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["DeleteCloudFormationStackTask"]


class DeleteCloudFormationStackTask(InProcessTask):
    """Deletes ``stack_name`` and waits until it is gone; left for the last of several runs."""

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        if not spec.get("stack_name"):
            at = spec.locate("stack_name")
            yield Diagnostic(at, "missing-key", "'stack_name' is missing")

    def run(self, run: TaskRun) -> None:
        name = str(self.spec.get("stack_name"))
        if others := run.other_runs():
            shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            run.log(f"the stack {name} stays: other runs of {run.pipeline.name} need it: {shown}")
            run.results["kept_for"] = list(others)
            return
        stack = Stack(name, lambda: run.remaining, self.spec.locate("stack_name"))
        if stack.status() in (None, "DELETE_COMPLETE"):
            run.log(f"there is no stack {name}")
            return
        run.log(f"deleting the stack {name}")
        stack.delete()
        stack.wait_until_deleted()
        run.log(f"the stack {name} is gone")
