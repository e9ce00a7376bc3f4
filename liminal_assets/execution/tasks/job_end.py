"""Reports how a job ended, and how long it took."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.execution.job_metrics import check_metrics, report
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["JobEndTask"]


class JobEndTask(InProcessTask):
    """Sends the metrics ``JobResult`` (1 if every task before it succeeded, else 0) and
    ``JobDuration`` (whole seconds since the first task began) of the pipeline."""

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from check_metrics(spec, workflow)

    def run(self, run: TaskRun) -> None:
        now = datetime.now(timezone.utc)
        duration = round((now - (run.started or now)).total_seconds())
        for task in run.failed:
            run.log(f"{task} failed")
        run.log(f"{'failed' if run.failed else 'succeeded'} after {duration} s")
        report(self.spec, run, {"JobResult": int(not run.failed), "JobDuration": duration})
