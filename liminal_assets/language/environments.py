"""Overlays: ``environments: {prod: …}`` replaces values by name."""

from __future__ import annotations

from typing import Any

from liminal_assets.language.diagnostics import InvalidProjectError, did_you_mean
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["APACHE_KEYS", "APACHE_SECTIONS", "BLOCK_KEYS", "OUR_SECTIONS", "overlay"]

BLOCK_KEYS = {
    "connections": "connection",
    "datasets": "dataset",
    "features": "feature",
    "models": "model",
    "deployments": "deployment",
    "monitors": "monitor",
    "alerts": "alert",
    "schedules": "schedule",
}
"""Each section of named blocks and the key that holds the name."""

OUR_SECTIONS = frozenset({*BLOCK_KEYS, "environments", "storage"})
"""What tells a file of this language from one of Apache Liminal's."""

APACHE_SECTIONS = frozenset(
    {
        "always_run",
        "executors",
        "images",
        "metrics",
        "monitoring",
        "pipeline_defaults",
        "pipelines",
        "secrets",
        "service_defaults",
        "services",
        "super",
        "task_defaults",
        "type",
        "volumes",
    }
)
"""The sections of Apache Liminal, which a file may have beside ours."""

APACHE_KEYS = {
    "pipelines": "pipeline",
    "tasks": "task",
    "executors": "executor",
    "images": "image",
    "services": "service",
    "volumes": "volume",
    "secrets": "secret",
}
"""The same for Apache Liminal's lists."""


def overlay(document: LocatedDict, environment: str | None) -> LocatedDict:
    """The document as it is in one environment: mappings merge key by key, lists of named
    blocks block by block (a new name adds a block), anything else is replaced.

    Raises:
        InvalidProjectError: there is no such environment.
    """
    overlays = document.get("environments")
    if environment is None:
        return document
    known = overlays if isinstance(overlays, LocatedDict) else {}
    if environment not in known:
        raise InvalidProjectError.at(
            document.keys_at.get("environments", document.location),
            "unknown-environment",
            f"no environment is called {environment!r}",
            did_you_mean(environment, known),
        )
    change = known[environment]
    return _merged(document, change) if isinstance(change, LocatedDict) else document


def _merged(base: LocatedDict, change: LocatedDict) -> LocatedDict:
    result = LocatedDict(base.location)
    for key, value in base.items():
        result.put(key, value, base.keys_at[key], base.values_at[key])
    for key, value in change.items():
        before = base.get(key)
        name_key = BLOCK_KEYS.get(key) or APACHE_KEYS.get(key)
        if isinstance(before, LocatedDict) and isinstance(value, LocatedDict):
            value = _merged(before, value)
        elif name_key and isinstance(before, LocatedList) and isinstance(value, LocatedList):
            value = _merged_blocks(before, value, name_key)
        result.put(key, value, change.keys_at[key], change.values_at[key])
    return result


def _merged_blocks(base: LocatedList, change: LocatedList, name_key: str) -> LocatedList:
    names = [item.get(name_key) if isinstance(item, LocatedDict) else None for item in base]
    result = LocatedList(base.location)
    for item, at in zip(base, base.items_at, strict=True):
        result.add(item, at)
    for item, at in zip(change, change.items_at, strict=True):
        name: Any = item.get(name_key) if isinstance(item, LocatedDict) else None
        if name in names and name is not None:
            index = names.index(name)
            result[index] = _merged(base[index], item)
        else:
            result.add(item, at)
    return result
