"""Commands as processes: their output line by line, and no process of theirs left behind."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any, Literal

from liminal_assets.execution.guardian import Order

__all__ = ["Ending", "Order", "run_together"]

_LONGEST_LINE = 64 * 1024
"""Bytes of a line beyond which it becomes several."""
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from liminal_assets.execution.guardian import main; main(*map(int, sys.argv[2:]))"
)
_PACKAGES = str(Path(__file__).parents[2])
_READ = 64 * 1024


@dataclass(frozen=True)
class Ending:
    """What became of a command."""

    code: int | None = None
    signal: int | None = None
    problem: Literal["start", "mount", "lost"] | None = None
    """It couldn't be started, its mounts couldn't be made, or what guards it was killed."""
    message: str = ""

    @property
    def succeeded(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        if self.problem:
            return self.message
        if self.signal is not None:
            return f"was killed by {_signal_name(self.signal)}"
        return f"ended with exit code {self.code}"


def run_together(
    orders: Sequence[Order],
    on_line: Callable[[int, str], None],
    *,
    deadline: float | None = None,
) -> dict[int, Ending]:
    """Runs commands side by side until all have ended, or one has failed: then all are ended.

    Whatever ends the call, also an interrupt, ends the commands with all their descendants:
    SIGTERM, and SIGKILL after the order's grace. They also end when this process is killed.

    Args:
        orders: what to run.
        on_line: takes each line of output with the index of its order, in this thread. Standard
            output and standard error are one stream. Bytes that are no UTF-8 are replaced.
        deadline: when to end them, on :func:`time.monotonic`'s clock.

    Returns:
        What became of each that ended by itself, by index and in the order of their ends.
    """
    group = _Group(orders, on_line)
    try:
        while group.running:
            if deadline is not None and time.monotonic() >= deadline:
                break
            group.step(deadline)
            if any(not ending.succeeded for ending in group.endings.values()):
                break
        return dict(group.endings)
    finally:
        group.end()


class _Group:
    """Commands that run, and the pipes from them."""

    def __init__(self, orders: Sequence[Order], on_line: Callable[[int, str], None]) -> None:
        self.endings: dict[int, Ending] = {}
        self.running: dict[int, _Child] = {}
        self._on_line = on_line
        self._selector = selectors.DefaultSelector()
        try:
            for index, order in enumerate(orders):
                child = _Child(index, order)
                self.running[index] = child
                for stream in (child.output, child.status):
                    self._selector.register(stream, selectors.EVENT_READ, child)
        except BaseException:
            self.end()
            raise

    def step(self, deadline: float | None) -> None:
        """Waits for output or an end, until the deadline at most, and takes it."""
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        for key, _ in self._selector.select(wait):
            child: _Child = key.data
            if child.has_closed(key.fd):  # by what was just read of its other pipe
                continue
            for line in child.read(key.fd):
                self._on_line(child.index, line)
            for descriptor in child.newly_closed():
                self._selector.unregister(descriptor)
            if child.all_closed:
                self.endings[child.index] = child.ending()
                del self.running[child.index]

    def end(self) -> None:
        """Ends all that still runs, and waits until it has."""
        for child in self.running.values():
            child.ask_to_end()
        try:
            while self.running:
                endings = dict(self.endings)
                self.step(None)
                # made to end: that is no end of their own
                self.endings = {k: v for k, v in self.endings.items() if k in endings}
        finally:
            self._selector.close()
            for child in self.running.values():
                child.close()


@dataclass
class _Child:
    """A command's guardian, and what it tells."""

    index: int
    order: Order
    output: int = -1
    status: int = -1
    _closed: set[int] = field(default_factory=set)
    _passed_on: set[int] = field(default_factory=set)
    _told: bytes = b""
    _rest: bytes = b""

    def __post_init__(self) -> None:
        self.output, written = os.pipe()
        self.status, reported = os.pipe()
        numbers = [str(reported), str(os.getpid())]
        try:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-c", _START, _PACKAGES, *numbers],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                start_new_session=True,
                pass_fds=[reported],
            )
        finally:
            os.close(written)
            os.close(reported)
        assert self.process.stdin is not None  # noqa: S101  # it is a pipe
        self._lifeline = self.process.stdin
        with suppress(BrokenPipeError):
            self._lifeline.write(self.order.to_json())
            self._lifeline.flush()

    def read(self, descriptor: int) -> Iterator[str]:
        """The lines that have come."""
        part = os.read(descriptor, _READ)
        if not part:
            self._closed.add(descriptor)
        if descriptor == self.status:
            self._told += part
            return
        *lines, self._rest = (self._rest + part).split(b"\n")
        if self._rest and (not part or len(self._rest) > _LONGEST_LINE):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield line.removesuffix(b"\r").decode(errors="replace")

    def has_closed(self, descriptor: int) -> bool:
        return descriptor in self._closed

    def newly_closed(self) -> set[int]:
        """The pipes from which nothing more will come, each once.

        If the guardian was killed, processes that left the command's group may keep the output
        open: it isn't waited for.
        """
        if self.status in self._closed and not self._told_the_end():
            self._kill_group()
            self._closed.add(self.output)
        new = self._closed - self._passed_on
        self._passed_on |= new
        return new

    @property
    def all_closed(self) -> bool:
        return self._closed == {self.output, self.status}

    def ask_to_end(self) -> None:
        """Has the guardian end the command."""
        with suppress(OSError):
            self._lifeline.close()

    def ending(self) -> Ending:
        """What became of the command, once both pipes are closed."""
        self.process.wait()
        self.close()
        if told := self._told_the_end():
            return Ending(**told)
        return Ending(problem="lost", message="was lost: its guardian was killed")

    def _told_the_end(self) -> dict[str, Any]:
        """What the guardian said that became of the command; empty if it didn't get to that."""
        said = [json.loads(line) for line in self._told.splitlines()]
        return next((item for item in said if "pid" not in item), {})

    def _kill_group(self) -> None:
        for item in map(json.loads, self._told.splitlines()):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(item["pid"], SIGKILL)

    def close(self) -> None:
        """Gives the pipes back."""
        self.ask_to_end()
        for descriptor in (self.output, self.status):
            with suppress(OSError):
                os.close(descriptor)


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
