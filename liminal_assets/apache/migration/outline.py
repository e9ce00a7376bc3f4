"""A file's text beside its YAML nodes: edits that leave every other character as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import yaml

from liminal_assets.language.diagnostics import Location

__all__ = ["Edit", "Entry", "Outline", "apply_edits", "entries", "written"]

_ALIAS = re.compile(r"[\s:,-]*\*[^\s,\]}]+")
_UNSAFE_IN_FLOW = re.compile(r"[,\[\]{}\n]")


@dataclass(frozen=True)
class Edit:
    """A part of a text, and what takes its place."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """A text with parts of it replaced; the parts don't overlap."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def written(value: Any) -> str:
    """A value as YAML on one line."""
    dumped: str = yaml.safe_dump(
        value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return dumped.removesuffix("\n").removesuffix("\n...")


@dataclass(frozen=True, eq=False)
class Entry:
    """A key of a mapping and its value, as they are written."""

    mapping: yaml.MappingNode
    place: int
    """Its number among the entries of the mapping."""
    key: yaml.ScalarNode
    value: Any
    """Its node; of an alias the one that it stands for."""

    @property
    def start(self) -> int:
        index: int = self.key.start_mark.index
        return index

    @property
    def column(self) -> int:
        """Characters left of the key."""
        column: int = self.key.start_mark.column
        return column


class Outline:
    """One document.

    Raises:
        yaml.YAMLError: it isn't YAML.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.root: Any = yaml.compose(text, yaml.SafeLoader)

    @cached_property
    def mappings(self) -> tuple[yaml.MappingNode, ...]:
        """Every mapping, each once, however many aliases it has."""
        return tuple(node for node in self._nodes() if isinstance(node, yaml.MappingNode))

    @cached_property
    def sequences(self) -> tuple[yaml.SequenceNode, ...]:
        """Every list, each once."""
        return tuple(node for node in self._nodes() if isinstance(node, yaml.SequenceNode))

    @cached_property
    def _entries(self) -> dict[tuple[int, int], Entry]:
        return {_place(entry.key): entry for node in self.mappings for entry in entries(node)}

    @cached_property
    def _scalars(self) -> dict[tuple[int, int], yaml.ScalarNode]:
        return {_place(node): node for node in self._nodes() if isinstance(node, yaml.ScalarNode)}

    def entry_at(self, at: Location) -> Entry | None:
        """The entry whose key stands at a place."""
        return self._entries.get((at.line, at.column))

    def scalar_at(self, at: Location) -> yaml.ScalarNode | None:
        """The word that stands at a place."""
        return self._scalars.get((at.line, at.column))

    def mapping_at(self, at: Location) -> yaml.MappingNode | None:
        """The mapping that begins at a place."""
        found = (node for node in self.mappings if _place(node) == (at.line, at.column))
        return next(found, None)

    def end_of(self, entry: Entry) -> int:
        """Where an entry's value ends, comments behind it not counted."""
        return self._end(entry.value, entry.key.end_mark.index)

    def source(self, entry: Entry) -> str:
        """What is written behind an entry's key: a colon and the value."""
        return self.text[entry.key.end_mark.index : self.end_of(entry)]

    def replace(self, node: yaml.ScalarNode, text: str) -> Edit:
        """Another word in the place of one."""
        return Edit(node.start_mark.index, node.end_mark.index, text)

    def remove(self, entry: Entry) -> Edit:
        """An entry taken out, with its lines if it has them for itself."""
        siblings = entries(entry.mapping)
        start, end = entry.start, self.end_of(entry)
        following = siblings[entry.place + 1] if entry.place + 1 < len(siblings) else None
        if len(siblings) == 1:
            return Edit(entry.mapping.start_mark.index, end, "{}" * (not entry.mapping.flow_style))
        if entry.mapping.flow_style:
            if following is not None:
                return Edit(start, following.start, "")
            return Edit(self.end_of(siblings[entry.place - 1]), end, "")
        if self._alone(start):
            return Edit(self._line_start(start), self._next_line(end), "")
        if following is None:
            return Edit(start, end, "")
        # the first key behind a dash: the next one takes its place, comments between go above
        line = self._line_start(start)
        between = self.text[self._next_line(end) : self._line_start(following.start)]
        return Edit(line, following.start, between + self.text[line:start])

    def take_out(self, entry: Entry, why: str) -> Edit:
        """An entry made a comment that says why; taken out where there is no room for one."""
        if entry.mapping.flow_style or not self._alone(entry.start):
            return self.remove(entry)
        start, end = self._line_start(entry.start), self._next_line(self.end_of(entry))
        indent = " " * entry.column
        lines = self.text[start:end].splitlines()
        said = [f"{indent}# {why}", *(f"{indent}# {line[entry.column :]}" for line in lines)]
        return Edit(start, end, "".join(line.rstrip() + self.newline for line in said))

    def remove_item(self, sequence: yaml.SequenceNode, place: int, why: str | None = None) -> Edit:
        """An item of a list taken out; made a comment that says why, where there is room for one.

        Args:
            why: None for no comment.
        """
        item = sequence.value[place]
        start, end = item.start_mark.index, self._end(item, item.start_mark.index)
        if sequence.flow_style:
            if place + 1 < len(sequence.value):
                return Edit(start, sequence.value[place + 1].start_mark.index, "")
            before = sequence.value[place - 1]
            return Edit(self._end(before, before.start_mark.index) if place else start, end, "")
        line, after = self._line_start(start), self._next_line(end)
        if self.text[line:start].strip() != "-":  # the list begins behind its key or another dash
            return Edit(start, start, "")
        if why is None:
            return Edit(line, after, "")
        indent = self.text[line:start].split("-")[0]
        lines = [f"# {part[len(indent) :]}" for part in self.text[line:after].splitlines()]
        said = (f"{indent}{part}".rstrip() + self.newline for part in [f"# {why}", *lines])
        return Edit(line, after, "".join(said))

    def add_before(self, entry: Entry, key: str, source: str) -> Edit:
        """A new entry before one, on its line in braces."""
        if entry.mapping.flow_style:
            return Edit(entry.start, entry.start, f"{key}{source}, ")
        line = f"{key}{source}{self.newline}{' ' * entry.column}"
        return Edit(entry.start, entry.start, line)

    def add_after(self, entry: Entry, key: str, source: str) -> Edit:
        """A new entry behind one.

        Args:
            source: a colon and the value, on one line for a mapping in braces.
        """
        end = self.end_of(entry)
        if entry.mapping.flow_style:
            return Edit(end, end, f", {key}{source}")
        line_end = self._line_end(end)
        return Edit(line_end, line_end, f"{self.newline}{' ' * entry.column}{key}{source}")

    def moved(self, entry: Entry, target: yaml.MappingNode) -> str:
        """:meth:`source` as it must be written in another mapping."""
        if target.flow_style:
            return f": {self.inline(entry)}"
        shift = _column(target) - entry.column
        first, *rest = self.source(entry).split("\n")
        if entry.mapping.flow_style:
            return "\n".join([first, *rest])
        return "\n".join([first, *(_shifted(line, shift) for line in rest)])

    def inline(self, entry: Entry) -> str:
        """An entry's value on one line."""
        source = self.source(entry).removeprefix(":").strip()
        node = entry.value
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        if source.startswith("*") or (
            "\n" not in source
            and (not isinstance(node, yaml.CollectionNode) or node.flow_style)
            and not (plain and _UNSAFE_IN_FLOW.search(source))
        ):
            return source
        return written(self.value(node))

    def value(self, node: yaml.Node) -> Any:
        """What a node means."""
        constructor = yaml.constructor.SafeConstructor()
        return constructor.construct_object(node, deep=True)  # type: ignore[no-untyped-call]

    def reorder(self, mapping: yaml.MappingNode, order: Sequence[int]) -> Edit:
        """The entries of a mapping in another order, each with the comments above it."""
        items = entries(mapping)
        if mapping.flow_style or not self._alone(items[0].start):
            return self._reorder_words(items, order)
        bounds = [self._line_start(items[0].start)]
        bounds += [self._next_line(self.end_of(item)) for item in items]
        chunks = [self.text[a:b] for a, b in pairwise(bounds)]
        chunks = [chunk if chunk.endswith("\n") else chunk + self.newline for chunk in chunks]
        return Edit(bounds[0], bounds[-1], "".join(chunks[place] for place in order))

    def _reorder_words(self, items: Sequence[Entry], order: Sequence[int]) -> Edit:
        words = [self.text[item.start : self.end_of(item)] for item in items]
        gaps = [
            self.text[self.end_of(item) : following.start] for item, following in pairwise(items)
        ]
        text = "".join(
            word + gap for word, gap in zip((words[i] for i in order), [*gaps, ""], strict=True)
        )
        return Edit(items[0].start, self.end_of(items[-1]), text)

    def _end(self, node: yaml.Node, after: int) -> int:
        """Where a node ends that is written behind a place: the alias there, if it is one."""
        if node.start_mark.index < after:
            alias = _ALIAS.match(self.text, after)
            return alias.end() if alias else after
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            if isinstance(node, yaml.MappingNode):
                key, value = node.value[-1]
                return self._end(value, self._end(key, node.start_mark.index))
            end = node.start_mark.index
            for item in node.value:
                end = self._end(item, end)
            return end
        end = node.end_mark.index
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            end = node.start_mark.index + len(self.text[node.start_mark.index : end].rstrip())
        return int(end)

    def _alone(self, index: int) -> bool:
        """Whether nothing stands before a place in its line."""
        return not self.text[self._line_start(index) : index].strip()

    def _line_start(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def _line_end(self, index: int) -> int:
        end = self.text.find("\n", index)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[:end].endswith("\r") else end

    def _next_line(self, index: int) -> int:
        return self.text.find("\n", index) + 1 or len(self.text)

    def _nodes(self) -> Iterator[yaml.Node]:
        seen: set[int] = set()
        stack = [self.root] if self.root is not None else []
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            if isinstance(node, yaml.MappingNode):
                stack.extend(part for pair in reversed(node.value) for part in reversed(pair))
            elif isinstance(node, yaml.SequenceNode):
                stack.extend(reversed(node.value))


def entries(mapping: yaml.MappingNode) -> list[Entry]:
    """The entries of a mapping whose keys are words."""
    words = [pair for pair in mapping.value if isinstance(pair[0], yaml.ScalarNode)]
    return [Entry(mapping, place, key, value) for place, (key, value) in enumerate(words)]


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _column(mapping: yaml.MappingNode) -> int:
    column: int = mapping.start_mark.column
    return column


def _shifted(line: str, columns: int) -> str:
    if columns >= 0:
        return " " * columns + line if line.strip() else line
    spaces = len(line) - len(line.lstrip(" "))
    return line[min(spaces, -columns) :]
