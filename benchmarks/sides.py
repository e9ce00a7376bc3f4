"""Two sides of a comparison, each in a fresh process, in turn, so that drift of the machine's
speed hits both alike."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["compare", "median", "ratio", "run_side"]

ROOT = Path(__file__).resolve().parent.parent


def run_side(module: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """What ``python -m module arguments`` prints as JSON on its last line.

    Args:
        python: the interpreter, for a side that needs an environment of its own.
    """
    own = python == sys.executable
    done = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=ROOT,
        # as `liminal` sets it for itself; without it a busy machine slows both sides at random
        env={
            **os.environ,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *(sys.path[1:] if own else [])]),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    value: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return value


def compare(
    module: str, sides: Sequence[str], *arguments: str, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Every side's answers, one a round; the sides take turns, and start in another order."""
    answers: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sides if turn % 2 == 0 else reversed(sides):
            answers[side].append(run_side(module, side, *arguments))
    return answers


def median(answers: Sequence[dict[str, Any]], key: str) -> float:
    """The median of one figure."""
    return statistics.median(answer[key] for answer in answers)


def ratio(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], key: str) -> float:
    """The median of a figure's ratio round by round."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(a[key] / b[key] for a, b in pairs)
