"""The files of a spool: who has one, and which there are."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from liminal_assets.serving.log.segments import MAGIC, SUFFIX, Layout, read_segment
from liminal_assets.storage.ids import new_id

__all__ = ["Item", "OpenSegment", "dropped", "held", "segments_of", "sizes"]

Item = tuple[Layout | None, bytes, bytes, int]
"""A record's layout and the frame of that, the frame of the record, and its rows."""


class OpenSegment:
    """A segment that is being written, locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.opened = time.monotonic()
        self.size = len(MAGIC)
        self._descriptor = descriptor
        self._layouts: set[int] = set()

    @classmethod
    def made(cls, folder: Path, *, sync: bool) -> OpenSegment:
        """A new one; it is seen only once it is locked.

        Raises:
            OSError: the disk can't take it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{new_id()}{SUFFIX}"
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write(descriptor, MAGIC)
            draft.rename(path)
            if sync:
                _sync_folder(folder)
        except BaseException:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        return cls(path, descriptor)

    def write(self, items: Iterable[Item], *, sync: bool) -> None:
        """Adds records, whole or not at all.

        Raises:
            OSError: the disk can't take them; none is there.
        """
        parts: list[bytes] = []
        layouts = set(self._layouts)
        for layout, described, record, _ in items:
            if layout is not None and layout.key not in layouts:
                layouts.add(layout.key)
                parts.append(described)
            parts.append(record)
        data = b"".join(parts)
        try:
            _write(self._descriptor, data)
            if sync:
                os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(data)
        self._layouts = layouts

    def close(self) -> None:
        """Syncs it and hands it over; one without records goes.

        Raises:
            OSError: it can't be synced.
        """
        try:
            if self.size == len(MAGIC):
                self.path.unlink(missing_ok=True)
            else:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments_of(folder: Path) -> list[Path]:
    """The segments of a spool, the oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Holds a segment for the length of the block; tells whether nobody else has it, and it is
    still there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield path.exists()
    finally:
        os.close(descriptor)


def sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The segments of a spool, the oldest first, with their bytes."""
    for path in segments_of(folder):
        with suppress(FileNotFoundError):
            yield path, path.stat().st_size


def dropped(path: Path) -> int:
    """Takes a segment away unless somebody has it; the number of rows that are lost."""
    with held(path) as mine:
        if not mine:
            return 0
        segment = read_segment(path)
        path.unlink(missing_ok=True)
    return sum(request.rows for _, request in segment.requests) + len(segment.feedback)
