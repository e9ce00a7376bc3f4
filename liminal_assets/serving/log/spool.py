"""The spool: answered requests and feedback in append-only files, on their way to the log.

A worker writes, the deployment's controller merges (see ``serving.drain``). The one who writes a
segment holds a lock on it; the system lets go of it when the segment is closed or the process
dies, and from then on it is the controller's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.log.records import Answered, Recorder, Recording
from liminal_assets.serving.log.segment_files import Item, OpenSegment, dropped, sizes
from liminal_assets.serving.log.segments import Feedback, frame

__all__ = ["DRAIN_STATE", "Background", "LogState", "Spool", "SpoolSettings"]

_log = logging.getLogger("liminal_assets.serving")

DRAIN_STATE = "drain.json"
"""What the one who merges says of itself."""
_FLUSH_SECONDS = 0.5
_FLUSH_BYTES = 1 << 20
_SEGMENT_BYTES = 16 << 20
_RETRY_SECONDS = 1.0
_MEMORY_BYTES = 64 << 20
"""Records that wait in memory while the disk refuses them; past that the oldest are lost."""


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a worker keeps what it answered.

    Attributes:
        durable: whether an answer waits until its record is on the disk.
        max_mb: the most that the spool may hold, in MiB.
        rotate: seconds after which a segment is handed over.
        recording: what is kept of a request.
        entity: the columns that say what a row is about: labels may name it.
    """

    durable: bool = False
    max_mb: float = 1024.0
    rotate: float = 10.0
    recording: Recording = Recording()
    entity: Sequence[str] = ()


class LogState(msgspec.Struct, frozen=True):
    """How the log is doing.

    Attributes:
        waiting: rows in memory.
        written: rows in the spool's files since the start.
        lost: rows that found no place.
        problem: what keeps rows from the disk, or from the log.
    """

    waiting: int
    written: int
    lost: int
    problem: str | None


class Background(Protocol):
    """What runs beside a spool: something that merges it."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class Spool:
    """Takes records without delay; a thread writes them.

    Without ``durable`` they are written twice a second, and synced when a segment is handed over:
    a crash of the process loses the last half second, one of the machine up to ``rotate`` besides.
    With it :meth:`settled` waits until they are synced; requests that wait share one sync.

    Args:
        folder: the deployment's spool.
        settings: how.
        drain: merges the folder while this process runs, where no controller does.
    """

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings | None = None,
        *,
        drain: Background | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings or SpoolSettings()
        self.durable = self.settings.durable
        self._record = Recorder(self.settings.recording)
        self._encode = msgspec.msgpack.Encoder().encode
        self._drain = drain
        self._lock = threading.Lock()
        self._pending: deque[Item] = deque()
        self._bytes = self._rows = 0
        self._added = self._synced = 0
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._written = self._lost = 0
        self._problem: str | None = None
        self._refuse_until = 0.0
        self._segment: OpenSegment | None = None
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to write in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
            self._thread.start()
            if self._drain is not None:
                self._drain.start()

    def add(self, answered: Answered) -> None:
        """Takes an answered request; never waits for the disk.

        Raises:
            RequestError: 503, where answers must be kept and can't.
        """
        self._check()
        try:
            made = self._record(answered)
        except Exception:
            # whatever a value is, its request was answered
            _log.exception("%d predictions can't be logged", len(answered.ids))
            with self._lock:
                self._lost += len(answered.ids)
            return
        if made is not None:
            self._append((*made, len(answered.ids)))

    def add_feedback(self, feedback: Feedback) -> None:
        """Takes a label.

        Raises:
            RequestError: 503, where it must be kept and can't.
        """
        self._check()
        self._append((None, b"", frame(self._encode(feedback)), 1))

    async def settled(self) -> None:
        """Returns once everything that was added before is as safe as ``durable`` asks for.

        Raises:
            RequestError: 503, the disk can't take it.
        """
        if not self.durable or self._synced >= self._added:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiters.append((self._added, loop, done))
        self._wake.set()
        await done

    @property
    def state(self) -> LogState:
        """How it is doing."""
        problem = self._problem or _drain_problem(self.folder)
        return LogState(self._rows, self._written, self._lost, problem)

    def close(self, seconds: float = 10.0) -> None:
        """Writes what waits and stops; gives up after some seconds, and says what is lost."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)
        deadline = time.monotonic() + seconds
        while not self.flush() and time.monotonic() < deadline:
            time.sleep(0.2)
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._rows:
            _log.error("%d predictions are lost: %s", self._rows, self._problem)
        if self._drain is not None:
            self._drain.close()

    def flush(self) -> bool:
        """Writes what waits; False if the disk refuses it, and it goes on waiting."""
        with self._lock:
            taken, self._pending = self._pending, deque()
            size, rows, upto = self._bytes, self._rows, self._added
            self._bytes = self._rows = 0
        try:
            if taken:
                self._make_room(size)
                self._open().write(taken, sync=self.durable)
        except OSError as error:
            self._put_back(taken, size, rows, f"the spool can't be written: {error}")
            return False
        self._written += rows
        self._synced = max(self._synced, upto)
        if self._problem:
            _log.info("the spool is written again")
            self._problem = None
        self._tell(upto, None)
        return True

    def _append(self, item: Item) -> None:
        size = len(item[2])
        with self._lock:
            self._pending.append(item)
            self._bytes += size
            self._rows += item[3]
            self._added += 1
            full = self._bytes > _FLUSH_BYTES
        if full:
            self._wake.set()

    def _check(self) -> None:
        if self.durable and self._problem and time.monotonic() < self._refuse_until:
            raise _refusal(self._problem)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(_FLUSH_SECONDS)
            self._wake.clear()
            try:
                if self.flush():
                    self._rotate()
                elif not self._closed:
                    # a full disk isn't asked again at once
                    time.sleep(_RETRY_SECONDS / 4)
            except Exception:
                _log.exception("unexpected")
                time.sleep(_RETRY_SECONDS)

    def _open(self) -> OpenSegment:
        if self._segment is None:
            self._segment = OpenSegment.made(self.folder, sync=self.durable)
        return self._segment

    def _rotate(self) -> None:
        segment = self._segment
        if segment is None:
            return
        age = time.monotonic() - segment.opened
        if segment.size >= _SEGMENT_BYTES or age >= self.settings.rotate:
            self._segment = None
            try:
                segment.close()
            except OSError as error:
                _log.warning("a segment of the spool can't be synced: %s", error)

    def _make_room(self, size: int) -> None:
        """Keeps the spool below its limit: by refusing where answers must be kept, else by letting
        the oldest go."""
        limit = self.settings.max_mb * (1 << 20)
        files = list(sizes(self.folder))
        used = sum(held_bytes for _, held_bytes in files)
        if used + size <= limit:
            return
        if self.durable:
            raise OSError(f"it holds {used >> 20} MiB, the most that 'max_mb' allows")
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        for path, held_bytes in files:
            if used + size <= limit:
                break
            self._lost += dropped(path)
            used -= held_bytes

    def _put_back(self, taken: deque[Item], size: int, rows: int, problem: str) -> None:
        if problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem
        self._refuse_until = time.monotonic() + _RETRY_SECONDS
        with self._lock:
            taken.extend(self._pending)
            self._pending = taken
            self._bytes += size
            self._rows += rows
            while self._bytes > _MEMORY_BYTES:
                *_, data, count = self._pending.popleft()
                self._bytes -= len(data)
                self._rows -= count
                self._lost += count
            upto = self._added
        self._tell(upto, problem)

    def _tell(self, upto: int, problem: str | None) -> None:
        with self._lock:
            told = [waiter for waiter in self._waiters if waiter[0] <= upto]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > upto]
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for _, loop, done in told:
            by_loop.setdefault(loop, []).append(done)
        for loop, waiting in by_loop.items():
            # a loop that was closed has nobody who waits
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, waiting, problem)


def _settle(waiting: list[asyncio.Future[None]], problem: str | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if problem:
            done.set_exception(_refusal(problem))
        else:
            done.set_result(None)


def _refusal(problem: str) -> RequestError:
    message = f"the answer can't be kept, as this deployment must ('durable: true'): {problem}"
    return RequestError(503, "log_unavailable", message)


def _drain_problem(folder: Path) -> str | None:
    try:
        said = msgspec.json.decode((folder / DRAIN_STATE).read_bytes())
        return said.get("problem") if isinstance(said, dict) else None
    except (OSError, msgspec.DecodeError):
        return None
