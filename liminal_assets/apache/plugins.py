"""A project's own types of tasks, executors and images: one Python module each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

__all__ = ["Kind", "find_plugin", "is_misplaced"]

Kind = Literal["tasks", "executors", "images"]
"""The folders that plugins stand in."""


def find_plugin(kind: Kind, name: str, folder: Path) -> Path | None:
    """The module that is called like a type: ``plugins/tasks/my_type.py`` for a task.

    Looks below a project's folder and below ``LIMINAL_HOME``; then in the folder's ``tasks``,
    ``executors`` and ``images``, from where Apache Liminal's tutorial has them copied.
    """
    if not name.isidentifier():
        return None
    for plugins in _homes(kind, folder):
        for module in (f"{name}.py", f"{name}/__init__.py"):
            if found := next(plugins.rglob(module), None):
                return found
    return None


def is_misplaced(kind: Kind, plugin: Path, folder: Path) -> bool:
    """Whether a plugin of a project stands where Apache Liminal didn't look for it."""
    return plugin.is_relative_to(folder / kind)


def _homes(kind: Kind, folder: Path) -> Iterator[Path]:
    yield folder / "plugins" / kind
    if home := os.environ.get("LIMINAL_HOME"):
        yield Path(home, "plugins", kind)
        yield Path(home, "liminal", "plugins", kind)
    yield folder / kind
