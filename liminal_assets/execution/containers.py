"""What every task in a container has: its environment, its volumes and its secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from liminal_assets.apache.workflow import Item, TaskSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.task import Mount
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean
from liminal_assets.language.source import LocatedDict, LocatedList

__all__ = [
    "WORKER_COUNT",
    "WORKER_INDEX",
    "check_container",
    "environment_of",
    "mounts_of",
    "worker_environment",
    "workers_of",
]

WORKER_INDEX, WORKER_COUNT = "LIMINAL_SPLIT_ID", "LIMINAL_NUM_SPLITS"
"""Variables of a worker: which it is, from 0 on, and of how many. Early versions of Apache Liminal
called them so; 0.0.5 took ``executors`` without an effect."""

_ENVIRONMENT = "env"
"""A variable that every container got: the name of the environment, ``default`` by default."""


def environment_of(spec: TaskSpec, defaults: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables of a task's containers.

    ``env_vars`` of the task; above them the lines ``NAME=value`` of the file ``env`` in
    ``LIMINAL_HOME``. A variable ``<pipeline>_dag_configuration`` of this process, JSON, replaces
    them all by its ``<pipeline>_environment_variables``, as an Airflow variable of that name did.

    Args:
        defaults: what holds where nothing else says something.

    Raises:
        StepError: ``env_vars`` is no mapping, or that variable isn't JSON.
    """
    written = spec.get("env_vars", {})
    if not isinstance(written, Mapping):
        where = spec.locate("env_vars")
        raise StepError("env_vars must be a mapping of names to values", location=where)
    replaced = _configured(spec)
    values = {**written, **_home_file()} if replaced is None else replaced
    values = {**(defaults or {}), _ENVIRONMENT: os.environ.get(_ENVIRONMENT, "default"), **values}
    return {str(name): "" if value is None else str(value) for name, value in values.items()}


def _configured(spec: TaskSpec) -> Mapping[str, Any] | None:
    name = f"{spec.pipeline}_dag_configuration"
    text = os.environ.get(name)
    if not text:
        return None
    try:
        found = json.loads(text).get(f"{spec.pipeline}_environment_variables")
        return None if found is None else dict(found)
    except (ValueError, TypeError, AttributeError) as error:
        message = f"the environment variable {name} is no JSON of variables: {error}"
        raise StepError(message, location=spec.locate()) from None


def _home_file() -> dict[str, str]:
    home = os.environ.get("LIMINAL_HOME")
    file = Path(home, "env") if home else None
    if file is None or not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, equals, value in pairs if equals}


def mounts_of(spec: Item) -> tuple[Mount, ...]:
    """The volumes (``mounts``) and the secrets that a task's containers see."""
    return (
        *(
            Mount(
                str(mount["volume"]),
                str(mount["path"]),
                mount.get("sub_path"),
                bool(mount.get("read_only", False)),
            )
            for mount in spec.get("mounts", ())
        ),
        *(
            Mount(
                str(secret["secret"]),
                str(secret["remote_path"]),
                secret.get("sub_path"),
                bool(secret.get("read_only", False)),
                secret=True,
            )
            for secret in spec.get("secrets", ())
        ),
    )


def workers_of(spec: TaskSpec) -> int:
    """How many workers ``executors`` asks for; 1 where it says nothing."""
    return int(spec.get("executors", 1))


def worker_environment(index: int, workers: int) -> dict[str, str]:
    """The variables that tell a worker which of ``workers`` it is."""
    return {WORKER_INDEX: str(index), WORKER_COUNT: str(workers)}


def check_container(spec: TaskSpec, workflow: Workflow) -> Iterator[Diagnostic]:
    """What is wrong with ``env_vars``, ``mounts``, ``secrets`` and ``executors`` of a task."""
    variables = spec.get("env_vars", {})
    if not isinstance(variables, Mapping):
        message, hint = "env_vars must be a mapping", "write NAME: value below it"
        yield Diagnostic(spec.locate("env_vars"), "invalid-type", message, hint)
    workers = spec.get("executors", 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        message = f"executors is how many workers run at once, not {workers!r}"
        yield Diagnostic(spec.locate("executors"), "invalid-value", message)
    yield from check_mounts(spec, workflow)


def check_mounts(spec: Item, workflow: Workflow) -> Iterator[Diagnostic]:
    """What is wrong with ``mounts`` and ``secrets`` of a task or a service."""
    yield from _check_mounts(spec, "mounts", "volume", "path", workflow.volumes)
    yield from _check_mounts(spec, "secrets", "secret", "remote_path", workflow.secrets)


def _check_mounts(
    spec: Item, section: str, name_key: str, path_key: str, known: Mapping[str, Item]
) -> Iterator[Diagnostic]:
    items: Iterable[Any] = spec.get(section, ())
    if not isinstance(items, LocatedList):
        if items:
            message = f"{section} must be a list"
            yield Diagnostic(spec.locate(section), "invalid-type", message)
        return
    for index, item in enumerate(items):
        at = spec.locate(section, index)
        if not isinstance(item, LocatedDict):
            yield Diagnostic(at, "invalid-type", f"each of {section} must be a mapping")
            continue
        for key in (name_key, path_key):
            if item.get(key) in (None, ""):
                yield Diagnostic(at, "missing-key", f"{key!r} is missing")
        name = item.get(name_key)
        if name and str(name) not in known:
            message = f"no {name_key} is called {name!r}"
            hint = did_you_mean(str(name), known)
            where = spec.locate(section, index, name_key)
            yield Diagnostic(where, f"unknown-{name_key}", message, hint)
