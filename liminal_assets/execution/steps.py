"""Where the steps of a run are executed: in the run's own process, unless a run asks otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import (
    ExecutorRequirement,
    multiple_process_executor_requirements,
)

__all__ = ["EXECUTORS", "executor_config", "steps_executor"]

_PRELOADED = ("pandas", "sklearn.pipeline", "liminal_assets.definitions")

EXECUTORS: Mapping[str, Mapping[str, Any]] = {
    "in_process": {"in_process": {}},
    "multiprocess": {
        "multiprocess": {"start_method": {"forkserver": {"preload_modules": list(_PRELOADED)}}}
    },
}
"""Executors by the name that ``liminal run --executor`` takes, and the configuration of each."""


def executor_config(name: str) -> dict[str, Any]:
    """The run configuration that has the steps executed by ``name``."""
    return {"execution": {"config": EXECUTORS[name]}}


def _requirements(config: Mapping[str, object]) -> Sequence[ExecutorRequirement]:
    return multiple_process_executor_requirements() if "multiprocess" in config else []


steps_executor = dg.ExecutorDefinition(
    name="steps",
    config_schema=dg.Field(
        dg.Selector(  # type: ignore[no-untyped-call]
            {
                "in_process": dg.in_process_executor.config_schema.as_field(),
                "multiprocess": dg.multiprocess_executor.config_schema.as_field(),
            }
        ),
        default_value={"in_process": {}},
    ),
    requirements=_requirements,
    executor_creation_fn=dg.multi_or_in_process_executor.executor_creation_fn,
    description=(
        "In the process of the run: a step pays for no process of its own. With `multiprocess`, "
        "independent steps run at once, each in a process forked from one that has imported "
        "what steps need."
    ),
)
"""The executor of every project's runs."""
