"""YAML with positions: every mapping and list knows where each of its items stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from liminal_assets.language.diagnostics import Diagnostic, InvalidProjectError, Location

__all__ = [
    "LocatedDict",
    "LocatedList",
    "locate",
    "mappings",
    "plain_value",
    "read_document",
    "top_level_keys",
]


class LocatedDict(dict[str, Any]):
    """A mapping that remembers where it, its keys and its values were written."""

    location: Location
    keys_at: dict[str, Location]
    values_at: dict[str, Location]

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.location = location
        self.keys_at = {}
        self.values_at = {}

    def put(self, key: str, value: Any, key_at: Location, value_at: Location) -> None:
        """Set an item together with its positions."""
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at


class LocatedList(list[Any]):
    """A list that remembers where it and its items were written."""

    location: Location
    items_at: list[Location]

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.location = location
        self.items_at = []

    def add(self, value: Any, at: Location) -> None:
        """Append an item together with its position."""
        self.append(value)
        self.items_at.append(at)


def read_document(
    path: Path, *, text: str | None = None, yaml_1_1: bool = False
) -> tuple[LocatedDict, list[Diagnostic]]:
    """One YAML document and the mistakes in it that leave the rest readable: repeated keys, tags.

    Args:
        path: the file, and its name in positions.
        text: what the file holds; default: read it.
        yaml_1_1: read it as PyYAML's ``safe_load`` does: dates and times, ``on`` and ``no`` have
            a meaning, and keys may be numbers or dates.

    Raises:
        InvalidProjectError: the file can't be read, is not YAML or is no mapping.
    """
    name = str(path)
    if text is None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidProjectError.at(
                Location(name), "unreadable", f"cannot read the file: {error}"
            ) from None
    if deep := _too_deep(text):
        raise InvalidProjectError.at(
            Location(name, deep), "yaml", f"brackets are nested more than {_DEEPEST} deep"
        )
    reader = _Yaml11Reader(name) if yaml_1_1 else _Reader(name)
    try:
        node = _compose(text, name, _YAML_1_1 if yaml_1_1 else _YAML_1_2)
        document = None if node is None else reader.read(node)
    except RecursionError:
        raise InvalidProjectError.at(
            Location(name), "yaml", "mappings and lists are nested too deep"
        ) from None
    if not isinstance(document, LocatedDict):
        raise InvalidProjectError(
            reader.diagnostics
            or [
                Diagnostic(
                    Location(name),
                    "not-a-mapping",
                    "the file must hold a mapping, such as 'name: my_project'",
                    "start with 'name:' at the left margin",
                )
            ]
        )
    return document, reader.diagnostics


def top_level_keys(path: Path) -> frozenset[str]:
    """The keys at the left margin of a file, without reading the rest; those of the whole mapping
    for one that is written in braces. Empty for a file that can't be read."""
    try:
        text = path.read_text(encoding="utf-8")
        keys = _KEY.findall(text)
        return frozenset(keys or read_document(path, text=text)[0])
    except (OSError, UnicodeDecodeError, InvalidProjectError):
        return frozenset()


_KEY = re.compile(r"""^["']?(\w+)["']?[ ]*:(?=\s|$)""", re.MULTILINE)
_DEEPEST = 200
_MOST_COPIES = 200_000
"""The most values that a file's aliases may repeat."""


def _too_deep(text: str) -> int | None:
    """The line of a bracket below too many others, which would overflow the parser's stack."""
    if text.count("[") + text.count("{") <= _DEEPEST:
        return None
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        for character in line:
            if character in "[{":
                depth += 1
                if depth > _DEEPEST:
                    return number
            elif character in "]}":
                depth = max(0, depth - 1)
    return None


_YAML_1_2 = (yaml.CSafeLoader,)
_YAML_1_1 = (yaml.CSafeLoader, yaml.SafeLoader)


def _compose(text: str, file: str, loaders: tuple[Any, ...]) -> Any:
    """The document's nodes: by libyaml, and where that gives up by ruamel's YAML 1.2 parser,
    which alone knows that ``{delay: float?}`` is a plain word and ten times as slow."""
    for loader in loaders:
        with suppress(yaml.YAMLError):
            return yaml.compose(text, loader)
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file)
        raise InvalidProjectError.at(
            at, "yaml", error.problem or "not valid YAML", error.context
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InvalidProjectError.at(Location(file), "yaml", f"not valid YAML: {error}") from None


_MERGE = "<<"
_PLAIN = (
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (
        re.compile(r"[-+]?\.(inf|Inf|INF)"),
        lambda text: float("-inf") if text.startswith("-") else float("inf"),
    ),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda text: float("nan")),
)
"""The core schema of YAML 1.2 (section 10.3.2): ``on``, ``no`` and dates stay words."""


def plain_value(text: str) -> Any:
    """What an unquoted word of YAML means."""
    for pattern, value in _PLAIN:
        if pattern.fullmatch(text):
            try:
                return value(text)
            except ValueError:  # a number of more digits than Python reads
                return text
    return text


class _Reader:
    """Nodes of either parser → located values; collects mistakes on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.diagnostics: list[Diagnostic] = []
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._copies = 0

    def read(self, node: Any) -> Any:
        if id(node) in self._seen:
            self._copies += 1
            if self._copies > _MOST_COPIES:
                at = self._at(node)
                raise InvalidProjectError.at(at, "yaml", "aliases make the file too large")
        self._seen.add(id(node))
        if id(node) in self._open:
            self._wrong(node, "yaml", "an alias contains itself")
            return None
        if node.id == "scalar":
            return self._scalar(node)
        self._open.add(id(node))
        try:
            return self._mapping(node) if node.id == "mapping" else self._sequence(node)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: Any) -> Any:
        tag = str(node.tag)
        if not tag.startswith("tag:yaml.org,2002:") and tag != "!":
            self._wrong(node, "yaml-tag", f"the tag {tag} is not allowed", "write plain YAML")
            return None
        quoted = node.style in ("'", '"', "|", ">")
        if quoted or tag.endswith(":str"):
            return node.value
        return plain_value(node.value)

    def _sequence(self, node: Any) -> LocatedList:
        sequence = LocatedList(self._at(node))
        for item in node.value:
            sequence.add(self.read(item), self._at(item))
        return sequence

    def _mapping(self, node: Any) -> LocatedDict:
        mapping = LocatedDict(self._at(node))
        written: dict[str, Location] = {}
        for key, value in node.value:
            at = self._at(key)
            if key.id != "scalar":
                hint = "put quotes around {{ … }}" if key.id == "mapping" else None
                self._wrong(key, "key", "a key must be a plain word", hint)
            elif key.value == _MERGE and not key.style:
                self._merge(mapping, value, set(written))
            elif (word := self._key(key)) in written:
                self._wrong(
                    key,
                    "duplicate-key",
                    f"{word!r} is written twice in one mapping",
                    f"the first is at line {written[word].line}",
                )
            else:
                written[word] = at
                mapping.put(word, self.read(value), at, self._at(value))
        return mapping

    def _key(self, node: Any) -> Any:
        return node.value

    def _merge(self, mapping: LocatedDict, value: Any, written: set[str]) -> None:
        """``<<: *defaults``: what is written in the mapping itself wins."""
        for source in value.value if value.id == "sequence" else [value]:
            merged = self.read(source)
            if not isinstance(merged, LocatedDict):
                self._wrong(source, "yaml", "'<<' takes a mapping or a list of mappings")
                continue
            for key, item in merged.items():
                if key not in written and key not in mapping:
                    mapping.put(key, item, merged.keys_at[key], merged.values_at[key])

    def _at(self, node: Any) -> Location:
        return Location(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _wrong(self, node: Any, code: str, message: str, hint: str | None = None) -> None:
        self.diagnostics.append(Diagnostic(self._at(node), code, message, hint))


class _Yaml11Reader(_Reader):
    """Words as PyYAML's ``safe_load`` reads them (YAML 1.1)."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._constructor = yaml.constructor.SafeConstructor()

    def _scalar(self, node: Any) -> Any:
        if not isinstance(node, yaml.ScalarNode):  # PyYAML couldn't parse the file, ruamel could
            return super()._scalar(node)
        try:
            return self._constructor.construct_object(node)  # type: ignore[no-untyped-call]
        except yaml.constructor.ConstructorError as error:
            self._wrong(node, "yaml-tag", error.problem or str(error), "write plain YAML")
        except ValueError as error:
            self._wrong(node, "yaml", f"{node.value!r}: {error}", "put quotes around it")
        return None

    def _key(self, node: Any) -> Any:
        return self._scalar(node)


def mappings(root: Any) -> Iterator[LocatedDict]:
    """The mappings of a document, the document itself included."""
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, LocatedDict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def locate(root: Any, path: Sequence[str | int], *, key: bool = False) -> Location | None:
    """The position of the deepest item of ``root`` that ``path`` reaches.

    With ``key``, the position of the last key rather than of its value. Steps that the
    document doesn't hold (made up by defaults or by a validator) are passed over.
    """
    found = getattr(root, "location", None)
    for at in _positions(root, path, key=key):
        found = at
    return found


def _positions(root: Any, path: Sequence[str | int], *, key: bool) -> Iterator[Location]:
    node = root
    for index, step in enumerate(path):
        last = index == len(path) - 1
        if isinstance(node, LocatedDict) and str(step) in node:
            step = str(step)
            yield node.keys_at[step] if key and last else node.values_at[step]
            node = node[step]
        elif isinstance(node, LocatedList) and isinstance(step, int) and step < len(node):
            yield node.items_at[step]
            node = node[step]
