"""The access log: one JSON object per request and line, written by a thread."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections import deque
from pathlib import Path

import msgspec

__all__ = ["AccessLog", "AccessLogConfig", "Line"]

_log = logging.getLogger("liminal_assets.serving")

_MOST_WAITING = 20_000
"""Lines in memory; more are dropped, and counted."""
_WRITE_SECONDS = 0.2


class AccessLogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written.

    Attributes:
        file: where; empty: standard output.
        sample: the share of requests answered with 2xx that are written; others always are.
    """

    file: str = ""
    sample: float = 1.0


class Line(msgspec.Struct, omit_defaults=True):
    """One request. No header, no body and no query is in it: they may be secret.

    Attributes:
        time: when it came, in seconds since 1970.
        ms: until its answer was sent.
        bytes: of the answer's body.
    """

    time: float
    method: str
    path: str
    status: int
    ms: float
    bytes: int
    rows: int = 0
    version: str | None = None
    prediction_id: str | None = None
    code: str | None = None
    caller: str = ""
    client: str = ""
    trace_id: str | None = None


class AccessLog:
    """Takes lines without delay and writes them in the background.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, config: AccessLogConfig | None = None) -> None:
        config = config or AccessLogConfig()
        self._sample = config.sample
        self._own = bool(config.file)
        if self._own:
            Path(config.file).parent.mkdir(parents=True, exist_ok=True)
            # one write of whole lines at a time: workers append to the same file
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._target = os.open(config.file, flags, 0o640)
        else:
            self._target = 1
        self._waiting: deque[Line] = deque()
        self.dropped = 0
        self._fails = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to write."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def wants(self, status: int) -> bool:
        """Whether a request with this status is to be written."""
        return not 200 <= status < 300 or self._sample >= 1.0 or random.random() < self._sample  # noqa: S311

    def add(self, line: Line) -> None:
        """Takes a line."""
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(line)

    def close(self) -> None:
        """Writes what waits."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        if self._own:
            os.close(self._target)

    def _run(self) -> None:
        while not self._stop.wait(_WRITE_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        waiting = len(self._waiting)
        if not waiting:
            return
        lines = (self._waiting.popleft() for _ in range(waiting))
        text = memoryview(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        try:
            while text:
                text = text[os.write(self._target, text) :]
        except OSError as error:
            self.dropped += waiting
            if not self._fails:
                _log.warning("the access log can't be written, lines are dropped: %s", error)
            self._fails = True
        else:
            self._fails = False
