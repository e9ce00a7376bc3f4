"""What can be put right in an Apache Liminal project without asking anyone."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from liminal_assets.apache.find import Tree
from liminal_assets.apache.inheritance import is_super
from liminal_assets.apache.migration.changes import Change, Rule, View
from liminal_assets.apache.migration.keys import unread_keys
from liminal_assets.apache.migration.moves import Move, misplaced_plugins
from liminal_assets.apache.migration.names import misspelt_values, names_taken, repeated_keys
from liminal_assets.apache.migration.outline import Outline, apply_edits
from liminal_assets.apache.migration.sources import Sources
from liminal_assets.apache.migration.values import (
    bare_placeholders,
    python_versions,
    quoted,
    variables_in_order,
)
from liminal_assets.apache.resolve import Examination, examine_projects
from liminal_assets.language.diagnostics import Diagnostic, Location

__all__ = ["Mended", "Reason", "mend"]

_RULES: tuple[tuple[Rule, ...], ...] = (
    (bare_placeholders, repeated_keys),
    (names_taken,),
    (unread_keys, misspelt_values, variables_in_order, python_versions),
)
"""In this order: what goes needs no mending."""


@dataclass(frozen=True, order=True)
class Reason:
    """What was changed, and why."""

    location: Location
    """In the file as it was."""
    text: str


@dataclass(frozen=True)
class Mended:
    """A project after what could be put right."""

    before: Sources
    after: Sources
    reasons: tuple[Reason, ...]
    moves: tuple[Move, ...]
    left: tuple[Diagnostic, ...]
    """What someone must decide: mistakes and warnings that remain, in the new files."""

    @property
    def changed(self) -> Mapping[Path, str]:
        """The new text of each file that has one."""
        before = self.before.texts
        return {file: text for file, text in self.after.texts.items() if text != before.get(file)}


@dataclass(frozen=True)
class _Lines:
    """The lines of a text that is changed step by step, and where each stood in the first one."""

    lines: tuple[str, ...]
    origins: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> _Lines:
        lines = tuple(text.split("\n"))
        return cls(lines, tuple(range(1, len(lines) + 1)))

    def original(self, line: int) -> int:
        return self.origins[line - 1]

    def after(self, text: str) -> _Lines:
        """The same for the next text; a new line stands where those before it were."""
        new = tuple(text.split("\n"))
        origins: list[int] = []
        matcher = difflib.SequenceMatcher(None, self.lines, new, autojunk=False)
        for tag, start, end, low, high in matcher.get_opcodes():
            old = self.origins[start:end]
            if tag != "equal":
                before = self.origins[max(0, start - 1)]
                old = (old or (before,))[: high - low]
                old += old[-1:] * (high - low - len(old))
            origins.extend(old)
        return _Lines(new, tuple(origins))


def mend(sources: Sources) -> Mended | None:
    """A project's files with every mistake and warning put right whose right form is plain.

    One change at a time is made to the texts, from the bottom up, until no rule has one to
    propose; a change that would leave a file unreadable isn't made.

    Returns:
        The files before and after; None if this is no Apache Liminal project.
    """
    reasons: list[Reason] = []
    current = sources
    for file, text in sources.texts.items():
        if sources.chosen in (None, file):
            new, lines = quoted(text)
            current = current.with_text(file, new)
            said = "a value with {{ … }} needs quotes here"
            reasons += [Reason(Location(str(file), line), said) for line in lines]
    if (tree := current.tree()) is None:
        return None
    refused: set[tuple[Path, int, str]] = set()
    lines_of = {file: _Lines.of(text) for file, text in current.texts.items()}
    while step := _step(current, tree, refused):
        file, change, text = step
        line = lines_of[file].original(change.line)
        reasons.append(Reason(Location(str(file), line), change.reason))
        lines_of[file] = lines_of[file].after(text)
        current = current.with_text(file, text)
        tree = current.tree() or tree
    found = examine_projects(tree)
    moves = misplaced_plugins(found.projects, current.texts)
    left = _left(found, {str(move.source) for move in moves}, tree)
    return Mended(sources, current, tuple(sorted(reasons)), tuple(moves), left)


def _step(
    sources: Sources, tree: Tree, refused: set[tuple[Path, int, str]]
) -> tuple[Path, Change, str] | None:
    """The next change, and the text of its file after it."""
    found = examine_projects(tree)
    views = list(_views(sources, tree, found))
    for rules, view in ((rules, view) for rules in _RULES for view in views):
        proposed = [change for rule in rules for change in rule(view)]
        for change in sorted(proposed, key=lambda change: (change.is_move, -change.line)):
            known = (view.file, change.line, change.reason)
            if known in refused:
                continue
            text = apply_edits(view.outline.text, change.edits)
            if text != view.outline.text and _is_readable(text):
                return view.file, change, text
            refused.add(known)
    return None


def _views(sources: Sources, tree: Tree, found: Examination) -> Iterator[View]:
    executors = {
        str(item["executor"])
        for project in found.projects
        for item in project.configuration.get("executors", ())
    }
    supers = {str(item.get("name")) for item in tree.documents if is_super(item)}
    for document in tree.documents:
        file = Path(document.location.file)
        if not tree.asked_for(file) or (outline := _outline(sources.texts[file])) is None:
            continue
        said = tuple(d for d in found.diagnostics if d.location.file == str(file))
        yield View(file, outline, document, said, frozenset(executors), frozenset(supers))


def _outline(text: str) -> Outline | None:
    """None for what only YAML 1.2 can read."""
    try:
        outline = Outline(text)
    except yaml.YAMLError:
        return None
    return outline if isinstance(outline.root, yaml.MappingNode) else None


def _is_readable(text: str) -> bool:
    return _outline(text) is not None


def _left(found: Examination, moved: set[str], tree: Tree) -> tuple[Diagnostic, ...]:
    moves = {Path(folder).name for folder in moved}
    return tuple(
        diagnostic
        for diagnostic in found.diagnostics
        if tree.asked_for(Path(diagnostic.location.file))
        and not (
            diagnostic.code == "misplaced-plugin"
            and any(f"stands in {name}/" in diagnostic.message for name in moves)
        )
    )
