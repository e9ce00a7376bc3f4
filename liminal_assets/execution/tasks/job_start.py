"""Reports that a job started."""

from __future__ import annotations

from collections.abc import Iterable

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.execution.job_metrics import check_metrics, report
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["JobStartTask"]


class JobStartTask(InProcessTask):
    """Sends the metric ``JobStarted`` (1) of the pipeline."""

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from check_metrics(spec, workflow)

    def run(self, run: TaskRun) -> None:
        report(self.spec, run, {"JobStarted": 1})
