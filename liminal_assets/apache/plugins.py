"""A project's own types of tasks, executors and images: one Python module each.

They are found without importing them; :mod:`liminal_assets.apache.plugin_modules` does that.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Literal

from liminal_assets.language.diagnostics import closest, did_you_mean

__all__ = [
    "Kind",
    "find_plugin",
    "installed_plugin",
    "is_misplaced",
    "plugin_folders",
    "unknown_type_hint",
]

Kind = Literal["tasks", "executors", "images"]
"""The folders that plugins stand in."""


def find_plugin(kind: Kind, name: str, folder: Path) -> Path | None:
    """The module that is called like a type: ``plugins/tasks/my_type.py`` for a task.

    Looks below a project's folder and below ``LIMINAL_HOME``; then in the folder's ``tasks``,
    ``executors`` and ``images``, from where Apache Liminal's tutorial has them copied.
    """
    if not name.isidentifier():
        return None
    for plugins in plugin_folders(folder):
        for module in (f"{name}.py", f"{name}/__init__.py"):
            if found := next((plugins / kind).rglob(module), None):
                return found
    return None


def installed_plugin(kind: Kind, name: str) -> EntryPoint | None:
    """The entry point of an installed package that is called like a type, in the group
    ``liminal_assets.tasks`` (``executors``, ``images``)."""
    return next((entry for entry in _entry_points(kind) if entry.name == name), None)


def is_misplaced(kind: Kind, plugin: Path, folder: Path) -> bool:
    """Whether a plugin of a project stands where Apache Liminal didn't look for it."""
    return plugin.is_relative_to(folder / kind)


def plugin_folders(folder: Path) -> Iterator[Path]:
    """The folders that hold ``tasks``, ``executors`` and ``images``, those that win first."""
    yield folder / "plugins"
    if home := os.environ.get("LIMINAL_HOME"):
        yield Path(home, "plugins")
        yield Path(home, "liminal", "plugins")
    yield folder


def unknown_type_hint(kind: Kind, name: str, known: Collection[str]) -> str:
    """What would be right for a type that there isn't.

    Args:
        known: the types that are built in.
    """
    choices = [*known, *(entry.name for entry in _entry_points(kind))]
    hint = did_you_mean(name, choices)
    if closest(name, choices):
        return str(hint)
    plugin = f"a plugin would be plugins/{kind}/{name}.py"
    return f"{hint}; {plugin}" if hint else plugin


def _entry_points(kind: Kind) -> EntryPoints:
    return entry_points(group=f"liminal_assets.{kind}")
