"""Misspelt names and types, and names that are taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from liminal_assets.apache.migration.changes import Change, View, neighbour
from liminal_assets.apache.migration.outline import Entry, entries
from liminal_assets.apache.vocabulary import EXECUTORS, IMAGES, TASKS
from liminal_assets.language.diagnostics import Diagnostic

__all__ = ["misspelt_values", "names_taken", "repeated_keys"]


def misspelt_values(view: View) -> Iterator[Change]:
    """A type or a name that leads nowhere, with one neighbour that it must mean."""
    known: Mapping[str, frozenset[str]] = {
        "unknown-task-type": frozenset(TASKS),
        "unknown-executor-type": frozenset(EXECUTORS),
        "unknown-image-type": frozenset(IMAGES),
        "unknown-executor": view.executors,
        "missing-super": view.supers,
        "invalid-value": frozenset({"sub", "super"}),
    }
    for diagnostic in view.diagnostics:
        node = view.outline.scalar_at(diagnostic.location)
        if node is None or diagnostic.code not in known:
            continue
        if meant := neighbour(node.value, known[diagnostic.code]):
            reason = f"{node.value!r} is {meant!r}"
            yield Change(diagnostic.location.line, reason, (view.outline.replace(node, meant),))


def repeated_keys(view: View) -> Iterator[Change]:
    """A key written twice: the last one counted."""
    for diagnostic in view.diagnostics:
        later = view.outline.entry_at(diagnostic.location)
        if diagnostic.code != "duplicate-key" or later is None:
            continue
        first = next(e for e in entries(later.mapping) if e.key.value == later.key.value)
        line = first.key.start_mark.line + 1
        values = [view.outline.value(entry.value) for entry in (first, later)]
        if values[0] == values[1]:
            reason = f"{later.key.value!r} was written twice"
            yield Change(diagnostic.location.line, reason, (view.outline.remove(later),))
        elif not any(isinstance(value, dict | list) for value in values):
            why = "written twice: the one below counted"
            edit = view.outline.take_out(first, why)
            yield Change(line, f"{later.key.value!r} was {why}", (edit,))


def names_taken(view: View) -> Iterator[Change]:
    """The same thing twice is written once; of executors and images the last one counted; a task
    gets a name of its own."""
    for diagnostic in view.diagnostics:
        if diagnostic.code != "duplicate-name":
            continue
        found = _item(view, diagnostic)
        if found is None:
            continue
        sequence, place, entry = found
        change = _taken(view, sequence, place, entry)
        if change is not None:
            yield change


def _taken(view: View, sequence: yaml.SequenceNode, place: int, entry: Entry) -> Change | None:
    outline, (kind, name) = view.outline, (entry.key.value, entry.value.value)
    line = entry.key.start_mark.line + 1
    values = [outline.value(item) for item in sequence.value]
    twin = next((i for i in range(place) if _named(values[i], kind) == values[place][kind]), None)
    if twin is not None and values[twin] == values[place]:
        reason = f"the {kind} {name!r} was written twice"
        return Change(line, reason, (outline.remove_item(sequence, place),))
    if twin is not None and kind in ("executor", "image"):
        why = f"another {kind} has its name: the one below counted"
        line = sequence.value[twin].start_mark.line + 1
        edit = outline.remove_item(sequence, twin, why)
        return Change(line, f"{kind} {name!r}: {why}", (edit,))
    if kind == "task" and isinstance(entry.value, yaml.ScalarNode):
        taken = {str(_named(value, kind)) for value in values}
        number = next(n for n in range(2, len(taken) + 3) if f"{name}_{n}" not in taken)
        reason = f"the task name {name!r} is taken"
        return Change(line, reason, (outline.replace(entry.value, f"{name}_{number}"),))
    return None


def _named(value: object, kind: str) -> object:
    return value.get(kind) if isinstance(value, dict) else None


def _item(view: View, diagnostic: Diagnostic) -> tuple[yaml.SequenceNode, int, Entry] | None:
    """The list, the number in it and the name of the item whose name stands at a place."""
    name = view.outline.scalar_at(diagnostic.location)
    for sequence in view.outline.sequences:
        for place, item in enumerate(sequence.value):
            for entry in entries(item) if isinstance(item, yaml.MappingNode) else ():
                if entry.value is name:
                    return sequence, place, entry
    return None
