"""Lines of several servers on one terminal."""

from __future__ import annotations

import zlib

import click

from liminal_assets.cli.output import console, is_terminal

__all__ = ["show_line"]

_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta")


def show_line(name: str, line: str, *, style: str = "") -> None:
    """A line with the name of whoever wrote it before it, in a colour of its own."""
    if is_terminal():
        from rich.text import Text

        own = _STYLES[zlib.crc32(name.encode()) % len(_STYLES)]
        said = Text.from_ansi(line, style=style)
        console().print(Text.assemble((name, own), " | ", said), soft_wrap=True)
    else:
        # servers colour their logs whoever reads them
        print(f"{name} | {click.unstyle(line)}", flush=True)
