"""``liminal validate``: every mistake at once."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.apache.find import find_apache
from liminal_assets.cli.apache import validate_apache
from liminal_assets.cli.options import as_json, project_file, project_options
from liminal_assets.cli.output import print_diagnostics, print_json, say
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError
from liminal_assets.language.loading import Project, examine_project

__all__ = ["command", "find_mistakes"]


@click.command("validate")
@project_options
@as_json
def command(project: Path, env: str | None, as_json: bool) -> int:
    """Find every mistake that can be known without running anything.

    Schema, names, references, cycles, cron, partitions, time zones; user functions and their
    parameters, SQL, estimators and their params, metrics, expectations and their arguments,
    files. Without --env, the overlay of each environment is checked too.

    For a project of Apache Liminal: every file below the folder, with warnings for keys that
    never had an effect.

    Exit code 2 if there are mistakes.
    """
    if tree := find_apache(project):
        return validate_apache(tree, env, as_json=as_json)
    try:
        found, mistakes = find_mistakes(project_file(project), env)
    except InvalidProjectError as error:
        found, mistakes = None, list(error.diagnostics)
    if as_json:
        print_json([mistake.as_dict() for mistake in mistakes])
    elif mistakes:
        print_diagnostics(mistakes, err=False)
    elif found:
        blocks = len(list(found.spec.blocks))
        pipelines = len(found.workflow.pipelines) if found.workflow else 0
        also = f", {pipelines} pipelines" if pipelines else ""
        say(f"{found.name}: {blocks} blocks{also}, no mistakes", style="green")
    return 2 if any(mistake.is_error for mistake in mistakes) else 0


def find_mistakes(file: Path, env: str | None) -> tuple[Project | None, list[Diagnostic]]:
    """What is right in a project file, and every mistake in the rest, in the order of the file."""
    project, found = examine_project(file, environment=env)
    mistakes = set(found)
    if project is not None:
        from liminal_assets.language.deep import deep_mistakes

        places = {mistake.location for mistake in mistakes}
        mistakes |= {m for m in deep_mistakes(project) if m.location not in places}
        if project.workflow is not None:
            from liminal_assets.cli.apache import mistakes_of_workflow

            found_in = mistakes_of_workflow(project.workflow)
            mistakes |= {m for m in found_in if m.location not in places}
        if env is None:
            mistakes |= _mistakes_of_overlays(file, project)
    return project, sorted(mistakes)


def _mistakes_of_overlays(file: Path, project: Project) -> set[Diagnostic]:
    """Schema and references in every environment; their variables may be set elsewhere only."""
    return {
        mistake
        for name in project.spec.environments
        for mistake in examine_project(file, environment=name)[1]
        if mistake.code != "unresolved-variable"
    }
