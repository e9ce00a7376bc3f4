"""``liminal doctor``: what works on this machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import click

from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import print_json, print_table
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import Project, home_of

__all__ = ["Finding", "command"]

State = Literal["works", "missing", "broken"]

_NEEDED = ("dagster", "dagster-mlflow", "mlflow", "great-expectations", "scikit-learn", "pandas")
_GIB = 2**30
_LITTLE = 2 * _GIB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    detail: str = ""
    needed: bool = False
    """Whether nothing works without it, or only what uses it."""


@click.command("doctor")
@project_options
@as_json
def command(project: Path, env: str | None, as_json: bool) -> int:
    """Look at what this machine has: Python, packages, Java, container engine, cluster, the
    project's databases, ports, disk space.

    Exit code 1 if something that is needed doesn't work.
    """
    findings = list(_findings(project, env))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            ["what", "", "detail"],
            [[found.what, _shown(found), found.detail] for found in findings],
        )
    return 1 if any(found.needed and found.state != "works" for found in findings) else 0


def _shown(finding: Finding) -> str:
    if finding.state == "missing" and not finding.needed:
        return "not here"
    return {"works": "works", "missing": "MISSING", "broken": "BROKEN"}[finding.state]


def _findings(path: Path, env: str | None) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _program("Java", ["java", "-version"], "for Spark")
    yield _program("git", ["git", "--version"], "for versions of the code")
    yield _containers()
    yield _mounts()
    yield _cluster()
    home = home_of(path.resolve() if path.is_dir() else path.resolve().parent)
    try:
        project = open_project(path, env)
    except InvalidProjectError as error:
        count = len(error.diagnostics)
        detail = f"{count} mistake{'s' if count > 1 else ''}; the first: {error.diagnostics[0]}"
        yield Finding("project", "missing" if _absent(error) else "broken", detail)
    else:
        home = project.home
        yield Finding("project", "works", f"{project.name}: {project.file}")
        yield from _connections(project)
        yield from _serving_ports(project)
    for name, port in (("Dagster UI", 3000), ("MLflow UI", 5000)):
        yield _port(f"port of the {name}", port)
    yield _disk(home)
    yield _state(home)


def _absent(error: InvalidProjectError) -> bool:
    return error.diagnostics[0].code == "no-project"


def _python() -> Finding:
    detail = f"{platform.python_version()} ({sys.executable})"
    fits = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", "works" if fits else "broken", detail, needed=True)


def _packages() -> Iterator[Finding]:
    """Packages without which nothing runs, and their versions against what is asked for."""
    from packaging.requirements import Requirement

    wanted = {r.name: r for r in map(Requirement, requires("liminal-assets") or ()) if not r.marker}
    for name in _NEEDED:
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, "missing", f"pip install '{wanted.get(name, name)}'", needed=True)
            continue
        specifier = wanted[name].specifier if name in wanted else None
        fits = specifier is None or specifier.contains(found, prereleases=True)
        detail = found if fits else f"{found}, but {specifier} is needed"
        yield Finding(name, "works" if fits else "broken", detail, needed=True)
    for name, purpose in (("polars", "functions on Polars frames"), ("pyspark", "Spark")):
        here = importlib.util.find_spec(name) is not None
        detail = version(name) if here else f"for {purpose}: pip install {name}"
        yield Finding(name, "works" if here else "missing", detail)


def _answer(arguments: list[str]) -> tuple[int, str]:
    """Exit code and first line of a program; -1 if it doesn't answer in time."""
    try:
        done = subprocess.run(  # noqa: S603
            arguments, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    told = (done.stdout, done.stderr) if done.returncode == 0 else (done.stderr, done.stdout)
    text = (told[0] or told[1]).strip()
    return done.returncode, text.split("\n")[0] if text else ""


def _program(what: str, arguments: list[str], purpose: str) -> Finding:
    if shutil.which(arguments[0]) is None:
        return Finding(what, "missing", purpose)
    code, line = _answer(arguments)
    return Finding(what, "works" if code == 0 else "broken", line)


def _containers() -> Finding:
    """A container engine that answers."""
    from liminal_assets.execution.engines import engines

    broken = []
    for name, engine, reason in engines():
        if engine is not None:
            return Finding("container engine", "works", f"{name} {engine.version}".strip())
        broken.append(f"{name} is installed, but: {reason}")
    if broken:
        return Finding("container engine", "broken", "; ".join(broken))
    return Finding("container engine", "missing", "for images: docker, podman or buildah")


def _mounts() -> Finding:
    """Whether tasks and services can see their volumes without a container engine."""
    from liminal_assets.execution.mounts import mount_trouble

    trouble = mount_trouble()
    detail = trouble or "volumes are mounted for each task's own processes"
    return Finding("mount namespaces", "broken" if trouble else "works", detail)


def _cluster() -> Finding:
    """A Kubernetes cluster that is configured and answers."""
    inside = Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
    config = Path(os.environ.get("KUBECONFIG", "~/.kube/config")).expanduser()
    if not inside and not config.exists():
        return Finding("Kubernetes", "missing", "no configuration; for the kubernetes executor")
    try:
        from kubernetes import client
        from kubernetes import config as kubernetes_config

        (
            kubernetes_config.load_incluster_config
            if inside
            else kubernetes_config.load_kube_config
        )()
        told = client.VersionApi().get_code(_request_timeout=5)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        return Finding("Kubernetes", "broken", f"{type(error).__name__}: {first}")
    return Finding("Kubernetes", "works", str(told.git_version))


def _connections(project: Project) -> Iterator[Finding]:
    from liminal_assets.storage.connections import connected

    for connection in project.spec.connections:
        what = f"connection {connection.connection}"
        try:
            with connected(project, connection.connection) as backend:
                tables = len(backend.list_tables())
        except StepError as error:
            yield Finding(what, "broken", error.message)
        else:
            yield Finding(what, "works", f"{tables} table{'' if tables == 1 else 's'}")


def _serving_ports(project: Project) -> Iterator[Finding]:
    for deployment in project.spec.deployments:
        serve = deployment.serve
        if serve and serve.port:
            yield _port(f"port of {deployment.name}", serve.port, serve.host)
        if serve and serve.grpc_port:
            what = f"gRPC port of {deployment.name}"
            yield _port(what, serve.grpc_port, serve.host, "--grpc-port")


def _port(what: str, port: int, host: str = "127.0.0.1", option: str = "--port") -> Finding:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return Finding(
            what, "broken", f"{port} can't be used: {error.strerror}; {option} takes another"
        )
    return Finding(what, "works", f"{port} is free")


def _disk(home: Path) -> Finding:
    usage = shutil.disk_usage(home)
    detail = f"{usage.free / _GIB:.1f} GiB free of {usage.total / _GIB:.1f} GiB at {home}"
    return Finding("disk", "works" if usage.free > _LITTLE else "broken", detail)


def _state(home: Path) -> Finding:
    """Whether the state folder can be written, and Dagster's databases opened."""
    where = "PostgreSQL" if os.environ.get("LIMINAL_POSTGRES_URL") else "SQLite"
    folder = home / ".liminal"
    nearest = next(f for f in (folder, *folder.parents) if f.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("state", "broken", f"{nearest} can't be written", needed=True)
    if where == "SQLite" and not folder.exists():
        return Finding("state", "works", f"{where} in {folder}, none yet", needed=True)
    opened: Callable[[], int] = _count_runs(home)
    try:
        count = opened()
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        return Finding("state", "broken", f"{where}: {first}", needed=True)
    return Finding("state", "works", f"{where}, {count} runs in {folder}", needed=True)


def _count_runs(home: Path) -> Callable[[], int]:
    def count() -> int:
        from liminal_assets.storage.instance import open_instance

        with open_instance(home) as instance:
            return instance.get_runs_count()

    return count
