"""Names: every one is unique, every reference leads somewhere, nothing runs in a circle."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from liminal_assets.language.alarm_rates import alarm_mistakes
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.deployments import OWN_TARGETS, deployment_targets
from liminal_assets.language.diagnostics import Diagnostic, Location, did_you_mean
from liminal_assets.language.environments import BLOCK_KEYS
from liminal_assets.language.partitions import partitions_of
from liminal_assets.language.source import LocatedDict, LocatedList

if TYPE_CHECKING:
    from liminal_assets.language.base import Spec
    from liminal_assets.language.features import Feature
    from liminal_assets.language.loading import Project
    from liminal_assets.language.models import Model
    from liminal_assets.language.monitors import Monitor

__all__ = ["check_references"]

_COUNTS = re.compile(r"\bcount\s*\(", re.IGNORECASE)


def check_references(
    project: Project, unusable: Mapping[str, AbstractSet[str]] | None = None
) -> list[Diagnostic]:
    """Every mistake of naming and reference in a project.

    Args:
        unusable: per section, names of blocks that the project would have if they were right; a
            reference to one is no mistake.
    """
    return [
        *_duplicates(project),
        *_references(project, unusable or {}),
        *_cut_twice(project),
        *_masked(project),
        *_counting(project),
        *_rollouts(project),
        *_targets(project),
        *_cycles(project),
        *alarm_mistakes(project),
    ]


def _duplicates(project: Project) -> Iterator[Diagnostic]:
    assets: dict[str, Spec] = {}
    for section, key in BLOCK_KEYS.items():
        # assets share one name space, so that a reference needs no kind
        seen: dict[str, Spec] = {} if section in ("connections", "alerts", "schedules") else assets
        for block in getattr(project.spec, section):
            name = getattr(block, key)
            if name in seen:
                first = project.locate(seen[name], key)
                yield Diagnostic(
                    project.locate(block, key),
                    "duplicate-name",
                    f"the name {name!r} is taken",
                    f"the first is at line {first.line}",
                )
            else:
                seen[name] = block
    for pipeline in project.workflow.pipelines.values() if project.workflow else ():
        if pipeline.name in assets:
            at = pipeline.locate("pipeline")
            first = project.locate(assets[pipeline.name])
            hint = f"a block has it at line {first.line}"
            yield Diagnostic(at, "duplicate-name", f"the name {pipeline.name!r} is taken", hint)


def _references(project: Project, unusable: Mapping[str, AbstractSet[str]]) -> Iterator[Diagnostic]:
    spec = project.spec

    def names(section: str) -> set[str]:
        key = BLOCK_KEYS[section]
        return {getattr(block, key) for block in getattr(spec, section)} | unusable.get(
            section, set()
        )

    models, deployments, alerts = names("models"), names("deployments"), names("alerts")
    tables = names("datasets") | names("features")
    everything = tables | models | deployments | names("monitors")
    connections = names("connections")

    def check(
        name: str, known: set[str], kind: str, block: Spec, *path: str | int, key: bool = False
    ) -> Iterator[Diagnostic]:
        if name in known:
            return
        hint = did_you_mean(name, known)
        if name in everything:
            hint = f"{name!r} is no {kind}"
        at = project.locate(block, *path, key=key)
        yield Diagnostic(at, "unknown-reference", f"no {kind} is called {name!r}", hint)

    tasks = set(project.workflow.tasks) if project.workflow else set()
    # pipelines that can't be read are told elsewhere
    lost = project.workflow is None and "pipelines" in (project.document or ())
    waiting: list[Dataset | Feature | Model] = [*spec.datasets, *spec.features, *spec.models]
    for block in waiting:
        for name in () if lost else block.after:
            kind = "block or task" if tasks else "block"
            yield from check(name, everything | tasks, kind, block, "after")
    yield from _of_tasks(project, everything | tasks, unusable.get("datasets", set()))
    for dataset in spec.datasets:
        yield from _connection_of(project, dataset, connections)
        if dataset.clean:
            for name in dataset.clean.from_:
                yield from check(name, tables, "dataset", dataset, "clean", "from")
    for feature in spec.features:
        for name in feature.from_:
            yield from check(name, tables, "dataset or feature", feature, "from", name, key=True)
    for model in spec.models:
        yield from check(model.features, tables, "feature", model, "features")
    for deployment in spec.deployments:
        yield from check(deployment.model, models, "model", deployment, "model")
        if batch := deployment.batch:
            yield from check(batch.from_, tables, "feature", deployment, "batch", "from")
            if batch.to and batch.to.table:
                path = ("batch", "to", "connection")
                target = batch.to.connection
                yield from _connection(project, target, connections, deployment, *path)
        logged = deployment.serve.log_predictions if deployment.serve else None
        if logged and logged.to:
            at = ("serve", "log_predictions", "to", "connection")
            target = logged.to.connection
            yield from _connection(project, target, connections, deployment, *at)
    for monitor in spec.monitors:
        yield from check(monitor.deployment, deployments, "deployment", monitor, "deployment")
        if monitor.labels and not monitor.labels.from_feedback:
            labels = monitor.labels.from_
            yield from check(labels, tables, "dataset", monitor, "performance", "labels", "from")
        elif monitor.labels:
            yield from _kept(project, monitor)
        if policy := monitor.policy:
            keys = ("retrain", "model") if monitor.retrain else ("on_breach", "retrain")
            yield from check(policy.model, models, "model", monitor, *keys)
        for name in monitor.on_breach.alert:
            yield from check(name, alerts, "alert", monitor, "on_breach", "alert")
    for schedule in spec.schedules:
        for name in schedule.refresh:
            yield from check(name, everything, "block", schedule, "refresh")


def _cut_twice(project: Project) -> Iterator[Diagnostic]:
    """Monitors with partitions of batch scores, which have their own."""
    batch = {block.name for block in project.spec.deployments if block.batch}
    for monitor in project.spec.monitors:
        if monitor.partitions and monitor.deployment in batch:
            yield Diagnostic(
                project.locate(monitor, "partitions", key=True),
                "invalid-value",
                f"{monitor.deployment} scores in batches: a window is a partition of the scores",
                "take it out here; the scores are cut as the rows are that they are made of",
            )


def _masked(project: Project) -> Iterator[Diagnostic]:
    """Columns that a monitor names and the log doesn't hold as they were."""
    deployments = {block.name: block for block in project.spec.deployments}
    for monitor in project.spec.monitors:
        deployment = deployments.get(monitor.deployment)
        logged = deployment.serve.log_predictions if deployment and deployment.serve else None
        if logged is None:
            continue
        named: list[tuple[str, tuple[str | int, ...]]] = []
        if monitor.drift:
            watched = (c for c, how in monitor.drift.columns.items() if not how.ignore)
            named += [(column, ("drift", "columns", column)) for column in watched]
        if monitor.labels:
            keys = monitor.labels.key
            named += [(column, ("performance", "labels", "key")) for column in keys]
        for column, path in named:
            if column in logged.mask:
                yield Diagnostic(
                    project.locate(monitor, *path, key=path[0] == "drift"),
                    "masked-column",
                    f"{column!r} can't be watched: the prediction log of {monitor.deployment} "
                    "masks it",
                    "take it out here, or out of 'log_predictions: {mask: …}'",
                )


def _rollouts(project: Project) -> Iterator[Diagnostic]:
    """What a rollout needs of the rest of the project."""
    for block in project.spec.deployments:
        rollout, serve = block.rollout, block.serve
        logged = serve.log_predictions if serve else None
        if rollout.rollback_on.metric is not None and logged is None:
            yield Diagnostic(
                project.locate(block, "rollout", "rollback_on", "metric"),
                "no-log",
                "labels are joined to logged answers, and this deployment logs none",
                "take out 'log_predictions: false'",
            )
        for index, column in enumerate(rollout.slices):
            if logged and column in logged.mask:
                yield Diagnostic(
                    project.locate(block, "rollout", "slices", index),
                    "masked-column",
                    f"{column!r} can't be a slice: its values would be shown, and the prediction "
                    "log masks them",
                    "take it out here, or out of 'log_predictions: {mask: …}'",
                )
        if rollout.by_entity and not _has_entity(project, block.model):
            yield Diagnostic(
                project.locate(block, "rollout", "sticky"),
                "no-entity",
                f"{block.model} learns from no feature with an entity",
                "name a header instead",
            )


def _has_entity(project: Project, name: str) -> bool:
    """Whether rows of a model say what they are about; a name that leads nowhere is told
    elsewhere."""
    models = {model.name: model for model in project.spec.models}
    features = {feature.name: feature for feature in project.spec.features}
    if name not in models:
        return True
    if models[name].features not in features:
        return models[name].features not in {block.name for block in project.spec.datasets}
    return bool(features[models[name].features].entity)


def _kept(project: Project, monitor: Monitor) -> Iterator[Diagnostic]:
    """Labels from feedback that no server takes."""
    block = project.blocks.get(monitor.deployment)
    serve = getattr(block, "serve", None)
    if serve is not None and serve.log_predictions is None:
        at = project.locate(monitor, "performance", "labels", "from")
        message = f"{monitor.deployment} keeps no prediction log, and so no labels"
        yield Diagnostic(at, "no-log", message, "take 'log_predictions: false' away there")


def _counting(project: Project) -> Iterator[Diagnostic]:
    """KPIs that count rows of a log which holds a share of them."""
    deployments = {block.name: block for block in project.spec.deployments}
    for monitor in project.spec.monitors:
        deployment = deployments.get(monitor.deployment)
        logged = deployment.serve.log_predictions if deployment and deployment.serve else None
        if logged is None or logged.sample >= 1:
            continue
        for index, kpi in enumerate(monitor.kpis):
            if _COUNTS.search(kpi.sql) and "sample_rate" not in kpi.sql:
                yield Diagnostic(
                    project.locate(monitor, "kpis", index, "sql"),
                    "counts-a-sample",
                    f"{kpi.kpi} counts logged rows, {logged.sample:.3g} of those answered",
                    "sum(1 / sample_rate) counts all",
                    "warning",
                )


def _of_tasks(
    project: Project, known: AbstractSet[str], unusable: AbstractSet[str]
) -> Iterator[Diagnostic]:
    """What pipelines and tasks wait for, and the datasets that tasks produce."""
    if project.workflow is None:
        return
    for pipeline in project.workflow.pipelines.values():
        for item in (pipeline, *pipeline.tasks):
            for name, at in _named(item.configuration, "after"):
                if name not in known:
                    message = f"no block or task is called {name!r}"
                    yield Diagnostic(at, "unknown-reference", message, did_you_mean(name, known))
        for task in pipeline.tasks:
            for name, at in _named(task.configuration, "produces"):
                yield from _produced(project, name, at, unusable)


def _named(configuration: LocatedDict, key: str) -> Iterator[tuple[str, Location]]:
    value = configuration.get(key)
    if isinstance(value, LocatedList):
        yield from ((str(name), at) for name, at in zip(value, value.items_at, strict=True))
    elif value is not None:
        yield str(value), configuration.values_at[key]


def _produced(
    project: Project, name: str, at: Location, unusable: AbstractSet[str]
) -> Iterator[Diagnostic]:
    datasets = {dataset.name: dataset for dataset in project.spec.datasets}
    if name not in datasets and name not in unusable:
        message = f"no dataset is called {name!r}"
        hint = did_you_mean(name, datasets) or "a dataset of this file reads what the task wrote"
        yield Diagnostic(at, "unknown-reference", message, hint)
    elif name in datasets and datasets[name].fetch is None:
        message = f"{name!r} is made of other datasets, not fetched from what a task wrote"
        yield Diagnostic(at, "invalid-value", message, "name one with 'fetch'")


def _targets(project: Project) -> Iterator[Diagnostic]:
    """Where servers run, and the files of scores."""
    for block in project.spec.deployments:
        named = block.serve.target if block.serve else "local"
        # to look for plugins takes time
        if named not in OWN_TARGETS and named not in (known := deployment_targets()):
            yield Diagnostic(
                project.locate(block, "serve", "target"),
                "unknown-target",
                f"no deployment target is called {named!r}",
                did_you_mean(named, known) or f"known: {', '.join(known)}",
            )
        file = block.batch.to.file if block.batch and block.batch.to else None
        if file and file.endswith(".parquet") and partitions_of(project, block):
            yield Diagnostic(
                project.locate(block, "batch", "to", "file"),
                "invalid-value",
                "it names one file, but there is one per partition",
                "name a folder",
            )


def _connection_of(project: Project, dataset: Dataset, known: set[str]) -> Iterator[Diagnostic]:
    fetch = dataset.fetch
    if fetch and (fetch.sql or fetch.table):
        path = ("fetch", "connection")
        yield from _connection(project, fetch.connection, known, dataset, *path)


def _connection(
    project: Project, name: str | None, known: set[str], block: Spec, *path: str
) -> Iterator[Diagnostic]:
    if name is None:
        if len(known) != 1:
            message = "it must say which connection" if known else "the project has no connections"
            names = ", ".join(sorted(known))
            choices = f"known: {names}" if known else "add one under 'connections:'"
            yield Diagnostic(project.locate(block, *path), "missing-key", message, choices)
    elif name not in known:
        hint = did_you_mean(name, known)
        at = project.locate(block, *path)
        yield Diagnostic(at, "unknown-reference", f"no connection is called {name!r}", hint)


def _cycles(project: Project) -> Iterator[Diagnostic]:
    upstream = {
        block.name: (*block.inputs, *project.awaited(block)) for block in project.spec.blocks
    }
    places = {block.name: project.locate(block) for block in project.spec.blocks}
    if project.workflow:
        tasks = project.workflow.tasks
        for pipeline in project.workflow.pipelines.values():
            for task in pipeline.tasks:
                names = pipeline.awaited(task)
                known = (tasks[n].path if n in tasks and n not in places else n for n in names)
                upstream[task.path], places[task.path] = tuple(known), task.locate()
    done: set[str] = set()
    for start in upstream:
        # iterative, for a chain may be thousands of blocks deep
        path: dict[str, None] = {start: None}
        stack = [(start, iter(upstream[start]))]
        while stack:
            current, inputs = stack[-1]
            following = next(inputs, None)
            if following is None:
                done.add(current)
                stack.pop()
                del path[current]
            elif following in path:
                found = list(path)
                circle = " → ".join([*found[found.index(following) :], following])
                yield Diagnostic(
                    places[following],
                    "cycle",
                    f"these blocks need each other: {circle}",
                    "take one of the references out",
                )
            elif following in upstream and following not in done:
                path[following] = None
                stack.append((following, iter(upstream[following])))
