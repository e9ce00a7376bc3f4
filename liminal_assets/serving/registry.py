"""Versions to serve from a project's registry: the champion of a deployment's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.champion import reference_rows
from liminal_assets.steps.identity import carried_fields
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.registry import ModelRegistry

__all__ = ["RegistrySource"]


class RegistrySource:
    """The champion of a deployment's model, wherever the alias moves."""

    def __init__(self, project: Project, deployment: Deployment) -> None:
        self._project = project
        self._model = deployment.model
        self._registry = ModelRegistry(project)

    def newest(self) -> str | None:
        """The champion's version; None before the first promotion.

        Raises:
            StepError: the registry can't be read.
        """
        champion = self._registry.champion(self._model)
        return str(champion.version) if champion else None

    def load(self, version: str) -> ServedModel:
        """A version that has answered a row of its training reference.

        Raises:
            StepError: its files can't be loaded, or it doesn't answer.
        """
        found = self._registry.version(self._model, version)
        signature = Signature.of(found.signature)
        return ServedModel.of(
            self._registry.load(found),
            signature.carrying(carried_fields(self._project, self._model)),
            name=found.name,
            version=str(found.version),
            run_id=found.run_id or None,
            example=self._example(version),
        )

    def waiting_for(self) -> str:
        """What to say while there is no champion."""
        return (
            f"{self._model} has no champion yet: train and validate it "
            f"('liminal run'), and this server takes it up"
        )

    def _example(self, version: str) -> Mapping[str, Any]:
        """The first reference row without nulls, else the first; none where none is kept."""
        relation = reference_rows(self._project, self._model, version)
        rows = relation.limit(100).to_arrow_table().to_pylist() if relation is not None else []
        whole = (row for row in rows if None not in row.values())
        return next(whole, rows[0] if rows else {})
