"""Every way in which we differ from Apache Liminal 0.0.5, as code: see docs/apache.md.

Each difference changes what the original is given into what its user must have meant, so that the
original can be asked what comes of that. Nothing else may differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

Files = list[dict[str, Any]]

_LISTS = ("executors", "images", "pipelines", "services")
_SECTIONS = (*_LISTS, "variables", "pipeline_defaults", "task_defaults", "service_defaults")
_TASKS = ("before_tasks", "tasks", "after_tasks")


def blank_sections(files: Files) -> None:
    """A section without a value is as if it weren't there."""
    for file in files:
        for key in _SECTIONS:
            if key in file and file[key] is None:
                del file[key]


def blank_tasks(files: Files) -> None:
    """A list of tasks without a value is empty."""
    for file in files:
        for holder in [file.get("pipeline_defaults") or {}, *(file.get("pipelines") or [])]:
            for key in _TASKS:
                if key in holder and holder[key] is None:
                    holder[key] = []


def values_in_text(files: Files) -> None:
    """A placeholder may name a number, a boolean or a date, wherever that is written."""
    for file in files:
        variables = file.get("variables") or {}
        for name, value in variables.items():
            if value is not None and not isinstance(value, str | dict | list):
                variables[name] = str(value)


def super_base(files: Files) -> None:
    """``super: base`` names the base that is built in, unless a file is called so."""
    if all(file["name"] != "base" for file in files):
        for file in files:
            if file.get("super") == "base":
                del file["super"]


DIFFERENCES: tuple[Callable[[Files], None], ...] = (
    blank_sections,
    blank_tasks,
    values_in_text,
    super_base,
)


def as_meant(files: Files) -> Files:
    """The files as the original must have them to do what we do."""
    meant = copy.deepcopy(files)
    for difference in DIFFERENCES:
        difference(meant)
    return meant


def nested_lists(value: Any) -> Any:
    """A list in a list is a list, no generator."""
    if isinstance(value, tuple):
        return [nested_lists(item) for item in value[1]]
    if isinstance(value, dict):
        return {key: nested_lists(item) for key, item in value.items()}
    return [nested_lists(item) for item in value] if isinstance(value, list) else value


def same_as_meant(final: dict[str, Any]) -> dict[str, Any]:
    """What remains of the differences in a final configuration, on either side: a variable's
    value or its text, a blank or an empty list, the name of the base."""
    same = copy.deepcopy(final)
    as_files = [same]
    blank_tasks(as_files)
    values_in_text(as_files)
    if same.get("super") == "base":
        del same["super"]
    return same


def differing(files: Files) -> Iterator[str]:
    """The names of the differences that concern some files."""
    for difference in DIFFERENCES:
        changed = copy.deepcopy(files)
        difference(changed)
        if changed != files:
            yield difference.__name__
