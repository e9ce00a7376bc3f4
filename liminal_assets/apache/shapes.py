"""What a file must look like before it can inherit: sections that are lists, mappings, named."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from liminal_assets.apache.base import BASE_FILE
from liminal_assets.apache.merging import copied
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["named_sections", "task_lists", "usable"]

named_sections = {"executors": "executor", "images": "image"}
"""Sections that merge by name, and the key that holds the name."""

_LISTS = {**named_sections, "pipelines": "pipeline", "services": "service"}
_MAPPINGS = ("variables", "pipeline_defaults", "task_defaults", "service_defaults")


def usable(document: LocatedDict) -> tuple[LocatedDict, list[Diagnostic]]:
    """A file without its blank sections, and what keeps it from being resolved."""
    result = copied(document)
    for key in (*_LISTS, *_MAPPINGS):
        if key in result and result[key] is None:
            del result[key]
        elif key in _LISTS and result.get(key) in ({}, ""):
            result[key] = LocatedList(result.values_at[key])
    return result, list(_mistakes(result))


def task_lists(document: LocatedDict) -> Iterator[tuple[LocatedDict, str]]:
    """Each mapping of a file that may hold tasks, and the key below which it does."""
    defaults = document.get("pipeline_defaults")
    if isinstance(defaults, LocatedDict):
        for key in ("before_tasks", "tasks", "after_tasks"):
            if key in defaults:
                yield defaults, key
    for pipeline in _items(document, "pipelines"):
        if "tasks" in pipeline:
            yield pipeline, "tasks"


def _mistakes(document: LocatedDict) -> Iterator[Diagnostic]:
    yield from _names(document)
    for key, item_key in _LISTS.items():
        if key in document:
            yield from _list(document, key, item_key)
    for key, name_key in named_sections.items():
        yield from _named(_items(document, key), name_key)
    for key in _MAPPINGS:
        if not isinstance(document.get(key, {}), dict):
            yield _wrong(document, key, f"{key} must be a mapping")
    for holder, key in task_lists(document):
        if holder[key] is not None:
            yield from _list(holder, key, "task")


def _names(document: LocatedDict) -> Iterator[Diagnostic]:
    if document.get("name") in (None, ""):
        hint = "other files find it by its name: 'name: my_project'"
        at = document.values_at.get("name", document.location)
        yield Diagnostic(at, "missing-key", "'name' is missing", hint)
    for key in ("name", "super", "type"):
        if not isinstance(document.get(key), Hashable):
            yield _wrong(document, key, f"{key} must be a plain word")


def _list(holder: LocatedDict, key: str, item_key: str) -> Iterator[Diagnostic]:
    """Is it a list of mappings? A mistake if not."""
    hint = f"start each item with '- {item_key}: …'"
    if not isinstance(holder[key], LocatedList):
        yield _wrong(holder, key, f"{key} must be a list", hint)
        return
    for item, at in zip(holder[key], holder[key].items_at, strict=True):
        if not isinstance(item, LocatedDict):
            message = f"each of {key} must be a mapping, not {item!r}"
            yield Diagnostic(at, "invalid-type", message, hint)
        elif item_key == "task" and not isinstance(item.get("type"), Hashable):
            yield _wrong(item, "type", "type must be a plain word")


def _named(items: Iterator[LocatedDict], name_key: str) -> Iterator[Diagnostic]:
    """A mistake for each item without a name of its own."""
    first: dict[Any, Location] = {}
    for item in items:
        if name_key not in item:
            message = f"{name_key!r} is missing"
            yield Diagnostic(item.location, "missing-key", message, f"'{name_key}: its_name'")
        elif not isinstance(name := item[name_key], Hashable):
            yield _wrong(item, name_key, f"{name_key} must be a plain word")
        elif name in first:
            yield duplicate(name_key, name, item.values_at[name_key], first[name])
        else:
            first[name] = item.values_at[name_key]


def duplicate(kind: str, name: Any, at: Location, first: Location) -> Diagnostic:
    """Two of a kind have one name."""
    place = f"at line {first.line}" if first.file == at.file else f"at {first.file}:{first.line}"
    if first.file == str(BASE_FILE):
        place = "the base's"
    message = f"the {kind} name {name!r} is taken"
    return Diagnostic(at, "duplicate-name", message, f"the first is {place}")


def _items(document: LocatedDict, key: str) -> Iterator[LocatedDict]:
    items = document.get(key)
    for item in items if isinstance(items, LocatedList) else ():
        if isinstance(item, LocatedDict):
            yield item


def _wrong(holder: LocatedDict, key: str, message: str, hint: str | None = None) -> Diagnostic:
    return Diagnostic(holder.values_at[key], "invalid-type", message, hint)
