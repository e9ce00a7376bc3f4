"""From a registered version to a release: made where MLflow and scikit-learn are, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.serving.folders import ServingFolders
from liminal_assets.serving.forms.pipeline import copy_model
from liminal_assets.serving.release import Release, write_release
from liminal_assets.steps.champion import reference_rows
from liminal_assets.steps.identity import carried_fields
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.registry import ModelRegistry, ModelVersion
from liminal_assets.storage.tracking import import_mlflow

__all__ = ["prepare_release"]


def prepare_release(
    project: Project, deployment: Deployment, version: ModelVersion | int | str
) -> Release:
    """Makes the release of a registered version below the deployment's folder.

    Args:
        version: the version, or its number.

    Returns:
        The release as it is on disk; the same again for the same version.

    Raises:
        StepError: there is no such version, its files aren't those that were registered, or it
            is no scikit-learn model.
    """
    registry = ModelRegistry(project)
    if not isinstance(version, ModelVersion):
        version = registry.version(deployment.model, version)
    model = registry.download(version)
    described = import_mlflow().models.Model.load(str(model))
    flavor = described.flavors.get("sklearn")
    if flavor is None:
        raise StepError(
            f"version {version.version} of {version.model} is no scikit-learn model: "
            f"it has {', '.join(described.flavors)}",
            location=project.locate(deployment, "model"),
        )
    signature = Signature.of(described.signature).carrying(
        carried_fields(project, deployment.model)
    )
    release = Release(
        name=version.name,
        version=str(version.version),
        signature=signature,
        form="pipeline",
        run_id=version.run_id or None,
        digest=version.digest,
        example=_example(project, deployment.model, version, signature),
    )
    return _write(ServingFolders.of(project.state, deployment.name), release, model, flavor)


def _write(
    folders: ServingFolders, release: Release, model: Path, flavor: Mapping[str, Any]
) -> Release:
    settings: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        settings.update(copy_model(model, flavor, folder))

    return write_release(folders.releases, replace(release, settings=settings), fill)


def _example(
    project: Project, model: str, version: ModelVersion, signature: Signature
) -> dict[str, Any]:
    """The first reference row without nulls, else the first; made up where none is kept."""
    relation = reference_rows(project, model, version.version)
    rows = relation.limit(100).to_arrow_table().to_pylist() if relation is not None else []
    whole = (row for row in rows if None not in row.values())
    return signature.as_json(signature.sample(next(whole, rows[0] if rows else None)))
