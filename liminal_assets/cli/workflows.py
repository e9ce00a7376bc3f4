"""Apache Liminal's files for a command: all of a folder, checked."""

from __future__ import annotations

from pathlib import Path

from liminal_assets.apache.find import find_apache
from liminal_assets.apache.resolve import examine_projects
from liminal_assets.apache.workflow import Workflow
from liminal_assets.language.diagnostics import InvalidProjectError

__all__ = ["find_workflows", "open_workflows"]


def find_workflows(path: Path) -> list[Workflow] | None:
    """The workflows of an Apache Liminal project; None where there is none.

    Raises:
        InvalidProjectError: everything that is wrong with its files.
    """
    tree = find_apache(path)
    if tree is None:
        return None
    found = examine_projects(tree)
    errors = [diagnostic for diagnostic in found.diagnostics if diagnostic.is_error]
    if errors:
        raise InvalidProjectError(errors)
    return [Workflow.of(project) for project in found.projects]


def open_workflows(path: Path) -> list[Workflow]:
    """The workflows of an Apache Liminal project.

    Raises:
        InvalidProjectError: there is none, or everything that is wrong with its files.
    """
    found = find_workflows(path)
    if found is None:
        message = "there is no Apache Liminal project here"
        hint = "its liminal.yml has sections such as 'pipelines', 'images' and 'services'"
        raise InvalidProjectError.at(path, "no-project", message, hint)
    return found
