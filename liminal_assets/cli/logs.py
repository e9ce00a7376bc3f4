"""``liminal logs``: what servers and tasks have written, and what they write."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from liminal_assets.cli.options import project_options
from liminal_assets.cli.output import say
from liminal_assets.cli.projects import home_at, projects_together
from liminal_assets.cli.streams import show_line
from liminal_assets.execution.tailing import Tail, last_lines
from liminal_assets.language.diagnostics import InvalidProjectError, did_you_mean
from liminal_assets.language.loading import Project

if TYPE_CHECKING:
    import dagster as dg

    from liminal_assets.cli.task_logs import TaskLog

__all__ = ["command"]

_LINES = 100
"""Of each log where ``--tail`` says nothing."""
_EVERY = 1.0
"""Seconds between two looks at tasks."""


@click.command("logs")
@project_options
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written, until Ctrl-C.")
@click.option(
    "-t",
    "--tail",
    type=click.IntRange(min=0),
    help=f"The number of last lines of each.  [default: {_LINES}; with --follow 10]",
)
def command(
    project: Path, env: str | None, names: tuple[str, ...], follow: bool, tail: int | None
) -> None:
    """Show the logs of what 'liminal start' has up, and of the last run of each task.

    NAME is a server (dagster, mlflow, supervisor), a service, a deployment, a pipeline or a task.
    """
    projects = _projects(project, env)
    home = projects[0].home if projects else home_at(project)
    files, tasks = _chosen(_files(home / ".liminal" / "logs"), projects, names)
    count = (10 if follow else _LINES) if tail is None else tail
    later = Tail(files)
    shown = 0
    for name, file in files.items():
        for line in last_lines(file, count):
            show_line(name, line)
            shown += 1
    with ExitStack() as stack:
        instance = stack.enter_context(_instance(home)) if tasks else None
        if instance is not None:
            shown += sum(_show_last(log, instance, count) for log in tasks)
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(later, tasks, instance)
        elif not shown and count:
            say("nothing has been written yet")


def _show_last(log: TaskLog, instance: dg.DagsterInstance, count: int) -> int:
    """Shows the last lines of a task; how many that were."""
    lines = list(log.lines(instance))
    last = lines[len(lines) - min(count, len(lines)) :]
    for line in last:
        show_line(log.name, line)
    return len(last)


def _projects(path: Path, env: str | None) -> list[Project]:
    """Those at a path; none where there are only logs of what was there, or of a broken file."""
    try:
        return projects_together(path, env)
    except InvalidProjectError:
        return []


def _files(folder: Path) -> dict[str, Path]:
    """The logs of servers, by the names that they are shown with."""
    own = {file.stem: file for file in sorted(folder.glob("*.log"))}
    services = sorted(folder.glob("*/services/*.log"))
    own |= {f"{file.parent.parent.name}/{file.stem}": file for file in services}
    return {name: file for name, file in own.items() if not name.endswith(".old")}


def _chosen(
    files: Mapping[str, Path], projects: Sequence[Project], names: Sequence[str]
) -> tuple[dict[str, Path], list[TaskLog]]:
    """The logs that are asked for; all where no name is.

    Raises:
        click.BadParameter: nothing is called that.
    """
    from liminal_assets.cli.task_logs import task_logs

    tasks = task_logs(projects) if any(project.workflow for project in projects) else []
    if not names:
        return dict(files), tasks
    some: dict[str, Path] = {}
    logs: dict[str, TaskLog] = {}
    for name in names:
        matching = {key: file for key, file in files.items() if _is_called(key, name)}
        of_tasks = [log for log in tasks if name in (log.name, log.pipeline, log.task)]
        if not matching and not of_tasks:
            known = [*files, *(key.rpartition("/")[2] for key in files)]
            known += [word for log in tasks for word in (log.name, log.pipeline, log.task)]
            hint = did_you_mean(name, known)
            message = f"nothing that has a log is called {name!r}" + (f" ({hint})" if hint else "")
            raise click.BadParameter(message, param_hint="NAME")
        some |= matching
        logs |= {log.name: log for log in of_tasks}
    return some, list(logs.values())


def _is_called(key: str, name: str) -> bool:
    return name.lower() in (key.lower(), key.rpartition("/")[2].lower())


def _instance(home: Path) -> dg.DagsterInstance:
    from liminal_assets.storage.instance import open_instance

    return open_instance(home)


def _follow(tail: Tail, tasks: Sequence[TaskLog], instance: dg.DagsterInstance | None) -> NoReturn:
    """Shows what comes, until Ctrl-C."""
    next_look = 0.0
    while True:
        for name, line in tail.lines():
            show_line(name, line)
        if instance is not None and time.monotonic() > next_look:
            for log in tasks:
                for line in log.lines(instance):
                    show_line(log.name, line)
            next_look = time.monotonic() + _EVERY
        time.sleep(0.2)
