"""What is wrong with the models of a project and takes imports to know; nothing is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Categorical, Model, Numeric, Range
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.estimators import parameters_of, task_of, unfitted
from liminal_assets.steps.metrics import Task, UnknownMetricError, metric_of
from liminal_assets.steps.prepare import with_values

__all__ = ["model_mistakes"]


def model_mistakes(project: Project) -> Iterator[Diagnostic]:
    """Every mistake in what models refer to: estimators, their parameters, metrics, and the
    space of the search, each at its line; and in the metrics of monitors."""
    for model in project.spec.models:
        yield from _mistakes(project, model)
    for monitor in project.spec.monitors:
        if monitor.performance:
            path = ("performance", "metric")
            yield from _metric(project, monitor, monitor.performance.metric, None, *path)


def _mistakes(project: Project, model: Model) -> Iterator[Diagnostic]:
    task: Task | None = model.task
    try:
        known = parameters_of(project, model)
    except StepError as error:
        # without the estimator there is nothing to hold its parameters against
        yield _diagnostic(project, model, "estimator", error)
        yield from _metrics(project, model, task)
        return
    unknown = [name for name in model.params if known is not None and name not in known]
    for name in unknown:
        yield Diagnostic(
            project.locate(model, "params", name, key=True),
            "unknown-parameter",
            f"{_said(model)} has no parameter {name!r}",
            did_you_mean(name, known or ()),
        )
    if not unknown:
        try:
            task = task_of(project, model, unfitted(project, model))
        except StepError as error:
            yield _diagnostic(project, model, "estimator", error)
    yield from _metrics(project, model, task)
    if model.tune:
        for name, space in model.tune.space.items():
            yield from _space(project, model, name, space, known)


def _metrics(project: Project, model: Model, task: Task | None) -> Iterator[Diagnostic]:
    def check(name: str, *path: str | int) -> Iterator[Diagnostic]:
        return _metric(project, model, name, task, *path)

    for index, name in enumerate(model.evaluate.metrics):
        yield from check(name, "evaluate", "metrics", index)
    for index, rule in enumerate(model.validate_):
        if rule.metric:
            yield from check(rule.metric, "validate", index, "metric")
    if model.tune:
        yield from check(model.tune.metric, "tune", "metric")


def _metric(
    project: Project, block: Model | Monitor, name: str, task: Task | None, *path: str | int
) -> Iterator[Diagnostic]:
    try:
        metric_of(name, task)
    except UnknownMetricError as error:
        yield Diagnostic(project.locate(block, *path), "unknown-metric", error.message, error.hint)


def _space(
    project: Project, model: Model, name: str, space: Range, known: frozenset[str] | None
) -> Iterator[Diagnostic]:
    at = project.locate(model, "tune", "space", name, key=True)
    prefix = "prepare__"
    if not name.startswith(prefix):
        if known is not None and name not in known:
            message = f"{_said(model)} has no parameter {name!r} to search for"
            yield Diagnostic(at, "unknown-parameter", message, did_you_mean(name, known))
        return
    path = name.removeprefix(prefix)
    options = {
        f"{part}__{option}"
        for part, kind in (("numeric", Numeric), ("categorical", Categorical))
        for option in kind.model_fields
    }
    if path not in options:
        hint = did_you_mean(path, options) or "such as prepare__numeric__scale"
        yield Diagnostic(at, "unknown-parameter", f"there is no preparation {path!r}", hint)
        return
    values: tuple[Any, ...] = space.choices or (space.low, space.high)
    for value in values:
        try:
            with_values(model.prepare, {path: value})
        except ValueError:
            at = project.locate(model, "tune", "space", name)
            message = f"{value!r} is no value of prepare: {path.replace('__', ': ')}"
            yield Diagnostic(at, "invalid-value", message)


def _diagnostic(project: Project, model: Model, code: str, error: StepError) -> Diagnostic:
    at = error.location or project.locate(model)
    return Diagnostic(at, code, error.message, error.hint)


def _said(model: Model) -> str:
    return model.python or (model.estimator or "").rpartition(".")[2]
