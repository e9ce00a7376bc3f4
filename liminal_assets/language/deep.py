"""What is wrong with a project and takes imports to know: user code, SQL, estimators, checks.

The one module of the language that looks into the layers above it, and only when it is called:
each part knows best what it can't run.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from liminal_assets.language.base import Spec
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.queries import readable, sql_mistakes

__all__ = ["deep_mistakes"]


def deep_mistakes(project: Project) -> list[Diagnostic]:
    """Every mistake in what a project's right blocks refer to outside of the file.

    Imports the modules of user functions, and scikit-learn or Great Expectations where models or
    checks need them; runs nothing.
    """
    return [*dict.fromkeys(mistake for find in _FINDERS for mistake in find(project))]


def _functions(project: Project) -> Iterator[Diagnostic]:
    spec = project.spec
    for dataset in spec.datasets:
        if dataset.fetch and dataset.fetch.python:
            yield from _function(project, dataset, dataset.fetch.python, (), "fetch", "python")
        if dataset.clean and dataset.clean.python:
            inputs = dataset.inputs
            yield from _function(project, dataset, dataset.clean.python, inputs, "clean", "python")
    for feature in spec.features:
        if feature.python:
            yield from _function(project, feature, feature.python, readable(feature), "python")
    yield from _endpoints(project)


def _endpoints(project: Project) -> Iterator[Diagnostic]:
    """Endpoint functions that can't be imported; those of a server elsewhere are in its image."""
    from liminal_assets.errors import StepError
    from liminal_assets.steps.functions import load_function

    for deployment in project.spec.deployments:
        serve = deployment.serve
        for index, one in enumerate(serve.endpoints if serve and serve.target == "local" else ()):
            at = project.locate(deployment, "serve", "endpoints", index)
            try:
                load_function(project, f"{one.module}:{one.function}", at)
            except StepError as error:
                yield Diagnostic(error.location or at, "function", error.message, error.hint)


def _function(
    project: Project, block: Spec, path: str, tables: tuple[str, ...] | list[str], *at: str
) -> Iterator[Diagnostic]:
    """A function that can't be imported, or whose parameters don't fit the block's inputs."""
    from liminal_assets.errors import StepError
    from liminal_assets.steps.functions import arguments_of, load_function

    location = project.locate(block, *at)
    try:
        arguments_of(load_function(project, path, location), path, tables, location)
    except StepError as error:
        yield Diagnostic(error.location or location, "function", error.message, error.hint)


def _files(project: Project) -> Iterator[Diagnostic]:
    """Local files that aren't there, unless a batch deployment or a task of the project writes
    them."""
    written = [
        project.root / deployment.batch.to.file
        for deployment in project.spec.deployments
        if deployment.batch and deployment.batch.to and deployment.batch.to.file
    ]
    tasks = project.workflow.tasks if project.workflow else {}
    for dataset in project.spec.datasets:
        if not tasks.keys().isdisjoint(project.awaited(dataset)):
            continue
        for index, name in enumerate((dataset.fetch.file or ()) if dataset.fetch else ()):
            local = name.removeprefix("file://")
            if "://" in local or any(character in local for character in "*?[{\0"):
                continue
            path = project.root / Path(local).expanduser()
            if path.is_file() or any(path.is_relative_to(folder) for folder in written):
                continue
            at = project.locate(dataset, "fetch", "file", index)
            siblings = path.parent.iterdir() if path.parent.is_dir() else ()
            near = difflib.get_close_matches(path.name, [sibling.name for sibling in siblings], 1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"a relative path starts at {project.root}"
            )
            yield Diagnostic(at, "missing-file", f"there is no file {name}", hint)


def _connections(project: Project) -> Iterator[Diagnostic]:
    """URLs of databases that Ibis has no backend for."""
    from importlib.metadata import entry_points

    known = {entry.name for entry in entry_points(group="ibis.backends")} | {"postgresql"}
    for connection in project.spec.connections:
        scheme = urlsplit(connection.url).scheme
        if scheme not in known:
            at = project.locate(connection, "url")
            message = f"Ibis has no backend for {scheme or connection.url!r}"
            hint = did_you_mean(scheme, known) or "write it as 'duckdb://file' or 'postgres://…'"
            yield Diagnostic(at, "connection", message, hint)


def _models(project: Project) -> Iterator[Diagnostic]:
    if not project.spec.models:
        return
    from liminal_assets.steps.model_mistakes import model_mistakes

    yield from model_mistakes(project)


def _expectations(project: Project) -> Iterator[Diagnostic]:
    spec = project.spec
    if not any(block.checks for block in [*spec.datasets]) and not any(
        block.checks for block in spec.features
    ):
        return
    from liminal_assets.integrations.expectations.mistakes import expectation_mistakes

    yield from expectation_mistakes(project)


def _targets(project: Project) -> Iterator[Diagnostic]:
    if not project.spec.deployments:
        return
    from liminal_assets.steps.deploy import target_mistakes

    yield from target_mistakes(project)


def _rollouts(project: Project) -> Iterator[Diagnostic]:
    if all(deployment.rollout.strategy == "all_at_once" for deployment in project.spec.deployments):
        return
    from liminal_assets.steps.rollout_mistakes import rollout_mistakes

    yield from rollout_mistakes(project)


def _protection(project: Project) -> Iterator[Diagnostic]:
    if not any(deployment.serve for deployment in project.spec.deployments):
        return
    from liminal_assets.serving.guards.protection import protection_mistakes

    yield from protection_mistakes(project)


def _lookups(project: Project) -> Iterator[Diagnostic]:
    if not any(feature.online for feature in project.spec.features) and not any(
        deployment.serve for deployment in project.spec.deployments
    ):
        return
    from liminal_assets.steps.lookups import lookup_mistakes

    yield from lookup_mistakes(project)


_Finder = Callable[[Project], Any]

_FINDERS: tuple[_Finder, ...] = (
    _functions,
    sql_mistakes,
    _files,
    _connections,
    _models,
    _expectations,
    _targets,
    _rollouts,
    _protection,
    _lookups,
)
