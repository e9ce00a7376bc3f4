"""The files of a project as texts: what is changed before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from liminal_assets.apache.find import Tree, find_files, is_apache, is_ours
from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError
from liminal_assets.language.environments import APACHE_SECTIONS
from liminal_assets.language.loading import FILE_NAMES
from liminal_assets.language.source import LocatedDict, read_document

_SHARED = frozenset({"description", "name", "owner", "variables"})
"""Keys that both kinds of sections read."""

__all__ = ["Sources", "read_sources", "read_text"]


@dataclass(frozen=True)
class Sources:
    """Texts of a project's files."""

    folder: Path
    texts: Mapping[Path, str]
    chosen: Path | None = None
    """The one file that is to be changed; its supers may stand in the others."""

    def with_text(self, file: Path, text: str) -> Sources:
        """The same with another text of one file."""
        return replace(self, texts={**self.texts, file: text})

    def tree(self) -> Tree | None:
        """What the files say; None if none of them is Apache Liminal's."""
        documents: list[LocatedDict] = []
        mistakes: list[Diagnostic] = []
        for file, text in self.texts.items():
            try:
                document, found = read_document(file, text=text, yaml_1_1=True)
            except InvalidProjectError as error:
                mistakes.extend(error.diagnostics)
                continue
            if is_ours(document):
                document = _their_part(document)
                if APACHE_SECTIONS.isdisjoint(document):
                    continue
            documents.append(document)
            mistakes.extend(found)
        if not any(map(is_apache, documents)):
            return None
        return Tree(self.folder, tuple(documents), tuple(mistakes), self.chosen)


def _their_part(document: LocatedDict) -> LocatedDict:
    """Apache Liminal's sections of a file that has ours as well."""
    part = LocatedDict(document.location)
    for key, value in document.items():
        if key in APACHE_SECTIONS | _SHARED:
            part.put(key, value, document.keys_at[key], document.values_at[key])
    return part


def read_sources(path: Path) -> Sources:
    """The files at or below a folder; a file that can't be read as UTF-8 is left out.

    Args:
        path: a folder, or a file whose folder holds its supers.

    Raises:
        InvalidProjectError: there is none.
    """
    path = path.expanduser().resolve()
    if not path.exists():
        message = "there is no such file or folder"
        raise InvalidProjectError.at(path, "no-project", message)
    folder, chosen = (path.parent, path) if path.is_file() else (path, None)
    files = list(find_files(folder))
    if chosen and chosen.name not in FILE_NAMES:
        files.insert(0, chosen)
    texts = {file: text for file in files if (text := read_text(file)) is not None}
    return Sources(folder, texts, chosen)


def read_text(file: Path) -> str | None:
    """A file's text with its line ends as they are; None if it isn't UTF-8."""
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
