"""What ``workspace.yaml`` loads: every project found, as one code location.

``LIMINAL_PROJECT`` names the folders or files to load (separated as in ``PATH``); by default it is
every project at or below the current folder.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from liminal_assets.execution.threads import let_idle_threads_sleep
from liminal_assets.factories.build import build_definitions
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, Location
from liminal_assets.language.loading import Project, find_projects, load_project

__all__ = ["defs", "load_projects"]


def load_projects(paths: Sequence[Path | str]) -> list[Project]:
    """Every project at or below some folders.

    Raises:
        InvalidProjectError: all mistakes of all projects, or two projects of one name.
    """
    projects: dict[str, Project] = {}
    mistakes: list[Diagnostic] = []
    files = {file: None for path in paths for file in _files(Path(path))}
    for file in files:
        try:
            project = load_project(file)
        except InvalidProjectError as error:
            mistakes.extend(error.diagnostics)
            continue
        if first := projects.get(project.name):
            mistakes.append(
                Diagnostic(
                    Location(str(file)),
                    "duplicate-name",
                    f"the project name {project.name!r} is taken by {first.file}",
                    "rename one, or name the one to load in LIMINAL_PROJECT",
                )
            )
        else:
            projects[project.name] = project
    if mistakes:
        raise InvalidProjectError(mistakes)
    return list(projects.values())


def _files(path: Path) -> list[Path]:
    return [path.resolve()] if path.is_file() else list(find_projects(path))


def _definitions() -> dg.Definitions:
    chosen = os.environ.get("LIMINAL_PROJECT")
    paths = chosen.split(os.pathsep) if chosen else [Path.cwd()]
    return dg.Definitions.merge(*(build_definitions(project) for project in load_projects(paths)))


let_idle_threads_sleep()
defs = _definitions()
# they live as long as the process, and the processes of steps are forked from it
gc.freeze()
