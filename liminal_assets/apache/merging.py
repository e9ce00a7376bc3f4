"""Mappings and lists joined without losing where each value was written."""

from __future__ import annotations

from typing import Any

from liminal_assets.language.diagnostics import Location
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["copied", "joined", "merged", "merged_by_name", "overlaid"]


def copied(mapping: LocatedDict) -> LocatedDict:
    """A mapping of its own with the same values."""
    result = LocatedDict(mapping.location)
    for key, value in mapping.items():
        result.put(key, value, mapping.keys_at[key], mapping.values_at[key])
    return result


def merged(first: LocatedDict, second: LocatedDict) -> LocatedDict:
    """The keys of both; where both have one, mappings merge and otherwise ``first`` wins."""
    result = LocatedDict(first.location)
    for key, value in first.items():
        other = second.get(key)
        if isinstance(value, LocatedDict) and isinstance(other, LocatedDict):
            value = merged(value, other)
        result.put(key, value, first.keys_at[key], first.values_at[key])
    for key, value in second.items():
        if key not in result:
            result.put(key, value, second.keys_at[key], second.values_at[key])
    return result


def overlaid(below: LocatedDict, above: LocatedDict) -> LocatedDict:
    """The keys of both; where both have one, the whole value of ``above`` wins."""
    result = copied(below)
    result.location = above.location
    for key, value in above.items():
        result.put(key, value, above.keys_at[key], above.values_at[key])
    return result


def joined(at: Location, *lists: LocatedList | None) -> LocatedList:
    """The items of several lists, one after the other; None has none.

    Args:
        at: the place of the new list.
    """
    result = LocatedList(at)
    for items in lists:
        for item, place in zip(items or (), items.items_at if items else (), strict=True):
            result.add(item, place)
    return result


def merged_by_name(own: LocatedList, inherited: LocatedList, name_key: str) -> LocatedList:
    """Named mappings: those inherited first; of one name in both, the inherited values win."""
    result = LocatedList(own.location)
    mine = {item[name_key]: at for item, at in zip(own, own.items_at, strict=True)}
    items: dict[Any, LocatedDict] = {item[name_key]: item for item in own}
    for item, at in zip(inherited, inherited.items_at, strict=True):
        name = item[name_key]
        value = item
        if name in items:
            value, at = merged(item, items.pop(name)), mine.pop(name)
            value.location = at
        result.add(value, at)
    for name, item in items.items():
        result.add(item, mine[name])
    return result
