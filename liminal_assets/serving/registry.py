"""Versions to serve from a project's registry: the champion of a deployment's model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.signature import Signature, carried_fields
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore

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
            example=self._example(version, signature),
        )

    def waiting_for(self) -> str:
        """What to say while there is no champion."""
        return (
            f"{self._model} has no champion yet: train and validate it "
            f"('liminal run'), and this server takes it up"
        )

    def _example(self, version: str, signature: Signature) -> Mapping[str, Any]:
        """The first reference row without nulls, else the first."""
        try:
            table = TableStore(self._project).read(f"{self._model}__reference", [version])
            rows = table.relation().limit(100).to_arrow_table().to_pylist()
        except StepError:
            # an example from the signature serves as well
            return {}
        examples = [dict(_plain(row, signature)) for row in rows]
        whole = (row for row in examples if None not in row.values())
        return next(whole, examples[0] if examples else {})


def _plain(row: Mapping[str, Any], signature: Signature) -> Iterator[tuple[str, Any]]:
    """The values of a stored row in the types that a request's values are checked to be."""
    numbers = {"integer": int, "long": int, "float": float, "double": float}
    for field in signature.fields:
        value = row.get(field.name)
        if isinstance(value, float) and math.isnan(value):
            value = None
        if value is None:
            yield field.name, None
        elif convert := numbers.get(field.type):
            yield field.name, convert(value)
        elif field.type == "datetime" and isinstance(value, datetime):
            yield field.name, value.replace(tzinfo=None)
        else:
            yield field.name, str(value) if field.type == "string" else value
