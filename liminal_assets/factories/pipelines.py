"""Apache Liminal's pipelines → an asset per task, in sequence, and a job per pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from dagster._core.definitions.utils import DISALLOWED_NAMES
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG

from liminal_assets.apache.base import BASE_FILE
from liminal_assets.apache.settings import PipelineSettings, settings_of
from liminal_assets.apache.workflow import Pipeline, TaskSpec, Workflow
from liminal_assets.factories.common import (
    PROJECT_TAG,
    StepEvents,
    code_references,
    named_key,
    task_key,
)
from liminal_assets.factories.reports import metadata_of
from liminal_assets.factories.task_steps import PIPELINE_TAG, TaskStep
from liminal_assets.factories.versions import task_version
from liminal_assets.language.base import is_owner
from liminal_assets.language.loading import Project
from liminal_assets.steps.report import Markdown

__all__ = [
    "dagster_name",
    "job_name",
    "pipeline_assets",
    "pipeline_job",
    "pipelines_of",
    "run_tags",
    "step_name",
]

_GRACE = 60
"""Seconds that a step has to end its task itself before Dagster ends the run."""
_LONG_GRACE = 300
"""The same where other tasks run after a failure, to report it or to clean up."""


def dagster_name(text: str) -> str:
    """A name with the letters that Dagster's names have."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text) or "_"
    return f"{name}_" if name in DISALLOWED_NAMES else name


def pipelines_of(project: Project) -> list[Pipeline]:
    """The pipelines of a project that there is something to run of."""
    pipelines = project.workflow.pipelines.values() if project.workflow else ()
    return [pipeline for pipeline in pipelines if pipeline.tasks]


def job_name(pipeline: Pipeline) -> str:
    """What the job of a pipeline is called."""
    return dagster_name(pipeline.name)


def step_name(project: Project, task: TaskSpec) -> str:
    """What the step of a task is called."""
    return dagster_name("__".join(task_key(project, task).path))


def run_tags(project: Project, pipeline: Pipeline) -> dict[str, str]:
    """The tags that tell the runs of a pipeline."""
    return {PROJECT_TAG: project.name, PIPELINE_TAG: pipeline.name}


def pipeline_assets(pipeline: Pipeline, *, project: Project) -> Iterator[dg.AssetsDefinition]:
    """An asset for each task, which depends on the one before and on what the task waits for.

    Args:
        pipeline: one of the project's workflow.
        project: a project of Apache Liminal's, or with such sections.
    """
    workflow = _workflow(project)
    settings = settings_of(pipeline.configuration, workflow.configuration)
    for task in pipeline.tasks:
        yield _task_asset(project, workflow, pipeline, task, settings)


def pipeline_job(pipeline: Pipeline, *, project: Project) -> UnresolvedAssetJobDefinition:
    """The job that runs exactly the tasks of a pipeline."""
    workflow = _workflow(project)
    settings = settings_of(pipeline.configuration, workflow.configuration)
    tags = run_tags(project, pipeline)
    if settings.timeout:
        seconds = int(settings.timeout.total_seconds()) + _grace(pipeline, settings)
        tags[MAX_RUNTIME_SECONDS_TAG] = str(seconds)
    if settings.priority is not None:
        tags[PRIORITY_TAG] = str(settings.priority)
    owned = settings.owner is not None and is_owner(settings.owner)
    return dg.define_asset_job(
        job_name(pipeline),
        selection=dg.AssetSelection.assets(*(task_key(project, task) for task in pipeline.tasks)),
        tags=tags,
        description=_description(pipeline, settings),
        owners=[settings.owner] if owned and settings.owner else None,
        metadata={
            **metadata_of({"owner": settings.owner, "arguments": _plain(settings.arguments)}),
            **code_references([(pipeline.locate(), "liminal.yml")]),
        },
    )


def _grace(pipeline: Pipeline, settings: PipelineSettings) -> int:
    reports = any(settings.runs_after_failure(task.type) for task in pipeline.tasks[1:])
    return _LONG_GRACE if reports else _GRACE


def _workflow(project: Project) -> Workflow:
    if project.workflow is None:
        raise ValueError(f"the project {project.name!r} has no pipelines")
    return project.workflow


def _task_asset(
    project: Project,
    workflow: Workflow,
    pipeline: Pipeline,
    task: TaskSpec,
    settings: PipelineSettings,
) -> dg.AssetsDefinition:
    step = TaskStep(project, workflow, pipeline, task, settings)

    def compute(context):  # type: ignore[no-untyped-def]  # Dagster can't read our hints
        events: StepEvents = step.run(context)
        yield from events

    priority = {PRIORITY_TAG: str(settings.priority)} if settings.priority is not None else {}
    return dg.multi_asset(
        name=step_name(project, task),
        specs=[_asset_spec(project, workflow, pipeline, task, settings)],
        retry_policy=_retry_policy(settings),
        pool=settings.pool,
        op_tags={PROJECT_TAG: project.name, PIPELINE_TAG: pipeline.name, **priority},
    )(compute)


def _asset_spec(
    project: Project,
    workflow: Workflow,
    pipeline: Pipeline,
    task: TaskSpec,
    settings: PipelineSettings,
) -> dg.AssetSpec:
    owner = settings.owner
    kinds = {task.type, *([task.executor.type] if task.executor else [])}
    return dg.AssetSpec(
        key=task_key(project, task),
        group_name=dagster_name(pipeline.name),
        deps=[named_key(project, name) for name in pipeline.awaited(task)],
        description=str(task.get("description") or "") or None,
        owners=[owner] if owner and is_owner(owner) else [],
        tags={"liminal/owner": _tag_value(owner)} if owner and not is_owner(owner) else {},
        kinds={kind for kind in kinds if kind},
        code_version=task_version(task, workflow),
        metadata={
            **metadata_of(_told(task, settings)),
            **code_references([(task.locate(), "liminal.yml")]),
        },
    )


def _told(task: TaskSpec, settings: PipelineSettings) -> Mapping[str, Any]:
    """What the asset's page shows of a task: names of variables and secrets, never values."""
    variables = task.get("env_vars")
    command = task.get("cmd")
    return {
        "command": Markdown(f"```sh\n{command}\n```") if command else None,
        "image": task.get("image"),
        "executor": task.executor.name if task.executor else None,
        "env_vars": sorted(map(str, variables)) if isinstance(variables, Mapping) else None,
        "volumes": _listed(task, "mounts", "volume"),
        "secrets": _listed(task, "secrets", "secret"),
        "owner": settings.owner,
    }


def _listed(task: TaskSpec, key: str, name: str) -> list[str] | None:
    items = task.get(key)
    if not isinstance(items, list):
        return None
    return [str(item.get(name)) for item in items if isinstance(item, Mapping)] or None


def _plain(values: Mapping[str, Any] | None) -> Any:
    """A pipeline's arguments as JSON has them; those of pods may hold values of variables."""
    shown = {key: value for key, value in (values or {}).items() if key not in ("env_vars", "env")}
    return json.loads(json.dumps(shown, default=str)) if shown else None


def _retry_policy(settings: PipelineSettings) -> dg.RetryPolicy | None:
    if not settings.retries:
        return None
    return dg.RetryPolicy(
        max_retries=settings.retries,
        delay=settings.retry_delay.total_seconds(),
        backoff=dg.Backoff.EXPONENTIAL if settings.exponential else None,
    )


def _description(pipeline: Pipeline, settings: PipelineSettings) -> str:
    said = pipeline.get("description")
    text = [str(said)] if said and pipeline.locate("description").file != str(BASE_FILE) else []
    if settings.timeout:
        text.append(f"At most {settings.timeout.total_seconds() / 60:g} minutes.")
    if settings.depends_on_past:
        text.append("A scheduled run needs the success of the run before.")
    return " ".join(text) or f"The tasks of {pipeline.name}, in sequence."


def _tag_value(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:63].strip("_.-")
