"""What ``liminal start`` has up: Dagster, MLflow, and the servers of projects."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liminal_assets.cli.output import say
from liminal_assets.cli.projects import Deployed
from liminal_assets.cli.servers import check_free, dagster_server, mlflow_server
from liminal_assets.execution.programs import Program
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.loading import Project

if TYPE_CHECKING:
    from liminal_assets.execution.services import Ports

__all__ = ["all_programs", "service_programs"]


def all_programs(
    projects: Sequence[Project], env: str | None, port: int, mlflow_port: int
) -> list[Program]:
    """Everything that is to be up for some projects.

    Raises:
        click.UsageError: a port of Dagster or MLflow is taken.
        StepError: a service can't be run here, or its port is taken.
    """
    first = projects[0]
    files = list(dict.fromkeys(project.place for project in projects))
    dagster = dagster_server(files, first.home, port, env=env)
    check_free(dagster, "--port")
    programs = [dagster]
    # pipelines without a model have no use for it
    tracked = next((p for p in projects if p.workflow is None or p.spec.models), None)
    if tracked is not None and (mlflow := mlflow_server(tracked, mlflow_port)):
        check_free(mlflow, "--mlflow-port")
        programs.append(mlflow)
    return [*programs, *service_programs(projects, env)]


def service_programs(projects: Sequence[Project], env: str | None) -> list[Program]:
    """The services and the model servers of some projects, without those on a cluster."""
    from liminal_assets.apache.services import servers_of
    from liminal_assets.execution.services import Ports, service_program

    if not projects:
        return []
    home = projects[0].home
    ports, deployed = Ports(home / ".liminal"), Deployed(home).all()
    programs: list[Program] = []
    for project in projects:
        elsewhere = deployed.get(str(project.place), {}).get("cluster")
        if project.workflow is not None and not elsewhere:
            servers = servers_of(project.workflow)
            programs += [service_program(server, ports, note=_note) for server in servers]
        programs += _deployments(project, env, ports)
    return programs


def _note(line: str) -> None:
    say(line, err=True)


def _deployments(project: Project, env: str | None, ports: Ports) -> Iterator[Program]:
    for deployment in project.spec.deployments:
        serve = deployment.serve
        # a server elsewhere isn't ours to keep up
        if serve is not None and serve.target == "local":
            name = f"{project.name}/{deployment.name}"
            at = project.locate(deployment, "serve")
            # a server that is started again answers where it was found before
            port = serve.port or ports.stable(name, at)
            yield _deployment(project, deployment, serve, env, port)


def _deployment(
    project: Project, deployment: Deployment, serve: Serve, env: str | None, port: int
) -> Program:
    arguments = [sys.executable, "-m", "liminal_assets.cli.main", "serve", deployment.name]
    arguments += ["--project", str(project.file), *(["--env", env] if env else [])]
    arguments += ["--port", str(port)]
    program = Program(
        name=f"{project.name}/{deployment.name}",
        arguments=arguments,
        folder=project.root,
        log=_log(project, deployment.name),
        url=f"{'https' if serve.tls else 'http'}://{_address(serve.host)}:{port}",
        # it starts without a champion too, and isn't ready until there is one
        health="/healthz",
        kind="deployment",
        location=project.locate(deployment),
    )
    check_free(program, "'port:' of the deployment:")
    return program


def _address(host: str) -> str:
    """Where a server that listens at a host answers on this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # only compared
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _log(project: Project, name: str) -> Path:
    return project.state / "logs" / project.name / "services" / f"{name}.log"
