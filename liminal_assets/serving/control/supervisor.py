"""The worker processes of a deployment: started, replaced when they end, drained at the end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import liminal_assets
from liminal_assets.errors import StepError
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.control.team import Place, Team, write_team

__all__ = ["Ended", "Supervisor", "how_ended", "worker_environment"]

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
"""Seconds before a worker that ended is replaced: doubled as long as they end soon."""
_SOON_SECONDS = 10.0
_TRIES = 3
"""Workers that end before the first one ever showed a sign of life; then the server gives up."""
_SILENCE_SECONDS = 30.0
"""A worker whose event loop stands still for so long is replaced."""
_LOADING_SECONDS = 600.0
"""The longest that it may take before: it loads what it is to answer with first."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One row is answered by one core; threads that wait for one another make it slower. Set, they stay
as they are; libraries read them when a model is loaded."""

_log = logging.getLogger("liminal_assets.serving")


_REMEMBERED = 100
"""Ends of workers."""
_TOLD = {0, -signal.SIGTERM, -signal.SIGINT}
"""Exit codes of workers that somebody ended."""


@dataclass(frozen=True)
class Ended:
    """A worker that ended by itself.

    Attributes:
        at: when, in seconds since 1970.
        how: in words.
    """

    at: float
    how: str


@dataclass
class _Slot:
    """A place for one worker."""

    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    beat: tuple[int, float] = (0, 0.0)
    """The time stamp that it showed last, and when that was seen."""
    delay: float = field(default=_FIRST_DELAY)
    next_start: float = 0.0
    began: float = 0.0
    """When its process was started, in seconds since 1970."""
    restarts: int = 0
    ended: str | None = None
    """How the process before ended."""

    @property
    def place(self) -> Place:
        """What others are told of it."""
        return Place(
            self.process.pid if self.process else None, self.began, self.restarts, self.ended
        )


class Supervisor:
    """Keeps workers up.

    Args:
        config: what each is told.
        bound: the listening socket that all of them answer. It stays open here until :meth:`stop`,
            so that connections wait for the next worker while one is replaced.
        workers: how many.
    """

    def __init__(self, config: WorkerConfig, bound: socket, workers: int) -> None:
        self._config = config
        self._bound = bound
        self._slots = [_Slot() for _ in range(workers)]
        self._lived = False
        self._failures = 0
        self._began = time.time()
        self.ended: deque[Ended] = deque(maxlen=_REMEMBERED)
        """Those that weren't told to end; the newest last."""

    @property
    def alive(self) -> set[int]:
        """The workers' processes."""
        return {slot.process.pid for slot in self._slots if slot.process}

    def start(self) -> None:
        """Starts every worker."""
        folder = self._config.folders.workers
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink(missing_ok=True)
        self._began = time.time()
        for slot in self._slots:
            self._start(slot)
        self._tell()

    def check(self) -> None:
        """Looks once after every worker, and replaces those that ended or stand still.

        Raises:
            StepError: none can be started.
        """
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None:
                if now >= slot.next_start:
                    self._start(slot)
                    self._tell()
            elif slot.process.poll() is not None:
                self._ended(slot, slot.process, now)
            else:
                self._listen(slot, slot.process, now)

    def stop(self, seconds: float) -> bool:
        """Lets every worker end what is under way; with force after some seconds.

        Returns:
            Whether all of them ended by themselves.
        """
        # workers have it too, and close it once they take no more: then connections are refused
        # instead of waiting for nobody
        self._bound.close()
        running = [slot.process for slot in self._slots if slot.process]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + seconds
        gently = True
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                gently = False
                process.kill()
                process.wait()
            _let_go(process)
        for slot in self._slots:
            slot.process = None
        return gently

    def _start(self, slot: _Slot) -> None:
        descriptor = self._bound.fileno()
        slot.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "liminal_assets.serving.worker", str(descriptor)],
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
            env=worker_environment(),
        )
        slot.started, slot.began = time.monotonic(), time.time()
        slot.beat = (0, slot.started)
        if slot.process.stdin:
            # one that ended already is seen by its exit code
            with suppress(BrokenPipeError):
                # the pipe stays open: its end tells the worker that this process is gone
                slot.process.stdin.write(self._config.to_json() + b"\n")
                slot.process.stdin.flush()

    def _ended(self, slot: _Slot, process: subprocess.Popen[bytes], now: float) -> None:
        how = how_ended(process.returncode)
        if process.returncode not in _TOLD:
            self.ended.append(Ended(time.time(), how))
        if not self._lived:
            self._failures += 1
            if self._failures >= _TRIES * len(self._slots):
                raise StepError(
                    f"the server's workers don't start: the last one ended {how}",
                    hint="what they printed before says why",
                )
        if now - slot.started > _SOON_SECONDS:
            slot.delay = _FIRST_DELAY
        _log.warning("worker %s ended %s; it is replaced", process.pid, how)
        self._forget(process)
        slot.process = None
        slot.next_start = now + slot.delay
        slot.delay = min(slot.delay * 2, _LONGEST_DELAY)
        slot.restarts, slot.ended = slot.restarts + 1, how
        self._tell()

    def _tell(self) -> None:
        """Says which workers there are."""
        team = Team(os.getpid(), self._began, tuple(slot.place for slot in self._slots))
        try:
            write_team(self._config.folders, team)
        except OSError as error:
            _log.warning("what workers there are can't be written: %s", error)

    def _listen(self, slot: _Slot, process: subprocess.Popen[bytes], now: float) -> None:
        try:
            stamp = (self._config.folders.workers / f"{process.pid}.beat").stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != slot.beat[0]:
            self._lived = True
            slot.beat = (stamp, now)
        elif now - slot.beat[1] > (_SILENCE_SECONDS if stamp else _LOADING_SECONDS):
            _log.warning("worker %s stands still; it is replaced", process.pid)
            process.kill()
            slot.beat = (stamp, now)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        _let_go(process)
        for suffix in ("json", "beat"):
            with suppress(OSError):
                (self._config.folders.workers / f"{process.pid}.{suffix}").unlink(missing_ok=True)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()


def how_ended(code: int) -> str:
    """The exit code of a process in words."""
    return f"by signal {-code}" if code < 0 else f"with code {code}"


def worker_environment() -> dict[str, str]:
    """The environment of a process that loads models."""
    environment = {**os.environ, "PYTHONPATH": _python_path(), "PYTHONSAFEPATH": "1"}
    for name in _THREADS:
        environment.setdefault(name, "1")
    return environment


def _python_path() -> str:
    """Where the worker finds this package, wherever this process found it."""
    package = str(Path(liminal_assets.__file__).parent.parent)
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
