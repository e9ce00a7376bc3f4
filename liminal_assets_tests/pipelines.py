"""Small projects of pipelines whose tasks run in the step's process, and their runs."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import yaml

import liminal_assets as la
from liminal_assets.language.loading import Project

__all__ = ["executed", "pipeline_project", "told"]

_NOTE = '''\
import time

from liminal_assets.plugins import InProcessTask, StepError


class Note(InProcessTask):
    """Writes down that it ran, and what failed before."""

    def run(self, run):
        with (self.workflow.root / "notes").open("a") as notes:
            print(self.spec.path, *run.failed, file=notes)
        run.log(f"{self.spec.name} speaks")
        time.sleep(self.spec.get("sleep", 0))
        if self.spec.get("fail"):
            raise StepError("told to fail", location=self.spec.locate("fail"))
        run.results["answer"] = 42
'''


def pipeline_project(folder: Path, *pipelines: dict[str, object], **keys: object) -> Project:
    """A project of pipelines in a folder; its tasks may be of type ``note``."""
    plugin = folder / "plugins" / "tasks" / "note.py"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.write_text(_NOTE)
    document = {"name": "notes", **keys, "pipelines": list(pipelines)}
    (folder / "liminal.yml").write_text(yaml.safe_dump(document, sort_keys=False))
    return la.load_project(folder)


def executed(
    project: Project, job: str, instance: dg.DagsterInstance | None = None, **tags: str
) -> dg.ExecuteInProcessResult:
    """A run of a job, in this process."""
    definition = la.build_definitions(project).get_repository_def().get_job(job)
    return definition.execute_in_process(
        instance=instance or dg.DagsterInstance.ephemeral(), raise_on_error=False, tags=tags
    )


def told(project: Project) -> list[str]:
    """What the tasks wrote down: each task that ran, and the tasks that had failed before."""
    notes = project.root / "notes"
    return notes.read_text().splitlines() if notes.exists() else []
