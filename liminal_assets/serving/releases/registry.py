"""What a deployment should serve, from the project's registry: the champion of its model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.serving.control.plan import read_plan
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.preparation import prepare_release, warn_of_columns
from liminal_assets.serving.releases.release import Release, read_release
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.registry import ModelRegistry

__all__ = ["RegistrySource"]


class RegistrySource:
    """The champion of a deployment's model, wherever the alias moves.

    Args:
        folders: where its releases are made.
    """

    def __init__(self, project: Project, deployment: Deployment, folders: ServingFolders) -> None:
        self._project = project
        self._deployment = deployment
        self._folders = folders
        self._registry = ModelRegistry(project)

    def warn(self) -> None:
        """Warns of what has no effect on the version that answers already: its release isn't made
        again when the deployment says something else."""
        with suppress(StepError):
            key = read_plan(self._folders.plan).stable
            if key is not None:
                release = read_release(self._folders.releases / key)
                warn_of_columns(self._project, self._deployment, release)

    def newest(self) -> str | None:
        """The champion's version; None before the first promotion.

        Raises:
            StepError: the registry can't be read.
        """
        champion = self._registry.champion(self._deployment.model)
        return str(champion.version) if champion else None

    def prepare(self, version: str) -> Release:
        """A version as a release.

        Raises:
            StepError: its files aren't those that were registered, or can't be served.
        """
        return prepare_release(self._project, self._deployment, version, self._folders)

    def went_back(self, version: str) -> bool:
        """Whether somebody went back to a version, rather than on to it."""
        last = Journal(self._project, self._deployment.model).last()
        return last is not None and last.action == "rollback" and str(last.champion) == version

    def take_back(self, version: str, to: str, reason: str, evidence: Mapping[str, Any]) -> None:
        """Gives the alias back to an earlier version, unless it moved on meanwhile.

        Raises:
            StepError: the registry refuses.
        """
        self._registry.rollback(
            self._deployment.model, to, reason, evidence, actor="rollout", expected=int(version)
        )

    def waiting_for(self) -> str:
        """What to say while there is no champion."""
        return (
            f"{self._deployment.model} has no champion yet: train and validate it "
            f"('liminal run'), and this server takes it up"
        )
