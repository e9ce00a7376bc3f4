"""A deployment's server: a controller, the workers that it keeps up, and a clean end.

The controller is this process. It listens on the port without answering, follows the registry, and
starts the workers, fresh interpreters that share its socket. Connections wait in one queue, which
outlives each of them. A queue per worker (``SO_REUSEPORT``) would be spread by a hash of addresses,
and Linux resets what waits in the queue of a worker that ends, unless ``net.ipv4.tcp_migrate_req``
is on. Nothing balances kept connections: each stays with the worker that accepted it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, Rollout
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.serving.config import Grpc, WorkerConfig
from liminal_assets.serving.control.controller import Controller
from liminal_assets.serving.control.evidence import Labels
from liminal_assets.serving.control.labels import LabelWatch
from liminal_assets.serving.control.supervisor import Supervisor
from liminal_assets.serving.features.settings import lookup_config
from liminal_assets.serving.guards.protection import check_files, protected
from liminal_assets.serving.log.recording import drain_of, spool_settings
from liminal_assets.serving.log.spool import Background
from liminal_assets.serving.observing.cells import clear
from liminal_assets.serving.port import bound_socket, shared_port
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.registry import RegistrySource
from liminal_assets.serving.releases.source import Source
from liminal_assets.steps.deploy import check_rollout
from liminal_assets.steps.identity import entity_columns
from liminal_assets.steps.side_by_side import side_by_side
from liminal_assets.storage.journal import Journal

__all__ = ["end_with", "run", "serve", "sole_controller"]

_LOOK_SECONDS = 0.05
_LOCK_TIMES = 3
_KILL_SECONDS = 10.0
"""After the longest drain, a worker that is still there is killed."""

_log = logging.getLogger("liminal_assets.serving")


def serve(
    project: Project,
    deployment: Deployment,
    *,
    host: str | None = None,
    port: int | None = None,
    grpc_port: int | None = None,
    workers: int | None = None,
    log_predictions: bool | None = None,
    trial: bool = False,
    on_listening: Callable[[str, str | None], None] | None = None,
) -> bool:
    """Serves a deployment's champion until SIGTERM or Ctrl-C, then drains.

    Args:
        host: default: the deployment's.
        port: default: the deployment's; 0 takes a free one.
        grpc_port: where gRPC is spoken; default: the deployment's, which may have none; 0 takes a
            free one.
        workers: processes that share the port; default: the deployment's.
        log_predictions: whether answered rows are logged; default: as the deployment says.
        trial: whether it only proves itself: apart from a server of the deployment that may run,
            and without decisions in the journal.
        on_listening: called with the server's URL, and the address of gRPC if there is one, once
            the ports are its own.

    Returns:
        Whether every request under way was answered at the end.

    Raises:
        StepError: the deployment is no server, another server of it runs, its workers don't start,
            or a port is taken.
    """
    spec = deployment.serve
    if spec is None:
        raise StepError(
            f"{deployment.name} is no server: it scores in batches",
            location=project.locate(deployment, "batch", key=True),
            hint=f"'liminal run --select {deployment.name}' scores, "
            "'liminal predict' scores a file",
        )
    check_rollout(project, deployment)
    at = project.locate(deployment, "serve", "port")
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    with ExitStack() as held:
        folders = ServingFolders.of(project.state, deployment.name)
        if trial:
            folders = ServingFolders(Path(held.enter_context(TemporaryDirectory())))
        # what is wrong with it is told before the port is taken
        config = _config_of(project, deployment, folders, trial=trial)
        check_files(project, deployment, config)
        if log_predictions is not None and not log_predictions:
            config = msgspec.structs.replace(config, spool=None)
        held.enter_context(sole_controller(folders, deployment.name))
        host = host or spec.host
        bound = held.enter_context(
            bound_socket(
                host,
                spec.port if port is None else port,
                location=at,
                host_location=project.locate(deployment, "serve", "host"),
            )
        )
        grpc = None if trial else _grpc(config, host, grpc_port)
        if grpc is not None:
            at = project.locate(deployment, "serve", "grpc_port")
            grpc = held.enter_context(shared_port(grpc, location=at))
            config = msgspec.structs.replace(config, grpc=grpc)
        journal = None if trial else Journal(project, deployment.name)
        if on_listening:
            scheme = "https" if config.tls else "http"
            url = f"{scheme}://{_address(*bound.getsockname()[:2])}"
            on_listening(url, _address(grpc.host, grpc.port) if grpc else None)
        source = RegistrySource(project, deployment, folders)
        source.warn()
        return run(
            config,
            bound,
            source,
            rollout=deployment.rollout,
            journal=journal,
            labels=None if trial else _labels(project, deployment, config),
            drain=drain_of(project, deployment) if config.spool else None,
            every=spec.reload_every.total_seconds(),
            workers=workers or spec.workers,
        )


def _config_of(
    project: Project, deployment: Deployment, folders: ServingFolders, *, trial: bool
) -> WorkerConfig:
    """What the workers are told. Who starts a server on trial has no key; it listens to nobody else
    for some seconds."""
    config = WorkerConfig(
        deployment.name,
        str(folders.root),
        spool=spool_settings(project, deployment),
        sticky=None if deployment.rollout.by_entity else deployment.rollout.sticky,
        entity=entity_columns(project, deployment.model) if deployment.rollout.by_entity else (),
        tolerance=deployment.rollout.tolerance,
        slices=_slices(project, deployment),
        features=lookup_config(project, deployment),
    )
    config = protected(config, project, deployment)
    if trial:
        config = msgspec.structs.replace(
            config,
            auth=None,
            tls=None,
            grpc=None,
            access_log=None,
            telemetry=None,
            drain_wait=0.0,
        )
    return config


def _grpc(config: WorkerConfig, host: str, port: int | None) -> Grpc | None:
    """Where gRPC is to be answered: as the deployment says, but for what was asked for."""
    said = config.grpc
    if port is None:
        return said and msgspec.structs.replace(said, host=host)
    return Grpc(host, port, config.tls)


def _slices(project: Project, deployment: Deployment) -> tuple[str, ...]:
    """The columns by which versions are compared: those of the rollout, or else those that the
    model is evaluated by, as far as their values may be shown."""
    model = project.blocks.get(deployment.model)
    evaluated = model.evaluate.slices if isinstance(model, Model) else ()
    logged = deployment.serve.log_predictions if deployment.serve else None
    mask = logged.mask if logged else {}
    return deployment.rollout.slices or tuple(name for name in evaluated if name not in mask)


def _labels(project: Project, deployment: Deployment, config: WorkerConfig) -> Labels | None:
    """What measures versions by the labels of logged answers; None where none are compared."""
    if config.spool is None or not deployment.rollout.compares:
        return None
    return LabelWatch(
        lambda stable, candidate, since: side_by_side(
            project, deployment, stable, candidate, since=since, slices=config.slices
        )
    )


def run(
    config: WorkerConfig,
    bound: socket.socket,
    source: Source,
    *,
    rollout: Rollout,
    journal: Journal | None,
    labels: Labels | None = None,
    drain: Background | None = None,
    every: float = 2.0,
    workers: int = 1,
) -> bool:
    """The controller and its workers on a socket, until SIGTERM or Ctrl-C.

    Returns:
        Whether every request under way was answered at the end.

    Raises:
        StepError: the workers don't start.
    """
    folders = config.folders
    clear(folders.metrics)
    supervisor = Supervisor(config, bound, workers)
    controller = Controller(
        folders,
        source,
        journal,
        rollout,
        workers=lambda: supervisor.alive,
        ended=lambda: tuple(supervisor.ended),
        every=every,
        labels=labels,
    )
    with _asked_to_end() as ends:
        supervisor.start()
        try:
            controller.start()
            if drain is not None:
                drain.start()
            while not ends.wait(_LOOK_SECONDS):
                supervisor.check()
        finally:
            # what it does is in the plan, and goes on at the next start
            controller.stop(timeout=0)
            gently = supervisor.stop(config.drain_wait + config.drain_seconds + _KILL_SECONDS)
            if drain is not None:
                drain.close()
    return gently


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set."""
    ends = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ends
        return
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.signal(kind, lambda *_: ends.set()) for kind in kinds}
    try:
        yield ends
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def sole_controller(folders: ServingFolders, name: str) -> Iterator[None]:
    """Keeps a second server of a deployment from this machine: each would undo the other's plans.

    Raises:
        StepError: there is one.
    """
    folders.lock.parent.mkdir(parents=True, exist_ok=True)
    with folders.lock.open("a+") as file:
        if not _locked(file):
            file.seek(0)
            holder = file.read().strip()
            who = f" (process {holder})" if holder else ""
            raise StepError(
                f"a server of {name} runs on this machine already{who}",
                hint="it takes over what is promoted by itself; 'workers' makes it larger",
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    """Takes the lock, if no other server has it."""
    for _ in range(_LOCK_TIMES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # 'liminal status' holds it for an instant to see whether anybody does
            time.sleep(_LOOK_SECONDS)
        else:
            return True
    return False


def end_with(parent: int) -> None:
    """Ends this process gently when its parent is gone, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
