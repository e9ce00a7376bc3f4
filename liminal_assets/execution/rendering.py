"""What a task's ``{{ placeholders }}`` are only when it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from liminal_assets.apache.defaults import section
from liminal_assets.apache.macros import macros
from liminal_assets.apache.merging import overlaid
from liminal_assets.apache.variables import substitute
from liminal_assets.apache.workflow import TaskSpec
from liminal_assets.execution.task import TaskRun
from liminal_assets.language.source import LocatedDict

__all__ = ["rendered"]


def rendered(spec: TaskSpec, run: TaskRun) -> TaskSpec:
    """A task with the placeholders that the file couldn't fill in.

    They are looked for in the task's own ``variables`` (a mapping, or the name of a variable that
    is one), the file's, Airflow's names for the moment of the run, the pipeline's ``params``
    (``params.name``), and the environment (also as ``var.value.name``). Others stay.
    """
    known = LocatedDict(spec.configuration.location)
    _add(known, _of_run(spec, run))
    _add(known, {f"params.{key}": value for key, value in _mapping(run, "params").items()})
    shared = section(run.workflow.configuration, "variables")
    own = spec.get("variables", {})
    own = shared.get(own) if isinstance(own, str) else own
    variables = overlaid(known, shared)
    if isinstance(own, LocatedDict):
        variables = overlaid(variables, own)
    environ = {**os.environ, **{f"var.value.{key}": value for key, value in os.environ.items()}}
    configuration, _ = substitute(spec.configuration, variables, environ)
    return replace(spec, configuration=configuration)


def _of_run(spec: TaskSpec, run: TaskRun) -> Mapping[str, str]:
    moment = run.moment or run.started or datetime.now(timezone.utc)
    return macros(
        moment,
        until=run.until,
        run_id=run.run_id,
        pipeline=spec.pipeline,
        task=spec.name,
    )


def _mapping(run: TaskRun, key: str) -> Mapping[str, Any]:
    value = run.pipeline.get(key) if run.pipeline else None
    return value if isinstance(value, Mapping) else {}


def _add(variables: LocatedDict, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        variables.put(key, value, variables.location, variables.location)
