"""Plugins that stand beside ``plugins/`` instead of in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from liminal_assets.apache.plugins import Kind, find_plugin, is_misplaced
from liminal_assets.apache.resolve import ResolvedProject

__all__ = ["Move", "misplaced_plugins"]


@dataclass(frozen=True)
class Move:
    """A file or a folder that goes to another place."""

    source: Path
    target: Path


def misplaced_plugins(
    projects: Collection[ResolvedProject], texts: Mapping[Path, str]
) -> list[Move]:
    """The folder of each kind of plugins, as a whole: modules may need what is beside them.

    A folder that the project's files name, such as the source of an image, stays; so does one
    whose place is taken.
    """
    moves = {move.source: move for project in projects for move in _moves(project)}
    return [move for move in moves.values() if not _is_named(move.source.name, texts)]


def _moves(project: ResolvedProject) -> Iterator[Move]:
    folder = project.file.parent
    for kind in get_args(Kind):
        for name in _types(project, kind):
            plugin = find_plugin(kind, name, folder)
            target = folder / "plugins" / kind
            if plugin and is_misplaced(kind, plugin, folder) and not target.exists():
                yield Move(folder / kind, target)


def _types(project: ResolvedProject, kind: Kind) -> Iterator[str]:
    configuration = project.configuration
    items: Sequence[Any]
    if kind == "tasks":
        pipelines = configuration.get("pipelines") or ()
        items = [task for pipeline in pipelines for task in pipeline.get("tasks") or ()]
    else:
        items = configuration.get(kind) or ()
    yield from (str(item.get("type")) for item in items if isinstance(item, dict))


def _is_named(folder: str, texts: Mapping[Path, str]) -> bool:
    """Whether a file says ``tasks/…``, or has it as a source."""
    parts = (f"{folder}/", f"source: {folder}\n", f"{folder}.")
    return any(part in f"{text}\n" for text in texts.values() for part in parts)
