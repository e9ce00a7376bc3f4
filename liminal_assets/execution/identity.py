"""Names of processes that stay theirs: a process id is given again."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["boot", "is_alive", "process_name", "this_process"]


def this_process() -> str:
    """The name of this process."""
    return process_name(os.getpid())


def process_name(number: int) -> str:
    """The name of a process: machine, process id and the moment of its start."""
    return f"{_machine()}_{number}_{_started(number)}"


def is_alive(process: str) -> bool:
    """Whether a process goes on; one of another machine is taken to."""
    machine, _, rest = process.partition("_")
    number, _, _ = rest.partition("_")
    if machine != _machine() or not number.isdecimal():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # a process id is given again
    return process == process_name(int(number))


def _machine() -> str:
    # a run tag's value may hold letters, digits, "_", "-" and "."
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname())[:30]


def boot() -> str:
    """The id of this start of the system; empty where it doesn't tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(number: int) -> str:
    """The moment of a process's start in ticks since boot; 0 where the system doesn't tell, and for
    a process that has ended but that its parent hasn't asked about."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return "0" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return "0"
