"""What the command prints: tables and colour on a terminal, plain text in a pipe, or JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

import click

from liminal_assets.language.diagnostics import Diagnostic, Location

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

__all__ = [
    "complain",
    "console",
    "duration",
    "is_terminal",
    "label_of",
    "print_diagnostics",
    "print_json",
    "print_table",
    "relative",
    "say",
]


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether people look at what is written to ``stream`` (default: standard output)."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


@lru_cache(maxsize=2)
def console(stderr: bool = False) -> Console:
    """The console of rich for of standard output or error."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def say(text: str = "", *, style: str | None = None, err: bool = False) -> None:
    """One line, in a rich style on a terminal."""
    if style and is_terminal(sys.stderr if err else sys.stdout):
        console(err).print(text, style=style, markup=False, soft_wrap=True)
    else:
        click.echo(text, err=err)


def complain(message: str, *, hint: str | None = None, at: Location | None = None) -> None:
    """What went wrong, on standard error."""
    place = f"{relative(at)}: " if at else ""
    say(f"error: {place}{message}", style="bold red", err=True)
    if hint:
        say(f"  hint: {hint}", err=True)


def relative(at: Location) -> str:
    """A place as ``file:line:column``, the file as seen from the current folder if below it."""
    shown = os.path.relpath(at.file) if os.path.isabs(at.file) else at.file
    file = at.file if shown.startswith("..") else shown
    return f"{file}:{at.line}:{at.column}"


def print_diagnostics(diagnostics: Sequence[Diagnostic], *, err: bool = True) -> None:
    """``file:line:column: code: message``, a hint below, and how many there are."""
    for diagnostic in diagnostics:
        warning = "" if diagnostic.is_error else "warning: "
        say(
            f"{relative(diagnostic.location)}: {warning}{diagnostic.code}: {diagnostic.message}",
            style="yellow" if warning else "red",
            err=err,
        )
        if diagnostic.hint:
            say(f"  hint: {diagnostic.hint}", err=err)
    mistakes = sum(diagnostic.is_error for diagnostic in diagnostics)
    warnings = len(diagnostics) - mistakes
    counts = [_count(mistakes, "mistake")] * bool(mistakes or not warnings)
    counts += [_count(warnings, "warning")] * bool(warnings)
    say(", ".join(counts), style="bold", err=err)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def print_json(value: Any) -> None:
    """One JSON value, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None
) -> None:
    """Rows below their headings: with borders on a terminal, in aligned columns in a pipe."""
    rows = [list(map(str, row)) for row in rows]
    if is_terminal():
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        console().print(table)
        return
    if title:
        click.echo(title)
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in [list(columns), *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def label_of(key: dg.AssetKey) -> str:
    """How people name an asset within its project: a block, or a task as ``pipeline/task``."""
    return "/".join(key.path[1:]) or key.path[0]


def duration(seconds: float) -> str:
    """``0.42s``, ``12.3s``, ``3m 05s``."""
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s"
