"""Log files as they grow: the last lines of several, and what is added to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["Tail", "last_lines"]

_MOST = 2**20
"""Bytes of a file that are read at once."""


class Tail:
    """What is written to files from now on, whoever writes it; files may come, go and begin anew.

    Args:
        files: by the name that their lines are shown with.
        from_start: whether what they hold already counts.
    """

    def __init__(self, files: Mapping[str, Path], *, from_start: bool = False) -> None:
        self._places = {
            name: (0, -1) if from_start else _end_of(file) for name, file in files.items()
        }
        self._rests = dict.fromkeys(files, b"")
        self.files = files

    def lines(self) -> Iterator[tuple[str, str]]:
        """The whole lines that came since the last call, with the name of their file."""
        for name, file in self.files.items():
            with suppress(OSError), file.open("rb") as stream:
                status = os.fstat(stream.fileno())
                place, inode = self._places[name]
                if inode not in (-1, status.st_ino) or status.st_size < place:
                    place, self._rests[name] = 0, b""
                stream.seek(place)
                added = stream.read(_MOST)
                self._places[name] = (place + len(added), status.st_ino)
                *whole, self._rests[name] = (self._rests[name] + added).split(b"\n")
                for line in whole:
                    yield name, line.decode(errors="replace").rstrip("\r")


def _end_of(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, -1
    return status.st_size, status.st_ino


def last_lines(file: Path, count: int) -> list[str]:
    """The last lines of a file, of its last megabyte at most; none if it isn't there."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _MOST))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:] if count > 0 else []
