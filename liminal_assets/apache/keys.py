"""Keys without effect: what is written in a file but was never read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liminal_assets.apache.defaults import AFTER, BEFORE
from liminal_assets.apache.inheritance import is_super
from liminal_assets.apache.plugins import find_plugin, installed_plugin
from liminal_assets.apache.shapes import task_lists
from liminal_assets.apache.vocabulary import (
    ANYTHING,
    EXECUTORS,
    IMAGES,
    ITEMS,
    PIPELINE,
    PIPELINE_DEFAULTS,
    ROOT,
    SERVICE,
    TASKS,
    task_words,
    words,
)
from liminal_assets.language.diagnostics import Diagnostic, closest, did_you_mean
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["IgnoredKey", "find_ignored_keys", "ignored_keys"]

_TOP = "at the top of the file"
_OF_SUPERS = "only those in the 'pipeline_defaults' of a super ('type: super') run"

_HINTS: Mapping[str, Mapping[str, str]] = {
    "pipeline": {
        "metrics": "it was read at the top of the file",
        "monitoring": "it is read at the top of the file",
        BEFORE: _OF_SUPERS,
        AFTER: _OF_SUPERS,
    },
    "task": {"env": "environment variables are 'env_vars'"},
}
_ELSEWHERE = (
    (ROOT - {"description", "name", "type", "variables"}, _TOP),
    (words("pipeline schedule start_date tasks timeout_minutes"), "in a pipeline"),
    (frozenset().union(*TASKS.values()) - {"description", "type"}, "in a task"),
)


@dataclass(frozen=True)
class IgnoredKey:
    """A key without effect."""

    holder: LocatedDict
    """The mapping that it is written in."""
    key: Any
    message: str
    hint: str | None = None
    known: frozenset[str] = frozenset()
    """The keys that were read there."""
    kind: str = ""
    """What the holder is, for those that have hints of their own: ``task``, ``pipeline``, …"""

    @property
    def diagnostic(self) -> Diagnostic:
        """The warning for it."""
        at = self.holder.keys_at[self.key]
        return Diagnostic(at, "ignored-key", self.message, self.hint, "warning")


def ignored_keys(document: LocatedDict) -> Iterator[Diagnostic]:
    """A warning for each key of a file that Apache Liminal took without reading it."""
    kind = document.get("type", "sub")
    if kind not in ("sub", "super"):
        message = f"the type {kind!r} means 'sub': a file that inherits"
        hint = did_you_mean(str(kind), ["sub", "super"])
        yield Diagnostic(document.values_at["type"], "invalid-value", message, hint, "warning")
    for found in find_ignored_keys(document):
        yield found.diagnostic


def find_ignored_keys(document: LocatedDict) -> Iterator[IgnoredKey]:
    """Each key of a file that Apache Liminal took without reading it.

    Keys that only its documentation gives a meaning are none: ``executors: 2`` of a task, the
    ``query`` of an SQL task.
    """
    yield from _unknown(document, ROOT, _TOP, _TOP)
    yield from _not_inherited(document)
    for pipeline in _mappings(document.get("pipelines")):
        yield from _pipeline(pipeline, PIPELINE)
    for defaults in _mappings(document.get("pipeline_defaults")):
        known = PIPELINE_DEFAULTS if is_super(document) else PIPELINE
        yield from _pipeline(defaults, known)
    for holder, key in task_lists(document):
        for task in _mappings(holder[key]):
            yield from _task(task, task.get("type"))
    yield from _task_defaults(document)
    for service in (
        *_mappings(document.get("services")),
        *_mappings(document.get("service_defaults")),
    ):
        yield from _unknown(service, SERVICE, "in a service")
    for executor in _mappings(document.get("executors")):
        yield from _typed(executor, EXECUTORS, "executor")
    for image in _mappings(document.get("images")):
        yield from _typed(image, IMAGES, "image")
        yield from _items(image, "endpoints")
    yield from _items(document, "metrics")
    for secret in _mappings(document.get("secrets")):
        yield from _unknown(secret, {"secret", "local_path_file"}, "in a secret")


def _not_inherited(document: LocatedDict) -> Iterator[IgnoredKey]:
    if is_super(document):
        for key in ("pipelines", "services"):
            if document.get(key):
                message = f"{key} of a super were never inherited"
                hint = f"write them in the files with 'super: {document.get('name')}'"
                yield IgnoredKey(document, key, message, hint)


def _pipeline(pipeline: LocatedDict, known: Collection[str]) -> Iterator[IgnoredKey]:
    known = {*known, *(key for key in pipeline if str(key).startswith("default_"))}
    yield from _unknown(pipeline, known, "in a pipeline", "pipeline")


def _task(task: LocatedDict, kind: Any) -> Iterator[IgnoredKey]:
    known = task_words(kind)
    if known is not ANYTHING:
        yield from _unknown(task, known, f"in a {kind} task", "task")
    for key in ("mounts", "secrets"):
        yield from _items(task, key)


def _task_defaults(document: LocatedDict) -> Iterator[IgnoredKey]:
    folder = Path(document.location.file).parent
    for defaults in _mappings(document.get("task_defaults")):
        for kind, values in defaults.items():
            if kind in TASKS:
                for of_kind in _mappings(values):
                    yield from _task(of_kind, kind)
            elif kind != "description" and not _is_plugin(str(kind), folder):
                message = f"no task is of type {kind!r}, so these defaults have no effect"
                yield IgnoredKey(defaults, kind, message, did_you_mean(str(kind), TASKS))


def _is_plugin(kind: str, folder: Path) -> bool:
    return bool(find_plugin("tasks", kind, folder) or installed_plugin("tasks", kind))


def _typed(
    item: LocatedDict, kinds: Mapping[str, frozenset[str]], what: str
) -> Iterator[IgnoredKey]:
    kind = item.get("type")
    if isinstance(kind, str) and kind in kinds:
        article = "an" if kind[0] in "aeiou" else "a"
        yield from _unknown(item, kinds[kind], f"in {article} {kind} {what}")


def _items(holder: LocatedDict, key: str) -> Iterator[IgnoredKey]:
    for item in _mappings(holder.get(key)):
        yield from _unknown(item, ITEMS[key], f"in {key}")


def _unknown(
    holder: LocatedDict, known: Collection[str], place: str, kind: str = ""
) -> Iterator[IgnoredKey]:
    for key in holder:
        if key not in known:
            hint = _HINTS.get(kind, {}).get(key)
            if not hint and not closest(str(key), known):
                hint = _elsewhere(key, place)
            hint = hint or did_you_mean(str(key), known)
            message = f"{key!r} {place} was never read"
            yield IgnoredKey(holder, key, message, hint, frozenset(known), kind)


def _elsewhere(key: Any, place: str) -> str | None:
    where = (where for known, where in _ELSEWHERE if key in known and where != place)
    return f"it was read {found}" if (found := next(where, None)) else None


def _mappings(value: Any) -> Iterator[LocatedDict]:
    """A mapping, or those of a list."""
    for item in value if isinstance(value, LocatedList) else [value]:
        if isinstance(item, LocatedDict):
            yield item
