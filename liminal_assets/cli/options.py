"""Options that verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import Project, find_project_file, find_projects, load_project

__all__ = [
    "as_json",
    "open_project",
    "open_projects",
    "project_file",
    "project_options",
    "ui_ports",
]

Command = TypeVar("Command", bound=Callable[..., Any])


class _ProjectOption(click.Option):
    """``--project``, which Apache Liminal called ``--path``; help tells the first."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(", --path", ""), record[1])


def project_options(command: Command) -> Command:
    """``--project PATH`` and ``--env NAME``: parameters ``project`` and ``env``."""
    command = click.option(
        "--env",
        metavar="NAME",
        envvar="LIMINAL_ENV",
        help="The environment (dev, staging, prod) whose overlay is used.",
    )(command)
    return click.option(
        "project",
        "--project",
        "--path",
        cls=_ProjectOption,
        metavar="PATH",
        type=click.Path(path_type=Path),
        default=Path(),
        help="A project's folder or its liminal.yml. Default: the current folder.",
    )(command)


def ui_ports(command: Command) -> Command:
    """``--port`` and ``--mlflow-port`` of the UIs: parameters ``port`` and ``mlflow_port``."""
    number = click.IntRange(1, 65535)
    for name, port, whose in (
        ("--mlflow-port", 5000, "Of MLflow's UI."),
        ("--port", 3000, "Of Dagster's UI."),
    ):
        option = click.option(name, type=number, default=port, show_default=True, help=whose)
        command = option(command)
    return command


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""``--json``: parameter ``as_json``."""


def project_file(path: Path) -> Path:
    """The ``liminal.yml`` that ``--project`` means.

    Raises:
        InvalidProjectError: there is none; names those below the folder.
    """
    try:
        return find_project_file(path)
    except InvalidProjectError as error:
        (mistake,) = error.diagnostics
        below = [file.parent for file in find_projects(path)] if path.is_dir() else []
        if not below:
            raise
        names = ", ".join(str(folder.relative_to(path.resolve())) for folder in below[:5])
        hint = f"--project chooses one of those below: {names}"
        raise InvalidProjectError.at(
            mistake.location, mistake.code, mistake.message, hint
        ) from None


def open_project(path: Path, env: str | None) -> Project:
    """The checked project that ``--project`` and ``--env`` mean.

    Raises:
        InvalidProjectError: everything that is wrong with it, or it is several.
    """
    try:
        return load_project(path, environment=env)
    except InvalidProjectError as error:
        raise _with_names(path, error) from None


def open_projects(path: Path, env: str | None) -> list[Project]:
    """The same for verbs that take all of Apache Liminal's files below a folder at once.

    Raises:
        InvalidProjectError: everything that is wrong with them.
    """
    from liminal_assets.apache.projects import projects_at

    try:
        return projects_at(path, environment=env)
    except InvalidProjectError as error:
        raise _with_names(path, error) from None


def _with_names(path: Path, error: InvalidProjectError) -> InvalidProjectError:
    """The error; that there is no project with the names of those below."""
    if any(mistake.code == "no-project" for mistake in error.diagnostics):
        try:
            project_file(path)
        except InvalidProjectError as named:
            return named
    return error
