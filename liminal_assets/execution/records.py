"""What is up: a file per server below the state folder, which outlives whoever wrote it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from liminal_assets.execution.identity import boot, is_alive, process_name

__all__ = ["SUPERVISOR", "Record", "Records"]

SUPERVISOR = "supervisor"
"""The name of the process that keeps the others up."""
_GRACE = 20.0
"""Seconds that a server has to end."""
_VANISHING = 2.0
"""Seconds in which what is killed must be gone; its parent may leave it a zombie for longer."""


@dataclass(frozen=True)
class Record:
    """One server: how it is, and the process that it is."""

    name: str
    kind: str
    """``service``, ``deployment``, ``ui`` or ``supervisor``."""
    state: str = "starting"
    """``starting``, ``ready``, ``restarting``, ``failed`` (it keeps ending) or ``stopped``."""
    pid: int = 0
    process: str = ""
    """Its name (:func:`~liminal_assets.execution.identity.process_name`)."""
    boot: str = ""
    url: str = ""
    log: str = ""
    restarts: int = 0
    exit_code: int | None = None
    """Of the last time that it ended."""
    since: float = 0.0
    """When it came to its state, in seconds since 1970."""

    def of_process(self, pid: int) -> Record:
        """The same server as a process that was just started."""
        return replace(self, pid=pid, process=process_name(pid), boot=boot())

    @property
    def alive(self) -> bool:
        """Whether its process goes on, however it is."""
        return bool(self.pid) and self.boot == boot() and is_alive(self.process)

    def end(self, *, number: int = signal.SIGTERM, grace: float = _GRACE) -> None:
        """Ends its process and its process group, if they are still its own."""
        if not self.pid or self.boot != boot():
            return
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            deadline = time.monotonic() + grace
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.05)
        elif Path(f"/proc/{self.pid}").exists() and not _is_zombie(self.pid):
            return  # the id is another process's by now, so the group is gone
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
            deadline = time.monotonic() + _VANISHING
            while time.monotonic() < deadline:
                os.killpg(self.pid, 0)
                time.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    return process_name(pid).endswith("_0")


class Records:
    """The records of all that is up on one state folder.

    Args:
        state: the state folder (``.liminal``).
    """

    def __init__(self, state: Path) -> None:
        self.folder = state / "up"

    def write(self, record: Record) -> None:
        """Keeps a record in place of the one of that name; a reader sees one or the other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{_file_name(record.name)}.json"
        new = target.with_suffix(f".{os.getpid()}.tmp")
        new.write_text(json.dumps(asdict(record)), encoding="utf-8")
        new.replace(target)

    def all(self) -> list[Record]:
        """Every record, by name."""
        return sorted(self._read(), key=lambda record: record.name)

    def _read(self) -> Iterator[Record]:
        for file in self.folder.glob("*.json"):
            # one that goes meanwhile, or was cut off by a full disk
            with suppress(OSError, ValueError, TypeError):
                said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
                yield Record(**said)

    def get(self, name: str) -> Record | None:
        """The record of that name."""
        return next((record for record in self.all() if record.name == name), None)

    @property
    def supervisor(self) -> Record | None:
        """The record of the process that keeps the others up, while that goes on."""
        record = self.get(SUPERVISOR)
        return record if record is not None and record.alive else None

    def claim(self) -> None:
        """Says that this process keeps the others up from now on."""
        own = Record(SUPERVISOR, SUPERVISOR, "ready", since=time.time())
        self.write(own.of_process(os.getpid()))

    def clear(self) -> None:
        """Forgets all of them."""
        for file in self.folder.glob("*.json"):
            file.unlink(missing_ok=True)

    def end_all(self) -> list[Record]:
        """Ends whatever goes on, the supervisor first, and forgets it.

        Returns:
            What was ended.
        """
        supervisor = self.supervisor
        ended = [record for record in self.all() if record.alive]
        if supervisor is not None:
            supervisor.end(grace=2 * _GRACE)
        records = [record for record in self.all() if record.name != SUPERVISOR]
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(Record.end, records))
        self.clear()
        return ended


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else f"%{ord(c):x}" for c in name)
