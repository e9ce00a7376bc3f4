"""``python -m liminal_assets.serving.worker FD``: one process that answers.

It is lean: whatever needs the project, the registry or a database is the controller's. It reads its
configuration as one line from standard input, answers on the listening socket ``FD``, and ends with
whoever holds the other end of its standard input, however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO

import uvicorn

from liminal_assets.errors import StepError
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.control.live import Follower
from liminal_assets.serving.control.shadow import Comparer
from liminal_assets.serving.engine import Sticky
from liminal_assets.serving.features.lookups import Lookups
from liminal_assets.serving.guards.connections import server_options
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.observing.watch import Watch

if TYPE_CHECKING:
    from liminal_assets.serving.functions import Functions

__all__ = ["BEAT_SECONDS", "WorkerServer", "main", "make_app"]

BEAT_SECONDS = 1.0
"""A worker shows this often that its event loop turns."""

_LINGER_SECONDS = 5.0
"""After the longest drain, a worker that is still there ends at once."""


def make_app(config: WorkerConfig) -> ServingApp:
    """What a worker answers with.

    Raises:
        StepError: a secret, a file or a function isn't what it should be.
    """
    watch = Watch.of(config)
    log = Spool(config.folders.spool, config.spool) if config.spool else None
    return ServingApp(
        Follower(config.folders),
        log=log,
        title=config.name,
        guard=Guard.of(config),
        watch=watch,
        grpc=config.grpc,
        sticky=Sticky.of(config.sticky, config.entity),
        comparer=Comparer(watch.metrics, tolerance=config.tolerance, slices=config.slices, log=log),
        folders=config.folders,
        functions=_functions(config, watch),
        lookups=Lookups(config.features, watch.metrics) if config.features else None,
    )


def _functions(config: WorkerConfig, watch: Watch) -> Functions | None:
    if config.endpoints is None:
        return None
    # imported only where there are some
    from liminal_assets.serving.functions import Functions

    return Functions.of(config.endpoints, watch.metrics)


class WorkerServer(uvicorn.Server):
    """A server that drains on SIGTERM. Ctrl-C reaches every process of the terminal; the
    controller says when workers end."""

    def __init__(
        self,
        settings: uvicorn.Config,
        app: ServingApp,
        config: WorkerConfig,
        asked: threading.Event,
    ) -> None:
        super().__init__(settings)
        self._app = app
        self._asked = asked
        self._wait = config.drain_wait
        self._longest = config.drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT:
            return
        self._app.stop_being_ready()
        threading.Timer(self._wait, super().handle_exit, (sig, frame)).start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer, unless it was asked to end meanwhile: then it ends at once."""
        await super().startup(sockets)
        if self._asked.is_set():
            self.handle_exit(signal.SIGTERM, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what is under way, of HTTP and of gRPC at the same time."""
        calls = asyncio.create_task(self._app.end_calls(self._longest))
        await super().shutdown(sockets)
        await calls


class _Beating:
    """An application whose event loop shows that it turns, in the time stamp of a file."""

    def __init__(self, app: ServingApp, config: WorkerConfig) -> None:
        self._app = app
        self.at_once = app.at_once
        self._file = config.folders.workers / f"{os.getpid()}.beat"
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._task = asyncio.create_task(self._beat())
        await self._app(scope, receive, send)

    async def _beat(self) -> None:
        while True:
            with suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.touch()
            await asyncio.sleep(BEAT_SECONDS)


def _end_with(parent: BinaryIO, longest: float) -> None:
    """Ends this process gently when its parent is gone; at once if it is there much later."""
    while parent.read(1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(longest + _LINGER_SECONDS)
    os._exit(1)


def main() -> int:
    """Answers until SIGTERM, or until the parent is gone; then requests under way are ended."""
    orders = sys.stdin.buffer
    config = WorkerConfig.from_json(orders.readline())
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("liminal_assets.serving").setLevel(logging.INFO)
    # what comes before uvicorn listens to it; uvicorn raises it again at the end, which ends here
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    watch = (orders, config.drain_wait + config.drain_seconds)
    threading.Thread(target=_end_with, args=watch, name="parent-watch", daemon=True).start()
    app = make_app(config)
    settings = uvicorn.Config(
        _Beating(app, config),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        **server_options(config),
    )
    WorkerServer(settings, app, config, asked).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    sys.stderr.flush()
    # all is written and closed; taking every imported module apart would only take time
    os._exit(code)
