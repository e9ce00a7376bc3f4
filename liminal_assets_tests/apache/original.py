"""Apache Liminal 0.0.5 itself, to compare with."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOME = Path(sys.prefix, "apache-liminal")
"""Where ``make dev-venv`` installs it, without what it depends on."""


class Original:
    """The package in a process of its own, asked as often as one likes."""

    def __init__(self, home: Path) -> None:
        assert HOME.is_dir(), f"Apache Liminal is not in {HOME}: 'make dev-venv' installs it"
        own = {"PYTHONPATH": str(HOME), "LIMINAL_HOME": str(home)}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("original_process.py"))],
            env={**os.environ, **own, "LIMINAL_STAND_ALONE_MODE": "true"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def resolve(
        self, folder: Path, *, render: bool = True, environ: Mapping[str, str] | None = None
    ) -> dict[str, Any] | str:
        """Final configurations by name, or the name of the exception that ended it.

        A file that it couldn't resolve is missing, as it was there.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((str(folder), render, dict(environ or {})), self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, str):
            return answer
        return {configuration["name"]: configuration for configuration in answer}

    def close(self) -> None:
        self._process.communicate(timeout=30)
