"""Defaults of pipelines, tasks and services, with the tasks before and after."""

from __future__ import annotations

from liminal_assets.apache.merging import joined, merged
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = ["AFTER", "BEFORE", "section", "with_pipeline_defaults", "with_service_defaults"]

BEFORE, AFTER = "before_tasks", "after_tasks"


def section(document: LocatedDict, key: str) -> LocatedDict:
    """A mapping of a document; empty if it hasn't got one."""
    value = document.get(key)
    return value if isinstance(value, LocatedDict) else LocatedDict(document.location)


def with_pipeline_defaults(document: LocatedDict, inherited: LocatedDict) -> LocatedList:
    """A file's pipelines: their own keys win, then the file's defaults, then its super's.

    The super's tasks come before and after those of the pipeline, and each task gets the defaults
    of its type.

    Raises:
        InvalidProjectError: the defaults that a task needs are no mapping.
    """
    supers = section(inherited, "pipeline_defaults")
    own = section(document, "pipeline_defaults")
    defaults = merged(own, _without(supers, BEFORE, AFTER))
    of_tasks = merged(section(document, "task_defaults"), section(inherited, "task_defaults"))
    result = LocatedList(document.values_at.get("pipelines", document.location))
    for pipeline in document.get("pipelines", ()):
        final = merged(pipeline, defaults)
        key_at = final.keys_at.get("tasks", pipeline.location)
        tasks = joined(key_at, supers.get(BEFORE), final.get("tasks"), supers.get(AFTER))
        final.put("tasks", _with_task_defaults(tasks, of_tasks), key_at, key_at)
        result.add(final, pipeline.location)
    return result


def with_service_defaults(document: LocatedDict, inherited: LocatedDict) -> LocatedList:
    """A file's services: their own keys win, then the file's defaults, then its super's."""
    key = "service_defaults"
    defaults = merged(section(document, key), section(inherited, key))
    result = LocatedList(document.values_at.get("services", document.location))
    for service in document.get("services", ()):
        result.add(merged(service, defaults), service.location)
    return result


def _with_task_defaults(tasks: LocatedList, defaults: LocatedDict) -> LocatedList:
    result = LocatedList(tasks.location)
    for task, at in zip(tasks, tasks.items_at, strict=True):
        kind = task.get("type", "")
        if kind in defaults and not isinstance(defaults[kind], LocatedDict):
            raise InvalidProjectError.at(
                defaults.values_at[kind],
                "invalid-type",
                f"the defaults of {kind} tasks must be a mapping",
                f"write their keys below '{kind}:', or leave it out",
            )
        result.add(merged(task, section(defaults, kind)), at)
    return result


def _without(mapping: LocatedDict, *left_out: str) -> LocatedDict:
    result = LocatedDict(mapping.location)
    for key, value in mapping.items():
        if key not in left_out:
            result.put(key, value, mapping.keys_at[key], mapping.values_at[key])
    return result
