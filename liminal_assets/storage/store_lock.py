"""A lock in an object storage that has nothing but whole objects: no exclusive create, no rename.

Lamport's bakery (L. Lamport, *A new solution of Dijkstra's concurrent programming problem*,
Communications of the ACM 17(8), 1974): who wants in writes that it chooses, reads everyone's
number, writes one more, and waits until nobody who has a smaller one, or still chooses, is there.
Each writes an object of its own only. The storage must show an object, and that it is gone, to
everybody as soon as it is written: S3, Google Cloud Storage and Azure do.

The algorithm has no answer to those who die inside. So each renews its object, and one that wasn't
renewed for a minute is removed by whoever waits for it.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["store_lock"]

_POLL_SECONDS = 0.1
_RENEW_SECONDS = 10.0
LEASE_SECONDS = 60.0
"""By the clock of who waits: clocks of machines may differ."""

Ticket = tuple[int, str]


@contextmanager
def store_lock(filesystem: Any, folder: str) -> Iterator[None]:
    """Holds the lock for the length of the block.

    Who stops for longer than the lease and then goes on may be inside together with another.

    Args:
        filesystem: an fsspec file system.
        folder: where the objects of the lock are.

    Raises:
        OSError: the storage can't be used.
    """
    me = uuid.uuid4().hex
    own = _Own(filesystem, f"{folder}/{me}.json")
    filesystem.makedirs(folder, exist_ok=True)
    try:
        own.write(0)
        number = 1 + max((n for n, _ in _tickets(filesystem, folder).values()), default=0)
        own.write(number)
        _wait(filesystem, folder, (number, me))
        with own.renewed(number):
            yield
    finally:
        with suppress(FileNotFoundError):
            filesystem.rm_file(own.path)


class _Own:
    """The object of one who wants in."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self.path = path
        self._filesystem = filesystem
        self._beat = 0

    def write(self, number: int) -> None:
        """Says which number one has; 0: it is being chosen."""
        self._beat += 1
        said = json.dumps({"number": number, "beat": self._beat}).encode()
        self._filesystem.pipe_file(self.path, said)

    @contextmanager
    def renewed(self, number: int) -> Iterator[None]:
        """Shows that one lives, for the length of the block."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(_RENEW_SECONDS):
                # the storage may be back the next time
                with suppress(OSError):
                    self.write(number)

        thread = threading.Thread(target=renew, name="store-lock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _wait(filesystem: Any, folder: str, mine: Ticket) -> None:
    """Returns once nobody is before; whoever doesn't live any more is removed."""
    seen: dict[str, tuple[tuple[int, int], float]] = {}
    while True:
        now = time.monotonic()
        before = False
        for other, state in _tickets(filesystem, folder).items():
            if other == mine[1] or (state[0] and (state[0], other) > mine):
                continue
            before = True
            if seen.get(other, (None, 0.0))[0] != state:
                seen[other] = state, now
            elif now - seen[other][1] > LEASE_SECONDS:
                with suppress(FileNotFoundError):
                    filesystem.rm_file(f"{folder}/{other}.json")
        if not before:
            return
        time.sleep(_POLL_SECONDS)


def _tickets(filesystem: Any, folder: str) -> Mapping[str, tuple[int, int]]:
    """The number and the beat of everyone who wants in."""
    filesystem.invalidate_cache()
    found = {}
    try:
        paths = filesystem.ls(folder, detail=False)
    except FileNotFoundError:
        return {}
    for path in paths:
        name = path.rstrip("/").rpartition("/")[2]
        if not name.endswith(".json"):
            continue
        with suppress(FileNotFoundError):
            said = json.loads(filesystem.cat_file(path))
            found[name.removesuffix(".json")] = (int(said["number"]), int(said["beat"]))
    return found
