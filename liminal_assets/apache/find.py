"""Apache Liminal's files: every ``liminal.yml`` and ``liminal.yaml`` below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, Location
from liminal_assets.language.environments import APACHE_SECTIONS, OUR_SECTIONS
from liminal_assets.language.loading import FILE_NAMES
from liminal_assets.language.source import LocatedDict, read_document

__all__ = [
    "Tree",
    "find_apache",
    "find_files",
    "is_apache",
    "is_ours",
    "read_apache",
]

_FOREIGN = frozenset({".git", ".liminal", "__pycache__", "node_modules"})


@dataclass(frozen=True)
class Tree:
    """The files below a folder: supers and those that inherit from them."""

    folder: Path
    documents: tuple[LocatedDict, ...]
    """As written, in the order of their paths; ``.location.file`` is the path."""
    mistakes: tuple[Diagnostic, ...]
    """Files that can't be read, keys written twice; warnings for files that are empty."""
    chosen: Path | None = None
    """The one file that was asked for; its supers may stand in the others."""

    def asked_for(self, file: Path) -> bool:
        """Whether a file is one that the caller wants to see."""
        return self.chosen in (None, file)


def find_files(folder: Path) -> Iterator[Path]:
    """Every file of Apache Liminal's names below a folder, in the order of their paths.

    Virtual environments, ``node_modules`` and the folders of Git and of our own state are left
    out.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _FOREIGN and not Path(parent, name, "pyvenv.cfg").exists()
        )
        yield from (Path(parent, name) for name in FILE_NAMES if name in files)


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether a file has sections that Apache Liminal didn't know, such as datasets."""
    return not OUR_SECTIONS.isdisjoint(document)


def is_apache(document: Mapping[str, Any]) -> bool:
    """Whether a file has Apache Liminal's sections and none of ours."""
    return not APACHE_SECTIONS.isdisjoint(document) and not is_ours(document)


def find_apache(path: Path | str) -> Tree | None:
    """The Apache Liminal project at a path; None if there is none.

    A folder is one if its own file is (:func:`is_apache`). Where that says nothing, or isn't
    there, those below decide: one of them is, and none has sections of ours.

    Args:
        path: a folder, or a file whose folder holds its supers.
    """
    path = Path(path).expanduser().resolve()
    folder, chosen = (path.parent, path) if path.is_file() else (path, None)
    own = chosen or next(filter(Path.is_file, (folder / name for name in FILE_NAMES)), None)
    first = read_apache(own)[0] if own else None
    if first is not None and is_ours(first):
        return None
    readings = [read_apache(file) for file in find_files(folder)]
    if chosen and chosen.name not in FILE_NAMES:
        readings.insert(0, read_apache(chosen))
    found = [document for document, _ in readings if document is not None]
    if not (first and is_apache(first)) and (
        not any(map(is_apache, found)) or any(map(is_ours, found))
    ):
        return None
    return Tree(
        folder,
        tuple(document for document in found if not is_ours(document)),
        tuple(
            mistake
            for document, mistakes in readings
            if document is None or not is_ours(document)
            for mistake in mistakes
        ),
        chosen,
    )


def read_apache(file: Path) -> tuple[LocatedDict | None, list[Diagnostic]]:
    """A file as Apache Liminal read it, None if it can't be; and what is wrong with it."""
    try:
        return read_document(file, yaml_1_1=True)
    except InvalidProjectError as error:
        if _is_empty(file):
            empty = "the file is empty"
            return None, [Diagnostic(Location(str(file)), "empty-file", empty, severity="warning")]
        return None, list(error.diagnostics)


def _is_empty(file: Path) -> bool:
    """Whether a file holds comments at most."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return all(line.split("#")[0].strip() in ("", "---") for line in lines)
