"""Servers as processes: started in a group of their own, waited for, and stopped as a whole."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from liminal_assets.errors import StepError
from liminal_assets.execution.tailing import last_lines
from liminal_assets.language.diagnostics import Location

__all__ = [
    "PATIENCE",
    "Program",
    "died",
    "is_ready",
    "spawn",
    "started",
    "stop",
    "wait_until_ready",
]

PATIENCE = 180.0
"""Seconds until a server must answer for the first time."""
_GRACE = 20.0
"""Seconds that a server has to stop."""
_LARGE_LOG = 10 * 2**20
"""Bytes of a log beyond which the next start begins a new one."""


@dataclass(frozen=True)
class Program:
    """A server: what starts it, and what tells that it is ready."""

    name: str
    arguments: Sequence[str]
    """The program and its arguments."""
    folder: Path
    """Where it runs."""
    log: Path
    """The file that gets all that it prints."""
    url: str
    """Where it answers."""
    health: str = "/readyz"
    """The path that answers with success once it is ready."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides those of this process, or all of them if it doesn't inherit."""
    inherits: bool = True
    """Whether it gets the variables of this process."""
    kind: str = "service"
    location: Location | None = None
    """Where it was asked for."""


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Starts a program in a session, and so a process group, of its own.

    Raises:
        StepError: it can't be started.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    if program.log.exists() and program.log.stat().st_size > _LARGE_LOG:
        program.log.replace(program.log.with_suffix(".old.log"))
    try:
        with program.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                list(program.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=program.folder,
                env={**(os.environ if program.inherits else {}), **program.environment},
                start_new_session=True,
            )
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{program.name} can't be started in {program.folder}: {reason}"
        raise StepError(message, location=program.location) from None


@contextmanager
def started(programs: Sequence[Program]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs that run; at the end they and all that they started are gone."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            processes.append(spawn(program))
        yield processes
    finally:
        stop(*processes)


def stop(
    *processes: subprocess.Popen[bytes], number: int = signal.SIGINT, grace: float = _GRACE
) -> None:
    """Ends processes that :func:`spawn` started, at the same time, and all of their groups.

    Args:
        number: the signal that asks them to end.
        grace: seconds until they are killed.
    """
    deadline = time.monotonic() + grace
    try:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)
        for process in processes:
            process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in processes:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # what it left behind goes with its group
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.poll()
    else:
        process.wait()


def is_ready(program: Program, *, timeout: float = 2.0) -> bool:
    """Whether a server answers with success at its health path."""
    # its certificate is for the name that others call it by; nothing is told to it here
    trusting = ssl._create_unverified_context() if program.url.startswith("https:") else None  # noqa: S323
    url = f"{program.url}{program.health}"
    try:
        with urllib.request.urlopen(url, timeout=timeout, context=trusting):  # noqa: S310
            return True
    except (OSError, urllib.error.URLError, ValueError):
        return False


def wait_until_ready(
    program: Program,
    process: subprocess.Popen[bytes],
    *,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Waits until a server answers.

    Raises:
        StepError: it ends before, or takes too long.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise died(program, process)
        if is_ready(program):
            return
        sleep(0.2)
    raise StepError(
        f"{program.name} doesn't answer after {patience:.0f} seconds",
        location=program.location,
        hint=f"see {program.log}",
    )


def died(program: Program, process: subprocess.Popen[bytes]) -> StepError:
    """What is told of a server that ended by itself."""
    last = "\n  ".join(last_lines(program.log, 15))
    return StepError(
        f"{program.name} ended with exit code {process.returncode}\n  {last}",
        location=program.location,
        hint=f"all of it is in {program.log}",
    )
