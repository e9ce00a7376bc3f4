"""A project with its Dagster definitions and its persistent instance, opened for a command."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import click
import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.repository_definition import RepositoryDefinition
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from liminal_assets.cli.instance import open_command_instance
from liminal_assets.cli.output import label_of
from liminal_assets.errors import StepError
from liminal_assets.factories.build import build_definitions
from liminal_assets.factories.common import task_key
from liminal_assets.factories.pipelines import pipelines_of
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project

__all__ = ["CODE_LOCATION", "Session", "open_session", "quiet_warnings"]

CODE_LOCATION = "liminal_assets.definitions"
"""The module of the code location and, as in ``workspace.yaml``, its name."""


@dataclass(frozen=True)
class Session:
    """What commands work with."""

    project: Project
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    @cached_property
    def repository(self) -> RepositoryDefinition:
        """Dagster's repository of the project."""
        return self.definitions.get_repository_def()

    @cached_property
    def job(self) -> dg.JobDefinition:
        """The job that holds every asset."""
        return self.definitions.resolve_implicit_global_asset_job_def()

    @cached_property
    def graph(self) -> AssetGraph:
        """Every asset and what it depends on."""
        return self.repository.asset_graph

    @property
    def origin(self) -> RemoteRepositoryOrigin:
        """Where Dagster's UI and daemon find the project."""
        target = LoadableTargetOrigin(executable_path=sys.executable, module_name=CODE_LOCATION)
        location = ManagedGrpcPythonEnvCodeLocationOrigin(target, CODE_LOCATION)
        return RemoteRepositoryOrigin(location, self.repository.name)

    def expose(self) -> None:
        """Lets :mod:`liminal_assets.definitions`, imported in this process or a child, load this
        project in this environment, as Dagster's own code servers do."""
        os.environ["LIMINAL_PROJECT"] = str(self.project.place)
        if self.project.environment:
            os.environ["LIMINAL_ENV"] = self.project.environment

    @cached_property
    def keys(self) -> Set[dg.AssetKey]:
        """Every asset that a run can make."""
        return frozenset(self.graph.executable_asset_keys)

    def latest_checks(self, key: dg.AssetKey) -> dict[str, bool]:
        """Whether each check of an asset passed when it was last run."""
        checks = self.graph.get_check_keys_for_assets({key})
        storage = self.instance.event_log_storage
        latest = storage.get_latest_asset_check_execution_by_key(sorted(checks))
        told = {
            check.name: record.event.dagster_event
            for check, record in latest.items()
            if record.event is not None
        }
        return {
            name: event.asset_check_evaluation_data.passed
            for name, event in told.items()
            if event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION"
        }

    def together(self, keys: Set[dg.AssetKey]) -> Set[dg.AssetKey]:
        """Some assets and those that the same step makes with them."""
        found = set(keys)
        for key in keys:
            assets = self.graph.get(key).assets_def
            if not assets.can_subset:
                found |= assets.keys
        return found & self.keys

    def select(self, selection: str | None) -> Set[dg.AssetKey]:
        """The assets that Dagster's selection syntax means; a block's bare name is short for its
        key, also with a ``+`` before or after it. ``pipeline/task`` is a task, and the name of a
        pipeline all of its tasks.

        Raises:
            click.UsageError: it can't be parsed, or selects nothing.
        """
        if selection is None:
            return self.keys
        names = {label_of(key): f'key:"{"/".join(key.path)}"' for key in self.keys}
        for pipeline in pipelines_of(self.project):
            tasks = (task_key(self.project, task) for task in pipeline.tasks)
            parts = (f'key:"{"/".join(key.path)}"' for key in tasks)
            names[pipeline.name] = f"({' or '.join(parts)})"
        for word in _BARE.findall(selection):
            if word not in names and word not in _WORDS:
                hint = did_you_mean(word, names)
                raise click.UsageError(
                    f"--select: nothing is called {word!r}" + (f" ({hint})" if hint else "")
                )
        text = _BARE.sub(lambda match: names.get(match[0], match[0]), selection)
        try:
            chosen = dg.AssetSelection.from_string(text).resolve(self.graph)
        except dg.DagsterError as error:
            message = str(error).strip().split("\n")[0]
            raise click.UsageError(f"--select {selection!r}: {message}") from None
        keys = self.together(frozenset(chosen) & self.keys)
        if not keys:
            raise click.UsageError(f"--select {selection!r} selects nothing")
        return keys


_BARE = re.compile(r"""(?<![\w:"'/*.-])[A-Za-z][\w-]*(?:/[\w-]+)*(?![\w:"'/*(.-])""")
"""Words of a selection that stand for themselves: no attribute, value or function."""
_WORDS = {"and", "or", "not", "AND", "OR", "NOT"}


@contextmanager
def open_session(project: Project) -> Iterator[Session]:
    """The project's definitions and its instance, closed at the end.

    Raises:
        StepError: the databases of Dagster's state can't be opened.
    """
    quiet_warnings()
    definitions = build_definitions(project)
    try:
        instance = open_command_instance(project.home)
        # the storages connect when they are first asked
        instance.get_runs_count()
    except Exception as error:
        kind = type(error).__name__
        first = str(error).strip().split("\n")[0]
        raise StepError(
            f"cannot open Dagster's state: {kind}: {first}",
            hint="is LIMINAL_POSTGRES_URL right, and may the state folder be written?",
        ) from error
    with instance:
        yield Session(project, instance, definitions)


def quiet_warnings() -> None:
    """Warnings for the authors of libraries don't reach the users of the command."""
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
