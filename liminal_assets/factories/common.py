"""What every factory gives its assets: key, group, owners, kinds, code version, references."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg
from dagster._core.definitions.assets.definition.assets_definition import (
    ASSET_SUBSET_INPUT_PREFIX,
)
from dagster._core.definitions.metadata.source_code import (
    CodeReferencesMetadataSet,
    CodeReferencesMetadataValue,
    LocalFileCodeReference,
)

from liminal_assets.apache.workflow import TaskSpec
from liminal_assets.errors import StepError
from liminal_assets.factories.versions import function_file
from liminal_assets.language.base import Block, Spec
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.storage.specifications import code_version

__all__ = [
    "PROJECT_TAG",
    "StepEvents",
    "asset_key",
    "asset_spec",
    "automation_condition",
    "code_references",
    "failure_of",
    "named_key",
    "partition_keys",
    "project_of",
    "retry_policy",
    "spec_of",
    "step_asset",
    "step_failures",
    "task_key",
]

SpecT = TypeVar("SpecT", bound=Spec)
StepEvents = Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any] | dg.AssetMaterialization]

PROJECT_TAG = "liminal/project"
"""The tag of what belongs to a project, with its name."""


def spec_of(kind: type[SpecT], spec: SpecT | Mapping[str, Any] | None, **keywords: Any) -> SpecT:
    """The checked spec of a factory's arguments: a spec, a mapping or keywords as in YAML.

    Raises:
        ValueError: pydantic's, for keywords that make no such block.
    """
    if isinstance(spec, kind) and not keywords:
        return spec
    said = spec.model_dump(by_alias=True) if isinstance(spec, kind) else dict(spec or {})
    return kind.model_validate({**said, **keywords})


def project_of(project: Project | str | None, block: Spec, section: str) -> Project:
    """The project that a factory works for.

    Without one, a project of its own around the block, with the current folder as its root.
    """
    if isinstance(project, Project):
        return project
    sections: dict[str, Any] = {section: [block]}
    return Project.of(project or "liminal", check=False, **sections)


def asset_key(project: Project, name: str) -> dg.AssetKey:
    """The key of a block's asset, or of one derived from it: ``[project, name]``."""
    return dg.AssetKey([project.name, name])


def task_key(project: Project, task: TaskSpec) -> dg.AssetKey:
    """The key of a task's asset: ``[project, pipeline, task]``, where letters that Dagster's names
    can't have are underscores."""
    parts = (project.name, task.pipeline, task.name)
    return dg.AssetKey([re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts])


def named_key(project: Project, name: str) -> dg.AssetKey:
    """The key of what blocks and tasks name: a block, or a task as ``pipeline/task``."""
    tasks = project.workflow.tasks if project.workflow and name not in project.blocks else {}
    return task_key(project, tasks[name]) if name in tasks else asset_key(project, name)


def asset_spec(
    project: Project,
    block: Block,
    name: str,
    *,
    group: str,
    deps: Sequence[str | dg.AssetKey | dg.AssetDep] = (),
    kinds: Sequence[str] = (),
    functions: Sequence[str] = (),
    files: Sequence[str] = (),
    description: str | None = None,
    partitions: dg.PartitionsDefinition | None = None,
    freshness: dg.FreshnessPolicy | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    """The Dagster spec of one asset of a block.

    Args:
        name: the block's name, or a derived one (``x__quarantine``).
        group: the phase.
        deps: upstream block names, keys or dependencies.
        functions: the user functions (``module:name``) whose code it depends on.
        files: other files (SQL) whose content it depends on.
    """
    owner = block.owner or project.spec.owner
    return dg.AssetSpec(
        key=asset_key(project, name),
        group_name=group,
        deps=[asset_key(project, dep) if isinstance(dep, str) else dep for dep in deps],
        description=description or block.description,
        owners=[owner] if owner else [],
        kinds=set(kinds),
        tags=dict(block.tags),
        code_version=code_version(project, block, functions, files),
        automation_condition=automation_condition(block),
        partitions_def=partitions,
        freshness_policy=freshness,
        metadata={
            **_code_references(project, block, functions),
            **(metadata or {}),
        },
    )


def _code_references(project: Project, block: Block, functions: Sequence[str]) -> Mapping[str, Any]:
    places = [(block.location, "liminal.yml")] if block.location else []
    for function in functions:
        if found := function_file(project, function):
            path, line = found
            places.append((Location(str(path), line), function))
    return code_references(places)


def code_references(places: Sequence[tuple[Location, str]]) -> Mapping[str, Any]:
    """Metadata that links to lines of files, each with what it is called."""
    if not places:
        return {}
    references = [
        LocalFileCodeReference(file_path=at.file, line_number=at.line, label=label)
        for at, label in places
    ]
    value = CodeReferencesMetadataValue(code_references=references)
    return dict(CodeReferencesMetadataSet(code_references=value))


def partition_keys(context: dg.AssetExecutionContext) -> list[str | None]:
    """The partitions that a step is to make, in order; ``[None]`` for an asset in one piece,
    also in a run of partitions of others.

    >>> for partition in partition_keys(context): ...
    """
    partitioned = context.assets_def.partitions_def is not None
    if not partitioned or not (context.has_partition_key or context.has_partition_key_range):
        return [None]
    return list(context.partition_keys)


def automation_condition(block: Block) -> dg.AutomationCondition[Any] | None:
    """Dagster's declarative automation for ``automation:``."""
    if block.automation == "eager":
        return dg.AutomationCondition.eager()
    if block.automation == "on_missing":
        return dg.AutomationCondition.on_missing()
    return None


def retry_policy(block: Block) -> dg.RetryPolicy | None:
    """Dagster's retry policy for ``retries:``."""
    retries = block.retries
    if retries is None:
        return None
    backoff = {"linear": dg.Backoff.LINEAR, "exponential": dg.Backoff.EXPONENTIAL}
    return dg.RetryPolicy(
        max_retries=retries.max,
        delay=retries.delay.total_seconds() if retries.delay else None,
        backoff=backoff.get(retries.backoff),
    )


@contextmanager
def step_failures(project: Project, block: Block) -> Iterator[None]:
    """Turns a :class:`StepError` into Dagster's ``Failure`` that names block and YAML line.

    A failure that trying again can't mend is not retried.
    """
    try:
        yield
    except StepError as error:
        name = f"{project.name}/{getattr(block, 'name', '')}"
        raise failure_of(name, error, project.locate(block), retry=error.transient) from None


def failure_of(name: str, error: StepError, at: Location, *, retry: bool) -> dg.Failure:
    """Dagster's ``Failure`` of an error, with the place in the YAML.

    Args:
        name: the project and the block.
        at: the place of an error that names none.
        retry: whether trying again may help.
    """
    at = error.location or at
    return dg.Failure(
        description=f"{name}: {error.message}"
        + (f"\n  hint: {error.hint}" if error.hint else "")
        + f"\n  at {at}",
        metadata={"location": str(at), "problem": error.message, "hint": error.hint or ""},
        allow_retries=retry,
    )


def step_asset(
    project: Project,
    block: Block,
    step: Callable[[dg.AssetExecutionContext], StepEvents],
    *,
    specs: Sequence[dg.AssetSpec],
    checks: Sequence[dg.AssetCheckSpec] = (),
    resources: Collection[str] = (),
    can_subset: bool = False,
    resource_defs: Mapping[str, dg.ResourceDefinition] | None = None,
) -> dg.AssetsDefinition:
    """The op that makes one or more assets of a block.

    All partitions of a run are one call of ``step`` (``context.partition_keys``).

    Args:
        step: yields check results and one ``MaterializeResult`` per asset; raises
            :class:`StepError` for what is the user's to mend.
        specs: the assets, the block's main one first; all have the same partitions.
        checks: the asset checks that ``step`` reports.
        resources: keys of the Dagster resources it needs.
        can_subset: whether a run may select some of the assets; ``step`` looks at
            ``context.selected_asset_keys``.
        resource_defs: resources that it brings along, by key.
    """

    def compute(context, _inputs):  # type: ignore[no-untyped-def]  # Dagster can't read our hints
        with step_failures(project, block):
            yield from step(context)

    made = {spec.key: spec.key.to_python_identifier() for spec in specs}
    needed = {dep.asset_key: None for spec in specs for dep in spec.deps}
    inputs = {
        (ASSET_SUBSET_INPUT_PREFIX if key in made else "") + key.to_python_identifier(): key
        for key in needed
        if can_subset or key not in made
    }
    judged = {check.get_python_identifier(): check for check in checks}
    required = not can_subset
    node = dg.OpDefinition(
        compute,
        "__".join(specs[0].key.path),
        ins=dict.fromkeys(inputs, dg.In(dg.Nothing)),
        outs={
            **{
                made[spec.key]: dg.Out(
                    dg.Nothing,
                    description=spec.description,
                    is_required=required,
                    metadata=spec.metadata,
                    code_version=spec.code_version,
                )
                for spec in specs
            },
            **dict.fromkeys(judged, dg.Out(dg.Nothing, is_required=required)),
        },
        required_resource_keys={*resources, *(resource_defs or {})},
        retry_policy=retry_policy(block),
        tags={PROJECT_TAG: project.name},
        pool=block.pool,
    )
    partitioned = specs[0].partitions_def is not None
    return dg.AssetsDefinition(
        node_def=node,
        specs=specs,
        keys_by_input_name=inputs,
        keys_by_output_name={name: key for key, name in made.items()},
        check_specs_by_output_name=judged,
        can_subset=can_subset,
        resource_defs=resource_defs,
        backfill_policy=dg.BackfillPolicy.single_run() if partitioned else None,
    )
