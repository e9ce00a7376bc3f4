"""``liminal ui``: Dagster's UI and daemon, and MLflow's UI beside them, on the project's state."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType

import click

from liminal_assets.cli.options import project_options, ui_ports
from liminal_assets.cli.output import say
from liminal_assets.cli.projects import projects_together
from liminal_assets.cli.servers import check_free, dagster_server, mlflow_server
from liminal_assets.execution.programs import died, started, wait_until_ready

__all__ = ["command"]


@click.command("ui")
@project_options
@ui_ports
def command(project: Path, env: str | None, port: int, mlflow_port: int) -> int:
    """Start Dagster's UI and daemon (sensors and schedules on) and MLflow's UI.

    PATH may also be a folder of several projects. All see the same state as 'liminal run'. Ctrl-C
    stops everything. Pipelines without a model have no use for MLflow's UI and start none.
    """
    projects = projects_together(project, env)
    first = projects[0]
    places = list(dict.fromkeys(project.place for project in projects))
    servers = [dagster_server(places, first.home, port, env=env)]
    tracked = any(project.workflow is None or project.spec.models for project in projects)
    if tracked and (mlflow := mlflow_server(first, mlflow_port)):
        servers.append(mlflow)
    for server, option in zip(servers, ("--port", "--mlflow-port"), strict=False):
        check_free(server, option)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with started(servers) as processes:
            running = list(zip(servers, processes, strict=True))
            for server, process in running:
                wait_until_ready(server, process)
                say(f"{server.name}: {server.url}", style="bold")
            if tracked and len(servers) == 1:
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
