"""What the tasks of runs printed: one file per task and run, below the state folder."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from liminal_assets.apache.workflow import TaskSpec, Workflow
from liminal_assets.execution.task import TaskRun

__all__ = ["TaskLog", "TaskOutput", "log_file"]

_LAST = 15
"""Lines of output that are shown when a task fails."""
_MOST_LINES = 5_000
"""Lines that go into the log of the run: each is a row of Dagster's database."""
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


@dataclass
class TaskOutput:
    """Lines of a task on their way to its file and to the log of the run."""

    log: TaskLog
    run: TaskRun
    workers: int
    told: int = 0
    last: dict[int, deque[str]] = field(default_factory=dict)

    def hear(self, index: int, line: str) -> None:
        """Takes a line of a worker."""
        self.last.setdefault(index, deque(maxlen=_LAST)).append(line)
        line = f"[{index}] {line}" if self.workers > 1 else line
        self.log.add(line)
        self.told += 1
        if self.told <= _MOST_LINES:
            self.run.log(line)
        elif self.told == _MOST_LINES + 1:
            self.run.log(f"… all further lines are in {self.log.path}")

    def note(self, line: str) -> None:
        """Takes a line of ours."""
        self.log.add(line)
        self.run.log(line)

    def close(self) -> None:
        """Tells where the output is, and what it lacks."""
        if self.log.trouble:
            self.run.log(f"{self.log.path} doesn't hold all of the output: {self.log.trouble}")
        self.run.results["log"] = str(self.log.path)
