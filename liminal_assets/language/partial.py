"""What is right in a document that has mistakes, so that the rest can still be checked.

Blocks are checked one by one. From a wrong block whatever is wrong is taken out; if a valid block
is left, names, references and user code in it are checked like in any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.environments import BLOCK_KEYS
from liminal_assets.language.messages import diagnostics_of
from liminal_assets.language.project import ProjectSpec
from liminal_assets.language.source import LocatedDict, LocatedList, mappings

__all__ = ["Partial", "partial_spec"]

_ROUNDS = 4
"""How often mistakes are taken out of a block before it is given up."""


@dataclass(frozen=True)
class Partial:
    """The right part of a document."""

    spec: ProjectSpec
    document: LocatedDict
    mistakes: list[Diagnostic]
    mended: set[Location] = field(default_factory=set)
    """The mappings of blocks that something was taken out of: what they lack may have been
    there."""
    unusable: dict[str, set[str]] = field(default_factory=dict)
    """Per section, the names of blocks too wrong to be checked further."""


def partial_spec(document: LocatedDict) -> Partial:
    """Every mistake of schema in a document, and what is left without them."""
    mistakes: list[Diagnostic] = []
    mended: set[Location] = set()
    unusable: dict[str, set[str]] = {}
    kept = _copy(document)
    for section, name_key in BLOCK_KEYS.items():
        blocks = document.get(section)
        if not isinstance(blocks, LocatedList):
            continue
        right = LocatedList(blocks.location)
        for index, (block, at) in enumerate(zip(blocks, blocks.items_at, strict=True)):
            found = _right_part(_block_model(section), block)
            mistakes.extend(
                mistake
                for error in found.errors
                for mistake in diagnostics_of(error, document, prefix=(section, index))
            )
            if found.errors and isinstance(block, LocatedDict):
                mended.update(node.location for node in mappings(block))
            if found.value is not None:
                right.add(found.value, at)
            elif isinstance(block, LocatedDict) and isinstance(name := block.get(name_key), str):
                unusable.setdefault(section, set()).add(name)
        kept.put(section, right, document.keys_at[section], document.values_at[section])
    rest = _right_part(ProjectSpec, kept)
    mistakes.extend(m for error in rest.errors for m in diagnostics_of(error, document))
    if rest.value is None:
        rest.value = _nameless(kept)
    spec = ProjectSpec.model_validate(rest.value)
    return Partial(spec, rest.value, mistakes, mended, unusable)


def _block_model(section: str) -> type[BaseModel]:
    """The spec of one block of a section."""
    model: type[BaseModel] = get_args(ProjectSpec.model_fields[section].annotation)[0]
    return model


@dataclass
class _Part:
    value: LocatedDict | None
    """What is valid; none if nothing is."""
    errors: list[ValidationError] = field(default_factory=list)


def _right_part(model: type[BaseModel], value: Any) -> _Part:
    """A value without what is wrong in it. Only the first round's errors count: those of later
    rounds come from what was taken out."""
    part = _Part(value)
    for _ in range(_ROUNDS):
        try:
            model.model_validate(value)
        except ValidationError as error:
            if not part.errors:
                part.errors.append(error)
            value = _without(value, {found for e in error.errors() if (found := _wrong(value, e))})
            if value is None:
                break
        else:
            part.value = value
            return part
    part.value = None
    return part


def _wrong(value: Any, error: Any) -> tuple[str | int, ...]:
    """The path of the deepest item that an error is about, steps made up by pydantic left out."""
    steps = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
    path: list[str | int] = []
    for step in steps:
        if isinstance(value, LocatedDict) and str(step) in value:
            path.append(str(step))
            value = value[str(step)]
        elif isinstance(value, LocatedList) and isinstance(step, int) and step < len(value):
            path.append(step)
            value = value[step]
    return tuple(path)


def _without(value: Any, paths: set[tuple[str | int, ...]]) -> Any:
    """A copy of a value without the items at some paths; none if there is nothing to take out."""
    if not paths:
        return None
    here = {path[0] for path in paths if len(path) == 1}
    below: dict[str | int, set[tuple[str | int, ...]]] = {}
    for path in paths:
        if path[0] not in here:
            below.setdefault(path[0], set()).add(path[1:])

    def kept(key: str | int, item: Any) -> Any:
        return _without(item, below[key]) if key in below else item

    if isinstance(value, LocatedDict):
        mapping = LocatedDict(value.location)
        for key, item in value.items():
            if key not in here:
                mapping.put(key, kept(key, item), value.keys_at[key], value.values_at[key])
        return mapping
    sequence = LocatedList(value.location)
    for index, (item, at) in enumerate(zip(value, value.items_at, strict=True)):
        if index not in here:
            sequence.add(kept(index, item), at)
    return sequence


def _copy(document: LocatedDict) -> LocatedDict:
    copy = LocatedDict(document.location)
    for key, value in document.items():
        copy.put(key, value, document.keys_at[key], document.values_at[key])
    return copy


def _nameless(document: LocatedDict) -> LocatedDict:
    """The blocks alone, in a project of a made-up name."""
    blocks = LocatedDict(document.location)
    blocks.put("name", "project", document.location, document.location)
    for section in _sections(document):
        place = document.values_at[section]
        blocks.put(section, document[section], document.keys_at[section], place)
    return blocks


def _sections(document: LocatedDict) -> Iterator[str]:
    return (name for name in BLOCK_KEYS if isinstance(document.get(name), LocatedList))
