"""What a run shows while it goes on: bars on a terminal, a line per event in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

from liminal_assets.cli.output import duration, is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from liminal_assets.cli.execution import StepReport

__all__ = ["Display", "show_progress"]


class Display(Protocol):
    """Hears what happens."""

    def step(self, report: StepReport) -> None:
        """A step started, is tried again or ended."""

    def note(self, text: str) -> None:
        """Something else that people should know."""


@contextmanager
def show_progress(steps: int, *, silent: bool = False) -> Iterator[Display]:
    """A display for a number of steps; ``silent`` for output that must be JSON alone.

    It writes to a copy of standard output, for what steps print goes to the run's log.
    """
    if silent:
        yield _Silent()
        return
    sys.stdout.flush()
    with _copy_of_output() as stream:
        if not is_terminal(stream):
            yield _Lines(stream, steps)
            return
        with _progress(stream) as progress:
            yield _Bars(progress, steps)


@contextmanager
def _copy_of_output() -> Iterator[IO[str]]:
    try:
        number = os.dup(sys.stdout.fileno())
    except (OSError, AttributeError):  # no file: a notebook's or a test's
        yield sys.stdout
        return
    with os.fdopen(number, "w", buffering=1, encoding="utf-8") as stream:
        yield stream


class _Silent:
    def step(self, report: StepReport) -> None:
        """Nothing is shown."""

    def note(self, text: str) -> None:
        """Nothing is shown."""


class _Lines:
    """``[ 3/17] departures: started``, then what came of it, with seconds."""

    def __init__(self, stream: IO[str], steps: int) -> None:
        self.stream = stream
        self.steps = steps
        self.started: dict[str, int] = {}
        self.tries: dict[str, int] = {}

    def step(self, report: StepReport) -> None:
        key = f"{report.run_id}/{report.name}"
        number = self.started.setdefault(key, len(self.started) + 1)
        width = len(str(self.steps))
        what = _sentence(report, self.tries.get(key, 1))
        self.tries[key] = report.tries
        print(f"[{number:>{width}}/{self.steps}] {report.name}: {what}", file=self.stream)

    def note(self, text: str) -> None:
        print(text, file=self.stream)


class _Bars:
    """A spinner for each running step above the bar of the whole."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.progress = progress
        self.whole = progress.add_task("steps", total=steps)
        self.running: dict[str, TaskID] = {}

    def step(self, report: StepReport) -> None:
        key = f"{report.run_id}/{report.name}"
        if report.status == "running":
            if key not in self.running:
                self.running[key] = self.progress.add_task(report.name, total=None)
            return
        if key in self.running:
            self.progress.remove_task(self.running.pop(key))
        self.progress.advance(self.whole)
        mark, style = _MARKS[report.status]
        text = f"{report.name}: {_sentence(report, report.tries)}"
        self.progress.console.print(f"{mark} {text}", style=style, markup=False, highlight=False)

    def note(self, text: str) -> None:
        self.progress.console.print(text, style="bold", markup=False, highlight=False)


_MARKS = {
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("·", "yellow"),
    "waiting": ("·", ""),
}


def _progress(stream: IO[str]) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Elapsed(),
        console=Console(file=stream),
        transient=True,
    )


def _sentence(report: StepReport, tries_before: int) -> str:
    """What happened to a step, in a few words."""
    if report.status == "running":
        if report.tries > tries_before:
            return f"try {report.tries}"
        return "started"
    from liminal_assets.cli.closing import checks_in_words, result_in_words

    took = duration(report.seconds)
    if report.status == "failed":
        reason = report.failure.message.split("\n")[0] if report.failure else ""
        return f"failed after {took}: {reason}"
    if report.status == "skipped":
        return "skipped"
    parts = [result_in_words(report), checks_in_words(report), took]
    return ", ".join(part for part in parts if part)
