"""What the tasks of runs printed: one file per task and run, below the state folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from liminal_assets.apache.workflow import TaskSpec, Workflow

__all__ = ["TaskLog", "log_file"]

_ODD = re.compile(r"[^\w.+@ -]")


def log_file(workflow: Workflow, pipeline: str, task: str, run_id: str) -> Path:
    """``<state>/logs/<project>/<pipeline>/<task>/<run>.log``; what no file may be called is
    replaced."""
    parts = [_ODD.sub("_", part).strip(".") or "_" for part in (workflow.name, pipeline, task)]
    return Path(workflow.state, "logs", *parts, f"{_ODD.sub('_', run_id)}.log")


class TaskLog:
    """The file that a task's output is added to. Output goes on where the file can't."""

    def __init__(self, spec: TaskSpec, workflow: Workflow, run_id: str) -> None:
        self.path = log_file(workflow, spec.pipeline, spec.name, run_id)
        self.trouble: str | None = None
        """Why it doesn't hold everything; None if it does."""
        self._stream: IO[str] | None = None

    def __enter__(self) -> TaskLog:
        with self._troubles():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("a", encoding="utf-8", buffering=1, newline="\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            with self._troubles():
                self._stream.close()

    def add(self, line: str) -> None:
        """Adds a line."""
        if self._stream is not None and self.trouble is None:
            with self._troubles():
                self._stream.write(line + "\n")

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.trouble = self.trouble or error.strerror or str(error)
