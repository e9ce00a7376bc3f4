"""Another pipeline of the file as one task: its tasks run here, one after the other.

In the ``tasks`` of ``pipeline_defaults`` a task of this type stands for the pipeline's own tasks;
:mod:`liminal_assets.apache.workflow` puts them there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from liminal_assets.apache.workflow import Pipeline, TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.task import InProcessTask, TaskRun
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean

__all__ = ["PipelineTask"]

_KIND = "pipeline"
_HINT = (
    "'pipeline: its_name' runs another pipeline of the file; in the tasks of pipeline_defaults "
    "the task stands for those of each pipeline"
)


class PipelineTask(InProcessTask):
    """Runs the tasks of the pipeline that ``pipeline:`` names."""

    @classmethod
    def check(cls, spec: TaskSpec, workflow: Workflow) -> Iterable[Diagnostic]:
        name = spec.get(_KIND)
        if not name:
            message = "the task names no pipeline to run"
            yield Diagnostic(spec.locate("type"), "missing-key", message, _HINT)
        elif (named := workflow.pipelines.get(str(name))) is None:
            hint = did_you_mean(str(name), workflow.pipelines)
            message = f"no pipeline of the file is called {name!r}"
            yield Diagnostic(spec.locate(_KIND), "unknown-pipeline", message, hint)
        elif spec.pipeline in _reachable(named, workflow):
            message = f"the pipeline {spec.pipeline!r} runs itself"
            yield Diagnostic(spec.locate(_KIND), "pipeline-cycle", message)

    def run(self, run: TaskRun) -> None:
        from liminal_assets.execution.plugins import run_task

        mistakes = [item for item in self.check(self.spec, self.workflow) if item.is_error]
        for mistake in mistakes:
            raise StepError(mistake.message, location=mistake.location, hint=mistake.hint)
        pipeline = self.workflow.pipelines[str(self.spec.get(_KIND))]
        for task in pipeline.tasks:
            log = _prefixed(task.name, run)
            log.log("starts")
            run_task(task, replace(log, pipeline=pipeline))


def _prefixed(name: str, run: TaskRun) -> TaskRun:
    return replace(run, log=lambda line: run.log(f"{name}: {line}"))


def _reachable(pipeline: Pipeline, workflow: Workflow) -> set[str]:
    """The names of a pipeline and of those that its tasks run."""
    found: set[str] = set()
    todo = [pipeline]
    while todo:
        current = todo.pop()
        if current.name not in found:
            found.add(current.name)
            todo.extend(_run_by(current, workflow))
    return found


def _run_by(pipeline: Pipeline, workflow: Workflow) -> Iterator[Pipeline]:
    for task in pipeline.tasks:
        if task.type == _KIND and (named := workflow.pipelines.get(str(task.get(_KIND)))):
            yield named
