"""The server's processes: one port, one or several workers, signals, and a clean end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.loading import Project
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.connections import GuardedProtocol
from liminal_assets.serving.folders import ServingFolders
from liminal_assets.serving.guard import Guard
from liminal_assets.serving.live import LiveModel
from liminal_assets.serving.port import bound_socket
from liminal_assets.serving.protection import protected
from liminal_assets.serving.recording import drain_of, spool_settings
from liminal_assets.serving.registry import RegistrySource
from liminal_assets.serving.spool import Spool
from liminal_assets.serving.watch import Watch
from liminal_assets.steps.deploy import check_rollout

__all__ = ["DeploymentApp", "end_with", "run_app", "serve"]

_DRAIN_SECONDS = 30
"""The longest that requests under way may take after SIGTERM."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One row is answered by one core; threads that wait for one another make it slower. Set, they stay
as they are; libraries read them when a model is loaded."""


@dataclass(frozen=True)
class DeploymentApp:
    """Makes the application of a deployment, in whichever process it is to run."""

    project: Project
    deployment: Deployment
    log_predictions: bool

    def __call__(self) -> ServingApp:
        """The application; its threads start with the server."""
        block = self.deployment
        spec = block.serve
        if spec is None:
            raise StepError(
                f"{block.name} is no server: it scores in batches",
                location=self.project.locate(block, "batch", key=True),
                hint=f"'liminal run --select {block.name}' scores, 'liminal predict' scores a file",
            )
        check_rollout(self.project, block)
        live = LiveModel(
            RegistrySource(self.project, block), every=spec.reload_every.total_seconds()
        )
        folders = ServingFolders.of(self.project.state, block.name)
        config = protected(WorkerConfig(block.name, str(folders.root)), self.project, block)
        settings = spool_settings(self.project, block) if self.log_predictions else None
        spool = None
        if settings is not None:
            spool = Spool(folders.spool, settings, drain=drain_of(self.project, block))
        return ServingApp(
            live,
            log=spool,
            title=block.name,
            guard=Guard.of(config),
            watch=Watch.of(config),
        )


def serve(
    project: Project,
    deployment: Deployment,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    log_predictions: bool | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serves a deployment's champion until SIGTERM or Ctrl-C, then drains.

    Args:
        host: default: the deployment's.
        port: default: the deployment's; 0 takes a free one.
        workers: processes that share the port; default: the deployment's.
        log_predictions: whether answered rows are logged; default: as the deployment says.
        on_listening: called with the server's URL once the port is its own.

    Raises:
        StepError: the deployment is no server, or the port is taken.
    """
    spec = deployment.serve or Serve()
    port = spec.port if port is None else port
    logged = spec.log_predictions is not None if log_predictions is None else log_predictions
    app = DeploymentApp(project, deployment, logged)
    app()  # what is wrong with it is told before the port is taken
    at = project.locate(deployment, "serve", "port")
    with bound_socket(host or spec.host, port, location=at) as bound:
        if on_listening:
            on_listening(_url(bound))
        run_app(app, bound, workers=workers or spec.workers)


def run_app(make_app: Callable[[], Any], bound: socket.socket, *, workers: int = 1) -> None:
    """Runs an application on a socket until SIGTERM or Ctrl-C, in one process or several.

    Args:
        make_app: makes the ASGI application; for several workers it must be picklable.
        bound: the socket, listening.
        workers: processes; one that dies is replaced.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    config = uvicorn.Config(
        _Worker(make_app, os.getpid() if workers > 1 else None),
        factory=True,
        lifespan="on",
        http=GuardedProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        workers=workers,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    with _leaving_quietly():
        if workers == 1:
            uvicorn.Server(config).run(sockets=[bound])
        else:
            Multiprocess(config, sockets=[bound]).run()


@dataclass(frozen=True)
class _Worker:
    make_app: Callable[[], Any]
    parent: int | None

    def __call__(self) -> Any:
        logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
        logging.getLogger("liminal_assets.serving").setLevel(logging.INFO)
        if self.parent is not None:
            end_with(self.parent)
        return self.make_app()


def end_with(parent: int) -> None:
    """Ends this process gently when its parent is gone, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


@contextmanager
def _leaving_quietly() -> Iterator[None]:
    """Uvicorn drains on SIGTERM and Ctrl-C and then raises the signal again; that ends here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {sig: signal.signal(sig, lambda *_: None) for sig in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
