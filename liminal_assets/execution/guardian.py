"""The process above a command: it sees to it that nothing of the command's outlives it.

It runs in a process of its own for each command, so that it survives when the step's process is
killed. Standard input brings one line of JSON (:class:`Order`) and then stays open; its end means
that the command is to stop, or that who ordered it died. A descriptor takes lines of JSON back:
``pid`` before the command runs, then ``code``, ``signal`` or ``problem``.

On Linux it is the parent of whatever descendant loses its own (PR_SET_CHILD_SUBREAPER), also of
those that left the process group. Elsewhere the group is all that it can end.

Imports nothing but the standard library.

References: prctl(2), credentials(7).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from liminal_assets.execution.namespaces import Bind, NamespaceError, enter

__all__ = ["Order", "main"]

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_PATIENCE = 5.0
"""Seconds in which killed processes must be gone."""
_CLEANING = 60.0
"""Seconds that the command which cleans up may take."""


@dataclass(frozen=True)
class Order:
    """A command to run."""

    arguments: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    binds: Sequence[Bind] = ()
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    cleaning: Sequence[str] = field(default_factory=list)
    """A command to run once the processes are gone, whatever became of them."""

    def to_json(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> Order:
        """The order that :meth:`to_json` wrote."""
        values = json.loads(line)
        binds = [
            Bind(**{**bind, "copies": tuple(map(tuple, bind["copies"]))})
            for bind in values.pop("binds")
        ]
        return cls(**values, binds=binds)


def main(status: int, parent: int) -> None:
    """Runs the command that standard input orders, to its end or until standard input's.

    Args:
        status: the descriptor that takes what is reported.
        parent: the process that orders it: it ends the command by ending, too.
    """
    os.set_inheritable(status, False)
    _prctl(_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return
    _prctl(_SET_CHILD_SUBREAPER, 1)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    order = Order.from_json(_line())
    guardian = _Guardian(order, status)
    try:
        guardian.run()
    finally:
        guardian.end_all()
        if order.cleaning:
            _clean(order.cleaning)


class _Guardian:
    def __init__(self, order: Order, status: int) -> None:
        self.order = order
        self.status = status
        self.ended: int | None = None
        """The command's wait status."""
        self.pid = 0
        self.events, self._noted = os.pipe()
        for descriptor in (self.events, self._noted):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._noted)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.terminated = False
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, *_: Any) -> None:
        self.terminated = True

    def run(self) -> None:
        """Starts the command and waits; reports what became of it."""
        self.pid, problem = _start(self.order, self.status)
        if problem:
            os.waitpid(self.pid, 0)
            self.pid = 0
            self.report(problem)
            return
        self.wait()
        self.end_all()
        if self.ended is not None:
            code = os.waitstatus_to_exitcode(self.ended)
            self.report({"code": code} if code >= 0 else {"signal": -code})

    def wait(self) -> None:
        """Until the command ends by itself, or has been made to."""
        watched = [self.events, sys.stdin.fileno()]
        kill_at = None
        while not self.reap():
            left = None if kill_at is None else max(0.0, kill_at - time.monotonic())
            ready, _, _ = select.select(watched, [], [], left)
            if self.events in ready:
                os.read(self.events, 4096)
            asked = sys.stdin.fileno() in ready or self.terminated
            if asked and kill_at is None:
                watched = [self.events]
                self.signal_all(signal.SIGTERM)
                kill_at = time.monotonic() + self.order.grace
            elif kill_at is not None and time.monotonic() >= kill_at:
                self.signal_all(signal.SIGKILL)
                kill_at = time.monotonic() + 1.0

    def reap(self) -> bool:
        """Takes note of what ended; whether the command did."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.pid:
                    self.ended = status
        return self.ended is not None

    def end_all(self) -> None:
        """Kills what is left of the command's processes, as the end of a container does."""
        until = time.monotonic() + _PATIENCE
        while self.pid and time.monotonic() < until:
            self.signal_all(signal.SIGKILL)
            self.reap()
            if self.ended is not None and not any(True for _ in _descendants()):
                return
            time.sleep(0.01)

    def signal_all(self, number: int) -> None:
        """Sends a signal to the command's group and to all that descends from it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for pid in _descendants():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def report(self, values: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):
            os.write(self.status, json.dumps(values).encode() + b"\n")


def _start(order: Order, status: int) -> tuple[int, Mapping[str, Any] | None]:
    """The process of a command, and why it isn't the command if it couldn't become it."""
    told, telling = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(order, telling, parent, status)
    os.close(telling)
    with os.fdopen(told, "rb") as stream:
        problem = stream.read()
    return pid, json.loads(problem) if problem else None


def _become(order: Order, telling: int, parent: int, status: int) -> None:
    """In the new process: a group and a view of the file system of its own, then the command."""
    missing = order.folder
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        # told here, for the command's first act may be to kill its guardian
        os.write(status, json.dumps({"pid": os.getpid()}).encode() + b"\n")
        _mount(order.binds)
        os.chdir(order.folder)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        missing = order.arguments[0]
        os.execvpe(order.arguments[0], list(order.arguments), dict(order.environment))  # noqa: S606
    except NamespaceError as error:
        problem = {"problem": "mount", "message": error.strerror}
    except OSError as error:
        message = f"can't be started: {error.strerror}: {missing}"
        problem = {"problem": "start", "message": message}
    except ValueError as error:
        problem = {"problem": "start", "message": f"can't be started: {error}"}
    os.write(telling, json.dumps(problem).encode())
    os._exit(127)


def _mount(binds: Sequence[Bind]) -> None:
    """Gives this process its view of the file system.

    Raises:
        NamespaceError: it can't be made.
    """
    try:
        if binds:
            enter(binds)
    except NamespaceError:
        raise
    except OSError as error:
        message = f"what is to be mounted can't be opened: {error.strerror}: {error.filename}"
        raise NamespaceError(error.errno, message) from None


def _descendants() -> Iterator[int]:
    """The processes below this one, whichever group or session they are in."""
    if sys.platform != "linux":
        return
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stream:
                state, parent = stream.read().rpartition(b")")[2].split()[:2]
                if state != b"Z":
                    parents.setdefault(int(parent), []).append(int(name))
    todo = [os.getpid()]
    while todo:
        below = parents.get(todo.pop(), [])
        yield from below
        todo.extend(below)


def _clean(command: Sequence[str]) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_CLEANING,
            check=False,
        )


def _line() -> bytes:
    """The first line of standard input; what comes after it is nothing but its end."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(sys.stdin.fileno(), 65536)
        if not part:
            sys.exit(1)
        line += part
    return line


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
