"""The ``liminal`` command in this process: what it prints, and its exit code."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

from liminal_assets.cli.main import main

__all__ = ["Done", "liminal"]


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with ``--json``."""
        return json.loads(self.out)


def liminal(*arguments: object) -> Done:
    """Runs ``liminal ARGUMENTS``."""
    # files: progress is written to the descriptor
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        out.seek(0)
        err.seek(0)
        return Done(code, out.read(), err.read())
