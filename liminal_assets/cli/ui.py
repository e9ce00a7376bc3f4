"""``liminal ui``: Dagster's UI and daemon, and MLflow's UI beside them, on the project's state."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import click

from liminal_assets.cli.options import project_file, project_options
from liminal_assets.cli.output import say
from liminal_assets.cli.servers import check_free, dagster_server, mlflow_server
from liminal_assets.execution.programs import died, started, wait_until_ready
from liminal_assets.language.loading import Project, find_projects, load_project

__all__ = ["command"]


@click.command("ui")
@project_options
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Dagster's."
)
@click.option(
    "--mlflow-port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="MLflow's.",
)
def command(project: Path, env: str | None, port: int, mlflow_port: int) -> int:
    """Start Dagster's UI and daemon (sensors and schedules on) and MLflow's UI.

    PATH may also be a folder of several projects. All see the same state as 'liminal run'. Ctrl-C
    stops everything.
    """
    projects = _projects(project, env)
    first = projects[0]
    files = [project.file for project in projects]
    servers = [dagster_server(files, first.home, port, env=env)]
    if mlflow := mlflow_server(first, mlflow_port):
        servers.append(mlflow)
    for server, option in zip(servers, ("--port", "--mlflow-port"), strict=False):
        check_free(server, option)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            running = [(server, stack.enter_context(started(server))) for server in servers]
            for server, process in running:
                wait_until_ready(server, process)
                say(f"{server.name}: {server.url}", style="bold")
            if len(servers) == 1:
                say(f"MLflow: {first.spec.storage.mlflow}", style="bold")
            say("Ctrl-C stops them")
            while True:
                for server, process in running:
                    if process.poll() is not None:
                        raise died(server, process)
                time.sleep(0.5)
    except KeyboardInterrupt:
        say("stopped")
        return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _projects(path: Path, env: str | None) -> list[Project]:
    """The project at a folder, or all below it.

    Raises:
        InvalidProjectError: one of them is wrong, or there is none.
        click.UsageError: they don't share their state.
    """
    below = list(find_projects(path)) if path.is_dir() else []
    direct = {(path / name).resolve() for name in ("liminal.yml", "liminal.yaml")}
    files = below if below and not direct & set(below) else [project_file(path)]
    projects = [load_project(file, environment=env) for file in files]
    homes = {project.home for project in projects}
    if len(homes) > 1:
        raise click.UsageError(
            f"the projects below {path} keep their state in {len(homes)} folders: choose one "
            "with --project, or put a workspace.yaml beside them"
        )
    return projects
