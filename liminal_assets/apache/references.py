"""What keeps a resolved project from running: types and names that lead nowhere, or are taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from liminal_assets.apache.base import BASE_FILE
from liminal_assets.apache.plugins import (
    Kind,
    find_plugin,
    installed_plugin,
    is_misplaced,
    unknown_type_hint,
)
from liminal_assets.apache.settings import check_settings
from liminal_assets.apache.shapes import duplicate
from liminal_assets.apache.vocabulary import EXECUTORS, IMAGES, TASKS
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["check_references", "check_unique_pipelines", "one_word"]

_NAMED = {"services": "service", "volumes": "volume", "secrets": "secret"}


def check_references(configuration: LocatedDict, folder: Path) -> Iterator[Diagnostic]:
    """Mistakes in one final configuration.

    Args:
        configuration: with its placeholders replaced.
        folder: where the project's plugins stand.
    """
    executors = [item["executor"] for item in configuration.get("executors", ())]
    for item in configuration.get("executors", ()):
        yield from _known_type(item, "executors", EXECUTORS, folder)
    for item in configuration.get("images", ()):
        if "source" in item:
            yield from _known_type(item, "images", IMAGES, folder)
    for pipeline in configuration.get("pipelines", ()):
        yield from _required(pipeline, "pipeline")
        yield from check_settings(pipeline)
        tasks = _mappings(pipeline.get("tasks"))
        yield from _unique(tasks, "task", one_word)
        for task in tasks:
            yield from _required(task, "task")
            yield from _known_type(task, "tasks", TASKS, folder)
            yield from _known_executor(task, executors)
    for section, name_key in _NAMED.items():
        yield from _unique(_mappings(configuration.get(section)), name_key)


def check_unique_pipelines(configurations: Iterable[LocatedDict]) -> Iterator[Diagnostic]:
    """Pipelines of one name, in whatever files: there was one place for all of them."""
    pipelines = (_mappings(configuration.get("pipelines")) for configuration in configurations)
    yield from _unique(
        [pipeline for several in pipelines for pipeline in several], "pipeline", one_word
    )


def _known_type(
    item: LocatedDict, kind: Kind, known: Collection[str], folder: Path
) -> Iterator[Diagnostic]:
    name, singular = item.get("type"), kind[:-1]
    if name is None:
        yield from _required(item, "type")
        return
    if isinstance(name, str) and name in known:
        return
    at, plugin = item.values_at["type"], find_plugin(kind, str(name), folder)
    if plugin is None and installed_plugin(kind, str(name)):
        return
    if plugin is None:
        hint = unknown_type_hint(kind, str(name), known)
        yield Diagnostic(at, f"unknown-{singular}-type", f"no {singular} is of type {name!r}", hint)
    elif is_misplaced(kind, plugin, folder):
        message = f"the plugin {name!r} stands in {kind}/"
        hint = f"Apache Liminal looked for it in plugins/{kind}/"
        yield Diagnostic(at, "misplaced-plugin", message, hint, "warning")


def _known_executor(task: LocatedDict, executors: Collection[Any]) -> Iterator[Diagnostic]:
    name = task.get("executor")
    if name and name not in executors:
        hint = did_you_mean(str(name), map(str, executors))
        message = f"no executor is called {name!r}"
        yield Diagnostic(task.values_at["executor"], "unknown-executor", message, hint)


def _required(item: LocatedDict, key: str) -> Iterator[Diagnostic]:
    if item.get(key) in (None, ""):
        at = item.values_at.get(key, item.location)
        yield Diagnostic(at, "missing-key", f"{key!r} is missing")


def one_word(name: object) -> str:
    """A name as Dagster's jobs and steps have it: their names hold letters, digits and ``_``."""
    return re.sub(r"[^A-Za-z0-9_]", "_", str(name))


def _unique(
    items: Iterable[LocatedDict], name_key: str, like: Callable[[object], str] = str
) -> Iterator[Diagnostic]:
    first: dict[str, Location] = {}
    for item in items:
        name = item.get(name_key)
        if name is None:
            continue
        at = item.values_at[name_key]
        if (before := first.get(like(name))) and before != at:
            # what a file says clashes with the base, not the other way round
            at, before = (before, at) if at.file == str(BASE_FILE) else (at, before)
            yield duplicate(name_key, name, at, before)
        first.setdefault(like(name), at)


def _mappings(value: Any) -> list[LocatedDict]:
    items = value if isinstance(value, LocatedList) else ()
    return [item for item in items if isinstance(item, LocatedDict)]
