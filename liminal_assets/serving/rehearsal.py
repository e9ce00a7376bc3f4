"""``python -m liminal_assets.serving.rehearsal FOLDER``: loads a release, asks it once, and ends.

A model may end the process that loads it: a library that crashes, more memory than there is. So a
version is loaded by a process that answers nobody before workers get it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from liminal_assets.errors import StepError
from liminal_assets.serving.control.supervisor import how_ended, worker_environment

__all__ = ["Crash", "rehearse"]

_TIMES = 3
_PAUSE_SECONDS = 0.5
"""Before it is tried again; doubled each time."""
_LONGEST_SECONDS = 600.0
_LAST_WORDS = 500
"""Characters."""

_LOADS, _REFUSES = 0, 3
"""Exit codes of a process that survived; it loads, or says why it can't."""


@dataclass(frozen=True)
class Crash:
    """What became of the processes that loaded a release.

    Attributes:
        how: the last one ended, in words.
        times: how many there were.
        said: what the last one wrote before.
    """

    how: str
    times: int
    said: str


def rehearse(folder: Path) -> Crash | None:
    """Has a release loaded by a process of its own, up to three times; None once one survives.

    That it can't be loaded is no crash: workers say why, and go on with what they have.
    """
    crash = None
    for number in range(1, _TIMES + 1):
        crash = _loaded(folder, number)
        if crash is None:
            return None
        if number < _TIMES:
            time.sleep(_PAUSE_SECONDS * 2 ** (number - 1))
    return crash


def _loaded(folder: Path, number: int) -> Crash | None:
    with tempfile.TemporaryFile() as words:
        try:
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-m", "liminal_assets.serving.rehearsal", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env=worker_environment(),
                timeout=_LONGEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Crash(f"it isn't loaded after {_LONGEST_SECONDS:g} s", number, "")
        if done.returncode in (_LOADS, _REFUSES):
            return None
        words.seek(0)
        said = words.read().decode(errors="replace").strip()
        return Crash(f"it ended {how_ended(done.returncode)}", number, said[-_LAST_WORDS:])


def main() -> int:
    """Loads the release that the command names."""
    from liminal_assets.serving.model import ServedModel
    from liminal_assets.serving.releases.release import read_release

    try:
        ServedModel.from_release(read_release(Path(sys.argv[1])))
    except Exception as error:
        print(error if isinstance(error, StepError) else repr(error), file=sys.stderr)
        return _REFUSES
    return _LOADS


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # as workers end
    os._exit(code)
