"""Projects that a verb brings up or takes down: those of a folder, and those that are deployed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from liminal_assets.apache.projects import projects_at
from liminal_assets.apache.workflow import Workflow
from liminal_assets.cli.options import open_projects
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import Project, find_projects, home_of, own_file

__all__ = [
    "Deployed",
    "home_at",
    "open_workflows",
    "projects_to_start",
    "projects_together",
    "workflows_of",
]


class Deployed:
    """The projects that ``liminal deploy`` has registered on a state folder.

    Args:
        home: the folder that holds the state (``.liminal``).
    """

    def __init__(self, home: Path) -> None:
        self._file = home / ".liminal" / "deployed.json"

    def all(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each, by the path that finds it again."""
        with suppress(OSError, ValueError):
            said = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(said, dict):
                return said
        return {}

    def add(self, place: Path, **known: Any) -> None:
        """Registers a project, in place of what was known of it."""
        self._write({**self.all(), str(place): known})

    def remove(self, places: Iterable[Path]) -> list[str]:
        """Takes projects out; the paths of those that were registered."""
        found, out = self.all(), {str(place) for place in places}
        self._write({place: known for place, known in found.items() if place not in out})
        return sorted(out & found.keys())

    def _write(self, all_of_them: Mapping[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".tmp")
        new.write_text(json.dumps(all_of_them, indent=2), encoding="utf-8")
        new.replace(self._file)


def home_at(path: Path) -> Path:
    """The folder that holds the state of what is at a path, whether or not a project is there."""
    path = path.expanduser().resolve()
    return home_of(path.parent if path.is_file() else path)


def projects_together(path: Path, env: str | None) -> list[Project]:
    """The project at a path, or all below a folder that has none itself.

    Raises:
        InvalidProjectError: one of them is wrong, or there is none.
        click.UsageError: they don't share their state.
    """
    from liminal_assets.apache.projects import load_projects

    below = path.is_dir() and own_file(path) is None and any(find_projects(path))
    projects = load_projects([path], environment=env) if below else open_projects(path, env)
    homes = {project.home for project in projects}
    if len(homes) > 1:
        raise click.UsageError(
            f"the projects below {path} keep their state in {len(homes)} folders: choose one "
            "with --project, or put a workspace.yaml beside them"
        )
    return projects


def projects_to_start(path: Path, env: str | None) -> list[Project]:
    """The projects at a path, and those that are deployed on the same state.

    Raises:
        InvalidProjectError: one of them is wrong, or there is none.
        click.UsageError: they don't share their state.
    """
    found: list[Project] = []
    nothing_here: InvalidProjectError | None = None
    try:
        found = projects_together(path, env)
    except InvalidProjectError as error:
        if {item.code for item in error.diagnostics} != {"no-project"}:
            raise
        nothing_here = error
    home = found[0].home if found else home_at(path)
    projects = {project.file: project for project in found}
    for place in Deployed(home).all():
        if Path(place).exists():
            for project in projects_at(place, environment=env):
                projects.setdefault(project.file, project)
    if not projects and nothing_here is not None:
        raise nothing_here
    if len(homes := {project.home for project in projects.values()}) > 1:
        raise click.UsageError(
            f"the projects keep their state in {len(homes)} folders: choose one with --project, "
            "or put a workspace.yaml beside them"
        )
    return list(projects.values())


def workflows_of(projects: Iterable[Project]) -> list[Workflow]:
    """Those of the projects that have sections of Apache Liminal's."""
    return [project.workflow for project in projects if project.workflow is not None]


def open_workflows(path: Path, env: str | None) -> list[Workflow]:
    """The Apache Liminal sections of the projects at a path.

    Raises:
        InvalidProjectError: one of the projects is wrong, there is none, or none has any.
    """
    found = workflows_of(open_projects(path, env))
    if not found:
        message = "the project has none of the sections that this takes"
        hint = "it takes those of Apache Liminal, such as 'images', 'volumes' and 'services'"
        raise InvalidProjectError.at(path, "no-workflow", message, hint)
    return found
