"""Dagster's and MLflow's own servers on the state of projects."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from liminal_assets.execution.programs import Program
from liminal_assets.language.loading import Project

__all__ = ["HOST", "check_free", "dagster_server", "mlflow_server"]

HOST = "127.0.0.1"

_JOBS = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
_DATABASES = ("sqlite://", "postgresql", "mysql", "mssql", "file://")


def dagster_server(
    files: Sequence[Path], home: Path, port: int, *, env: str | None = None
) -> Program:
    """Dagster's webserver with its daemon, which has sensors and schedules on.

    Args:
        files: the projects' files, or folders that hold them.
        home: the folder that holds their state (``.liminal``).
        port: the webserver's.
        env: the environment (``--env``).
    """
    from liminal_assets.cli.session import CODE_LOCATION
    from liminal_assets.storage.instance import dagster_home

    folder = dagster_home(home)
    environment = {
        "DAGSTER_HOME": str(folder),
        "LIMINAL_PROJECT": os.pathsep.join(map(str, files)),
        "PYTHONWARNINGS": "ignore",
    }
    if env:
        environment["LIMINAL_ENV"] = env
    arguments = [sys.executable, "-m", "dagster", "dev", "-m", CODE_LOCATION]
    arguments += ["-h", HOST, "-p", str(port), "--log-level", "warning"]
    return Program(
        name="Dagster",
        arguments=arguments,
        folder=folder,
        log=_log(home, "dagster"),
        url=f"http://{HOST}:{port}",
        health="/server_info",
        environment=environment,
        kind="ui",
    )


def mlflow_server(project: Project, port: int) -> Program | None:
    """MLflow's server on the project's experiments; None where they are on a server already."""
    tracking = project.spec.storage.mlflow
    if tracking is not None and "://" in tracking and not tracking.startswith(_DATABASES):
        return None
    from liminal_assets.storage.tracking import artifact_root, tracking_uri

    arguments = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    arguments += ["--workers", "1", "--backend-store-uri", tracking_uri(project)]
    if root := artifact_root(project):
        arguments += ["--default-artifact-root", root]
    project.state.mkdir(parents=True, exist_ok=True)
    return Program(
        name="MLflow",
        arguments=arguments,
        folder=project.state,
        log=_log(project.home, "mlflow"),
        url=f"http://{HOST}:{port}",
        health="/health",
        environment={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # jobs judge traces of language models; their runner is eight processes that don't stop
            # when they are asked to
            _JOBS: os.environ.get(_JOBS, "false"),
        },
        kind="ui",
    )


def _log(home: Path, name: str) -> Path:
    return home / ".liminal" / "logs" / f"{name}.log"


def check_free(server: Program, option: str) -> None:
    """Fails for a port that something else uses.

    Raises:
        click.UsageError: says which option takes another.
    """
    port = int(server.url.rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise click.UsageError(
                f"port {port} for {server.name} can't be used: {error.strerror}; "
                f"{option} {port + 1} takes another"
            ) from None
