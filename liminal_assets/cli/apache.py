"""What ``validate`` and ``resolve`` do for a project of Apache Liminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import click

from liminal_assets.apache.find import Tree
from liminal_assets.apache.resolve import Examination, examine_projects
from liminal_assets.cli.output import print_diagnostics, print_json, say
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, Location
from liminal_assets.language.writing import to_yaml

if TYPE_CHECKING:
    from liminal_assets.apache.workflow import Workflow

__all__ = ["mistakes_of_parts", "mistakes_of_workflow", "resolve_apache", "validate_apache"]


def resolve_apache(tree: Tree, env: str | None, *, render: bool, as_json: bool) -> None:
    """Prints a list: the final configuration of each file that is no super.

    Mistakes and warnings go to standard error.

    Raises:
        InvalidProjectError: a file can't be resolved.
    """
    found = examine_projects(tree, render=render)
    diagnostics = [*_no_environments(tree, env), *found.diagnostics]
    if found.obstacles:
        raise InvalidProjectError(diagnostics)
    configurations = [project.as_dict() for project in found.projects]
    if as_json:
        print_json(configurations)
    else:
        click.echo(to_yaml(configurations), nl=False)
    if diagnostics:
        print_diagnostics(diagnostics)


def validate_apache(tree: Tree, env: str | None, *, as_json: bool) -> int:
    """Prints every mistake and warning; the exit code: 2 if there are mistakes."""
    found = examine_projects(tree)
    diagnostics = [*_no_environments(tree, env), *found.diagnostics, *mistakes_of_parts(found)]
    diagnostics = sorted(dict.fromkeys(diagnostics))
    if as_json:
        print_json([diagnostic.as_dict() for diagnostic in diagnostics])
    elif diagnostics:
        print_diagnostics(diagnostics, err=False)
    else:
        for project in found.projects:
            pipelines = len(project.configuration["pipelines"])
            say(f"{project.name}: {pipelines} pipelines, no mistakes", style="green")
    return 2 if any(diagnostic.is_error for diagnostic in diagnostics) else 0


def mistakes_of_parts(found: Examination) -> Iterator[Diagnostic]:
    """What takes the imports of tasks, executors, images and plugins to know, and services."""
    from liminal_assets.apache.projects import as_project
    from liminal_assets.apache.workflow import Workflow
    from liminal_assets.language.references import check_references

    places = {(item.location, item.code) for item in found.findings}
    for resolved in found.projects:
        named = check_references(as_project(resolved))
        for mistake in chain(named, mistakes_of_workflow(Workflow.of(resolved))):
            if (mistake.location, mistake.code) not in places:
                yield mistake


def mistakes_of_workflow(workflow: Workflow) -> Iterator[Diagnostic]:
    """The same for one file's sections."""
    from liminal_assets.apache.images.finding import image_mistakes
    from liminal_assets.execution.plugins import plugin_mistakes
    from liminal_assets.execution.services import service_mistakes

    yield from plugin_mistakes(workflow)
    yield from image_mistakes(workflow)
    yield from service_mistakes(workflow)


def _no_environments(tree: Tree, env: str | None) -> Iterator[Diagnostic]:
    if env is not None:
        at = Location(str(tree.chosen or tree.folder))
        message = f"Apache Liminal's projects have no environments: {env!r} changes nothing"
        yield Diagnostic(at, "ignored-environment", message, severity="warning")
