"""Merging the spool into the log: every record once, whenever the machine stops.

A batch is a file beside the segments that names them. While it is there the same segments are
written again under the same name, which the log takes for the same rows; once they are in the log
the batch becomes *done*, and whatever is left of its segments is only removed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.log.logged import feedback_rows, prediction_rows
from liminal_assets.serving.log.segment_files import held, segments_of
from liminal_assets.serving.log.segments import MAGIC, Layout, Request, Segment, read_segment
from liminal_assets.serving.log.spool import DRAIN_STATE
from liminal_assets.storage.ids import new_id

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Drain", "DrainState", "LogSink"]

_log = logging.getLogger("liminal_assets.serving")

_PENDING, _DONE = ".batch", ".done"
_BATCH_BYTES = 64 << 20
"""Bytes of segments merged at once."""
_BATCH_SEGMENTS = 256


class LogSink(Protocol):
    """Where rows end up."""

    def append(self, rows: Any, *, batch: str) -> int:
        """Writes rows, all or none; those of a batch that is there already are replaced.

        Raises:
            StepError: they can't be written now.
        """

    def tidy(self) -> None:
        """Puts small pieces together, where there are any."""


class DrainState(msgspec.Struct, frozen=True):
    """How the merging is doing.

    Attributes:
        merged: rows brought into the log since the start.
        lost: rows that the log can't hold.
        torn: bytes that crashes left of records which nobody was told are kept.
        waiting: bytes that wait in the spool.
        problem: why it waits.
    """

    merged: int = 0
    lost: int = 0
    torn: int = 0
    waiting: int = 0
    problem: str | None = None


class Drain:
    """Merges a spool into a log, in a thread or when asked.

    Args:
        folder: the deployment's spool.
        predictions: where answered rows go.
        feedback: where labels go.
        shadow: where goes what was said in the background; without it that is lost.
        every: seconds between two looks at the spool.
        tidies: whether it puts small pieces of the log together besides.
        watch: is shown the answered requests that were merged.
    """

    def __init__(
        self,
        folder: Path,
        predictions: LogSink,
        feedback: LogSink,
        *,
        shadow: LogSink | None = None,
        every: float = 5.0,
        tidies: bool = True,
        watch: Callable[[Sequence[tuple[Layout, Request]]], None] | None = None,
    ) -> None:
        self.folder = folder
        self.state = DrainState()
        self._predictions = predictions
        self._feedback = feedback
        self._shadow = shadow
        self._every = every
        self._tidies = tidies
        self._watch = watch
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to merge in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="drain", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Merges what is complete a last time, and stops."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.merge(wait=True)

    def merge(self, *, wait: bool = False) -> bool:
        """Merges every segment that nobody writes any more.

        Args:
            wait: for another process that merges now.

        Returns:
            False if something keeps them from the log; they go on waiting, and ``state`` says why.
        """
        problem = None
        try:
            with self._alone(wait) as alone:
                if alone:
                    self._finish()
                    while self._merge_some():
                        pass
        except (StepError, OSError) as error:
            problem = str(error)
            if problem != self.state.problem:
                _log.warning("predictions wait in the spool: %s", problem)
        self._tell(problem)
        return problem is None

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                if self.merge() and self._tidies:
                    for sink in filter(None, (self._predictions, self._feedback, self._shadow)):
                        sink.tidy()
            except StepError as error:
                _log.warning("the log can't be tidied: %s", error)
            except Exception:
                _log.exception("unexpected")

    @contextmanager
    def _alone(self, wait: bool) -> Iterator[bool]:
        """Whether nobody else merges this spool, for the length of the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "drain.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def _finish(self) -> None:
        """Ends what a crash left half done."""
        for done in sorted(self.folder.glob(f"*{_DONE}")):
            self._remove(done, _named_in(done))
        for batch in sorted(self.folder.glob(f"*{_PENDING}")):
            self._write(batch, _named_in(batch))

    def _merge_some(self) -> bool:
        """Merges some segments as one batch; whether there were any."""
        with ExitStack() as stack:
            taken: list[Path] = []
            size = 0
            for path in segments_of(self.folder):
                if size >= _BATCH_BYTES or len(taken) >= _BATCH_SEGMENTS:
                    break
                if stack.enter_context(held(path)) and self._readable(path):
                    taken.append(path)
                    size += path.stat().st_size
            if not taken:
                return False
            batch = self.folder / f"{new_id()}{_PENDING}"
            _write_whole(batch, msgspec.json.encode([path.name for path in taken]))
            self._write(batch, taken)
        return True

    def _write(self, batch: Path, segments: Sequence[Path]) -> None:
        read = [read_segment(path) for path in segments if path.exists()]
        requests = [one for segment in read for one in segment.requests]
        served = [one for one in requests if not one[0].shadow]
        tables, lost = prediction_rows(served)
        merged = self._append(self._predictions, tables, batch.stem)
        said, unsaid = prediction_rows([one for one in requests if one[0].shadow])
        merged += self._append(self._shadow, said, batch.stem) if self._shadow else 0
        lost += unsaid
        labels = feedback_rows([one for segment in read for one in segment.feedback])
        merged += self._append(self._feedback, labels, batch.stem)
        done = batch.with_suffix(_DONE)
        batch.rename(done)
        self._remove(done, segments)
        self._count(read, merged, lost)
        if self._watch is not None:
            self._watch(served)

    def _append(self, sink: LogSink, tables: Sequence[pa.Table], batch: str) -> int:
        return sum(
            sink.append(table, batch=f"{batch}-{number}") for number, table in enumerate(tables)
        )

    def _remove(self, done: Path, segments: Sequence[Path]) -> None:
        for path in segments:
            path.unlink(missing_ok=True)
        done.unlink(missing_ok=True)

    def _count(self, read: Sequence[Segment], merged: int, lost: int) -> None:
        state = self.state
        self.state = msgspec.structs.replace(
            state,
            merged=state.merged + merged,
            lost=state.lost + lost,
            torn=state.torn + sum(segment.torn for segment in read),
        )

    def _readable(self, path: Path) -> bool:
        """A segment of another version of this package is set aside, not lost."""
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
        if head == MAGIC[: len(head)]:
            return True
        aside = path.with_suffix(".unreadable")
        _log.error("%s is no segment that this version reads; it is %s now", path, aside.name)
        path.rename(aside)
        return False

    def _tell(self, problem: str | None) -> None:
        waiting = sum(path.stat().st_size for path in segments_of(self.folder) if path.exists())
        self.state = msgspec.structs.replace(self.state, waiting=waiting, problem=problem)
        said = msgspec.json.encode(self.state)
        path = self.folder / DRAIN_STATE
        try:
            if not path.exists() or path.read_bytes() != said:
                _write_whole(path, said)
        except OSError as error:
            _log.warning("%s can't be written: %s", path, error)


def _named_in(batch: Path) -> list[Path]:
    names = msgspec.json.decode(batch.read_bytes(), type=list[str])
    return [batch.parent / name for name in names]


def _write_whole(path: Path, said: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with draft.open("xb") as file:
            file.write(said)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
