"""``liminal ui``: Dagster's UI and daemon, and MLflow's UI beside them, on the project's state."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from liminal_assets.cli.options import project_file, project_options
from liminal_assets.cli.output import say
from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project, find_projects, load_project

__all__ = ["command"]

_HOST = "127.0.0.1"
_PATIENCE = 180.0
"""Seconds until a server must answer for the first time."""
_GRACE = 20.0
"""Seconds that a server has to stop."""


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
    servers = [_dagster(projects, env, port)]
    tracking = first.spec.storage.mlflow
    if tracking is None or "://" not in tracking or tracking.startswith(_DATABASES):
        servers.append(_mlflow(first, mlflow_port))
    for server in servers:
        _check_free(server)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            running = [(server, stack.enter_context(_started(server))) for server in servers]
            for server, process in running:
                _wait(server, process)
                say(f"{server.name}: {server.url}", style="bold")
            if len(servers) == 1:
                say(f"MLflow: {tracking}", style="bold")
            say("Ctrl-C stops them")
            while True:
                for server, process in running:
                    if process.poll() is not None:
                        raise _died(server, process)
                time.sleep(0.5)
    except KeyboardInterrupt:
        say("stopped")
        return 0


_DATABASES = ("sqlite://", "postgresql", "mysql", "mssql", "file://")


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


@dataclass(frozen=True)
class _Server:
    name: str
    arguments: Sequence[str]
    port: int
    option: str
    health: str
    """The path that answers once it is ready."""
    log: Path
    environment: Mapping[str, str]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"


def _dagster(projects: Sequence[Project], env: str | None, port: int) -> _Server:
    from liminal_assets.cli.session import CODE_LOCATION
    from liminal_assets.storage.instance import dagster_home

    home = dagster_home(projects[0].home)
    environment = {
        "DAGSTER_HOME": str(home),
        "LIMINAL_PROJECT": os.pathsep.join(str(project.file) for project in projects),
        "PYTHONWARNINGS": "ignore",
    }
    if env:
        environment["LIMINAL_ENV"] = env
    arguments = ["dagster", "dev", "-m", CODE_LOCATION, "-h", _HOST, "-p", str(port)]
    return _Server(
        name="Dagster",
        arguments=[*arguments, "--log-level", "warning"],
        port=port,
        option="--port",
        health="/server_info",
        log=_log(projects[0], "dagster"),
        environment=environment,
        folder=home,
    )


def _mlflow(project: Project, port: int) -> _Server:
    from liminal_assets.storage.tracking import artifact_root, tracking_uri

    uri = tracking_uri(project)
    arguments = ["mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", uri]
    if root := artifact_root(project):
        arguments += ["--default-artifact-root", root]
    project.state.mkdir(parents=True, exist_ok=True)
    return _Server(
        name="MLflow",
        arguments=arguments,
        port=port,
        option="--mlflow-port",
        health="/health",
        log=_log(project, "mlflow"),
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        folder=project.state,
    )


def _log(project: Project, name: str) -> Path:
    folder = project.state / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def _check_free(server: _Server) -> None:
    """Fails for a port that something else uses.

    Raises:
        click.UsageError: says which option takes another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, server.port))
        except OSError as error:
            raise click.UsageError(
                f"port {server.port} for {server.name} can't be used: {error.strerror}; "
                f"{server.option} {server.port + 1} takes another"
            ) from None


@contextmanager
def _started(server: _Server) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own; at the end all of it is gone."""
    with server.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *server.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=server.folder,
            env={**os.environ, **server.environment},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # what it left behind goes with its group
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait()


def _wait(server: _Server, process: subprocess.Popen[bytes]) -> None:
    """Until it answers.

    Raises:
        StepError: it ends before, or takes too long.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _died(server, process)
        try:
            with urllib.request.urlopen(f"{server.url}{server.health}", timeout=2):  # noqa: S310
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    raise StepError(
        f"{server.name} doesn't answer after {_PATIENCE:.0f} seconds", hint=f"see {server.log}"
    )


def _died(server: _Server, process: subprocess.Popen[bytes]) -> StepError:
    lines = server.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = "\n  ".join(lines[-15:])
    return StepError(
        f"{server.name} ended with exit code {process.returncode}\n  {last}",
        hint=f"all of it is in {server.log}",
    )
