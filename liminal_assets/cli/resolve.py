"""``liminal resolve``: the final configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click

from liminal_assets.apache.find import find_apache
from liminal_assets.cli.apache import resolve_apache
from liminal_assets.cli.options import as_json, open_project, project_file, project_options
from liminal_assets.cli.output import print_json
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import resolve_document
from liminal_assets.language.writing import plain_spec, to_yaml

__all__ = ["command"]


@click.command("resolve")
@project_options
@click.option("--no-render", is_flag=True, help="Leave {{ variables }} as they are written.")
@as_json
def command(project: Path, env: str | None, no_render: bool, as_json: bool) -> None:
    """Show the final configuration: overlay, defaults and variables in place.

    With --no-render it is the file with the overlay of --env alone: what needs no values.

    For a project of Apache Liminal it is a list: every file below the folder that is no super,
    with what it inherits.
    """
    if tree := find_apache(project):
        resolve_apache(tree, env, render=not no_render, as_json=as_json)
        return
    if no_render:
        file = project_file(project)
        document, mistakes = resolve_document(file, env, os.environ, render=False)
        if mistakes:
            raise InvalidProjectError(mistakes)
        final = {key: value for key, value in document.items() if key != "environments"}
    else:
        final = plain_spec(open_project(project, env).spec)
    if as_json:
        print_json(final)
    else:
        click.echo(to_yaml(final), nl=False)
