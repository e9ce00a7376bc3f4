"""Numbers that the workers of a deployment count, each in files of its own that any process reads.

The files are those of prometheus_client's multiprocess mode, and prometheus_client reads, merges
and prints them. They are written here: its own ``observe`` and ``inc`` of a request took 8.6 µs
where this takes 1.5, and they need a variable of the environment before the first import.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import struct
import threading
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["Cell", "CellFiles", "Kind", "clear", "forget_groups", "merge_dead", "read"]

Kind = Literal["counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_liveall"]
"""How the values of several workers are made one: prometheus_client's names."""

_PAGE = 4096
_HEAD = 8
_DEAD = "dead"
"""Stands in a file's name for all workers that ended."""


class Cell:
    """One number in a file.

    Attributes:
        cells: the file as doubles. Another one is mapped when the file grows, and this one stays
            true: both show the same pages.
        at: which of them.
    """

    __slots__ = ("at", "cells")

    def __init__(self, cells: memoryview[float], at: int) -> None:
        self.cells = cells
        self.at = at

    def add(self, amount: float = 1.0) -> None:
        """Counts; the caller holds the lock where several threads count."""
        self.cells[self.at] += amount

    def set(self, value: float) -> None:
        """Says what is so now."""
        self.cells[self.at] = value


class CellFiles:
    """The files of one process.

    Args:
        folder: that of all workers of a deployment.
        process: stands for the process in names; live workers have different ones.
    """

    def __init__(self, folder: Path, process: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.process = str(os.getpid()) if process is None else process
        self.lock = threading.Lock()
        """Held by whoever counts: adding to a number is no single step in Python."""
        self._files: dict[str, _File] = {}

    def cell(
        self,
        kind: Kind,
        metric: str,
        sample: str,
        labels: Mapping[str, str],
        help_text: str,
        group: str = "",
    ) -> Cell:
        """A number, 0 if it is new.

        Args:
            metric: the metric's name, for a counter without ``_total``.
            sample: the name of this line of it.
            group: numbers that can be removed together, such as those of one version.
        """
        name = f"{kind}_{self.process}{'-' if group else ''}{_as_name(group)}.db"
        key = json.dumps([metric, sample, dict(labels), help_text], sort_keys=True)
        with self.lock:
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = _File(self.folder / name)
            return file.cell(key)


class _File:
    """What prometheus_client's ``MmapedDict`` describes: the bytes in use as a 4-byte integer, 4 of
    padding, then entries of a length, a key, padding to 8 bytes, a value and a time stamp."""

    def __init__(self, path: Path) -> None:
        self._used = _HEAD
        self._places: dict[str, int] = {}
        # readers never see a file without its head
        draft = path.with_name(f".{uuid.uuid4().hex}.draft")
        self._file = draft.open("x+b")
        self._map(_PAGE)
        draft.replace(path)

    def _map(self, size: int) -> None:
        self._file.truncate(size)
        self._size = size
        self._bytes = mmap.mmap(self._file.fileno(), size)
        self._bytes[:4] = struct.pack("i", self._used)
        self._cells = memoryview(self._bytes).cast("d")

    def cell(self, key: str) -> Cell:
        """The number of a key, made if it is new."""
        at = self._places.get(key)
        if at is None:
            entry = _entry(key, 0.0)
            while self._used + len(entry) > self._size:
                self._map(self._size * 2)
            start = self._used
            self._used += len(entry)
            self._bytes[start : self._used] = entry
            self._bytes[:4] = struct.pack("i", self._used)
            at = self._places[key] = (self._used - 16) // 8
        return Cell(self._cells, at)


def _entry(key: str, value: float) -> bytes:
    encoded = key.encode()
    padded = encoded + b" " * (8 - (len(encoded) + 4) % 8)
    return struct.pack(f"=i{len(padded)}sdd", len(encoded), padded, value, 0.0)


def _as_name(group: str) -> str:
    return group.encode().hex()


def read(folder: Path, *, accumulate: bool = True) -> list[Metric]:
    """The sums of all workers, as prometheus_client's metrics.

    Args:
        accumulate: whether a bucket of a histogram counts what is in the ones before it too.
    """
    from prometheus_client.multiprocess import MultiProcessCollector

    with _locked(folder, fcntl.LOCK_SH):
        files = [str(path) for path in folder.glob("*.db")]
        merged = MultiProcessCollector.merge(files, accumulate)  # type: ignore[no-untyped-call]
        return list(merged)


def clear(folder: Path) -> None:
    """Forgets all: what a server that starts does. Prometheus expects counters to begin again."""
    with _locked(folder, fcntl.LOCK_EX):
        for path in folder.glob("*.db"):
            path.unlink(missing_ok=True)


def merge_dead(folder: Path, alive: Collection[str] | None = None) -> None:
    """Adds what ended workers counted to one file per kind and group, and removes their gauges, so
    that the folder doesn't grow with every worker that is replaced.

    Args:
        alive: the processes that count; by default those of this machine that live.
    """
    with _locked(folder, fcntl.LOCK_EX):
        ended: dict[Path, list[Path]] = defaultdict(list)
        for path in folder.glob("*.db"):
            kind, _, rest = path.stem.rpartition("_")
            process, dash, group = rest.partition("-")
            if process == _DEAD or (_lives(process) if alive is None else process in alive):
                continue
            if kind.startswith("gauge"):
                path.unlink(missing_ok=True)
            else:
                ended[folder / f"{kind}_{_DEAD}{dash}{group}.db"].append(path)
        for total, parts in ended.items():
            _add(total, parts)


def _lives(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def forget_groups(folder: Path, keep: int) -> None:
    """Removes the numbers of all groups but those in which was counted last. A process that still
    counts in a removed file does no harm: its file has no name any more.

    Args:
        keep: how many groups stay.
    """
    with _locked(folder, fcntl.LOCK_EX):
        groups: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.glob("*-*.db"), key=lambda path: path.stat().st_mtime_ns):
            group = path.stem.partition("-")[2]
            # a group comes after those in which was counted before
            groups[group] = [*groups.pop(group, []), path]
        for group in list(groups)[:-keep]:
            for path in groups[group]:
                path.unlink(missing_ok=True)


def _add(total: Path, parts: list[Path]) -> None:
    """One file with the sums of several, instead of them."""
    from prometheus_client.mmap_dict import MmapedDict

    sums: dict[str, float] = defaultdict(float)
    for path in [total, *parts]:
        if path.exists():
            said = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
            for key, value, *_ in said:
                sums[key] += value
    entries = b"".join(_entry(key, value) for key, value in sums.items())
    draft = total.with_name(f".{uuid.uuid4().hex}.draft")
    used = _HEAD + len(entries)
    size = math.ceil(used / _PAGE) * _PAGE
    draft.write_bytes(struct.pack("ii", used, 0) + entries + b"\0" * (size - used))
    # a crash between the two counts the parts twice, once; the server's next start forgets all
    draft.replace(total)
    for path in parts:
        path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, how)
        yield
