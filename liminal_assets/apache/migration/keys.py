"""Keys that were never read → those that are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from liminal_assets.apache.keys import IgnoredKey, find_ignored_keys
from liminal_assets.apache.migration.changes import Change, View, neighbour
from liminal_assets.apache.migration.outline import Edit, Entry, entries
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["unread_keys"]

_OF_THE_FILE = frozenset({"always_run", "metrics", "monitoring"})


def unread_keys(view: View) -> Iterator[Change]:
    """Each key without effect whose meaning is plain is written where, and as, it is read."""
    for found in find_ignored_keys(view.document):
        entry = view.outline.entry_at(found.diagnostic.location)
        if entry is None:
            continue
        change = _change(view, found, entry)
        if change is not None:
            yield change


def _change(view: View, found: IgnoredKey, entry: Entry) -> Change | None:
    if found.kind == "task" and found.key == "env":
        return _environment(view, entry)
    if found.kind == "pipeline" and found.key in _OF_THE_FILE:
        return _to_the_file(view, found, entry)
    return _misspelt(view, found, entry)


def _misspelt(view: View, found: IgnoredKey, entry: Entry) -> Change | None:
    word = str(found.key)
    meant = neighbour(word, found.known)
    if meant is None or _sibling(entry, meant) is not None:
        return None
    return _changed(entry, f"{word!r} is {meant!r}", view.outline.replace(entry.key, meant))


def _environment(view: View, entry: Entry) -> Change | None:
    """``env`` becomes ``env_vars``, or goes into those that are there."""
    outline, own = view.outline, _sibling(entry, "env_vars")
    if not isinstance(entry.value, yaml.MappingNode):
        return None
    if own is None:
        renamed = outline.replace(entry.key, "env_vars")
        return _changed(entry, "environment variables are 'env_vars'", renamed)
    if not own.value.value:  # blank, or {}
        renamed = outline.replace(entry.key, "env_vars")
        reason = "environment variables are 'env_vars'"
        return _changed(entry, reason, outline.remove(own), renamed)
    if not isinstance(own.value, yaml.MappingNode) or own.value.start_mark.index < own.start:
        return None
    # what stands on lines of its own keeps its comments
    keep, goes = (entry, own) if _is_in_braces(own) and not _is_in_braces(entry) else (own, entry)
    taken = {item.key.value: item for item in entries(keep.value)}
    edits = [outline.remove(goes)]
    if keep is entry:
        edits.append(outline.replace(entry.key, "env_vars"))
    new = [item for item in entries(goes.value) if item.key.value not in taken]
    last = entries(keep.value)[-1]
    added = [outline.add_after(last, it.key.value, outline.moved(it, keep.value)) for it in new]
    place = outline.add_after(last, "", "").start
    edits.append(Edit(place, place, "".join(edit.text for edit in added)))
    both = {item.key.value: item for item in entries(goes.value) if item.key.value in taken}
    for name, item in both.items() if keep is entry else ():
        value = taken[name]
        edits.append(
            Edit(value.value.start_mark.index, outline.end_of(value), outline.inline(item))
        )
    reason = "environment variables are 'env_vars', which gets those of 'env'"
    if both:
        reason += f"; {', '.join(both)} stays as 'env_vars' had it"
    return _changed(entry, reason, *edits)


def _is_in_braces(entry: Entry) -> bool:
    return bool(entry.value.flow_style)


def _to_the_file(view: View, found: IgnoredKey, entry: Entry) -> Change | None:
    """A key of a pipeline that is read at the top goes there, if the pipelines agree on it."""
    document, outline, key = view.document, view.outline, str(found.key)
    value = found.holder[found.key]
    holders = list(_pipelines(document))
    said = [holder[key] for holder in holders if key in holder]
    if any(other != value for other in said) or document.get(key, value) != value:
        return None
    if key == "always_run" and len(said) < len(holders):
        return None
    reason = f"{key!r} was read at the top of the file, for all its pipelines"
    if key in document:
        return _changed(entry, reason, outline.remove(entry))
    top = entries(outline.root)
    section = next(item for item in top if item.start <= entry.start <= outline.end_of(item))
    source = outline.moved(entry, outline.root)
    if section.place:
        added = outline.add_after(top[section.place - 1], key, source)
    else:
        added = outline.add_before(section, key, source)
    return _changed(entry, reason, added, outline.remove(entry))


def _changed(entry: Entry, reason: str, *edits: Edit) -> Change:
    return Change(entry.key.start_mark.line + 1, reason, edits)


def _sibling(entry: Entry, key: str) -> Entry | None:
    return next((item for item in entries(entry.mapping) if item.key.value == key), None)


def _pipelines(document: LocatedDict) -> Iterator[LocatedDict]:
    yield from _items(document, "pipelines")
    defaults = document.get("pipeline_defaults")
    if isinstance(defaults, LocatedDict):
        yield defaults


def _items(holder: Any, key: str) -> list[LocatedDict]:
    items = holder.get(key) if isinstance(holder, LocatedDict) else None
    return (
        [item for item in items or () if isinstance(item, LocatedDict)]
        if isinstance(items, LocatedList)
        else []
    )
