"""The champion of a deployment's model, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore

if TYPE_CHECKING:
    import duckdb

    from liminal_assets.storage.model_version import ModelVersion

__all__ = ["Champion", "champion_of", "load_champion", "reference_rows"]


@dataclass(frozen=True)
class Champion:
    """A version in use and what it is made of."""

    version: ModelVersion
    pipeline: Any
    signature: Signature


def champion_of(project: Project, deployment: Deployment) -> ModelVersion:
    """The version that a deployment's model has in use.

    Raises:
        StepError: there is none yet.
    """
    found = ModelRegistry(project).champion(deployment.model)
    if found is None:
        raise StepError(
            f"{deployment.model} has no champion yet",
            location=project.locate(deployment, "model"),
            hint=f"materialise {deployment.model}__champion: it trains, validates and promotes",
        )
    return found


def load_champion(
    project: Project, deployment: Deployment, version: ModelVersion | None = None
) -> Champion:
    """The champion's fitted pipeline and signature.

    Args:
        version: that of :func:`champion_of`, where it is known.

    Raises:
        StepError: there is none yet, or its files can't be loaded.
    """
    version = version or champion_of(project, deployment)
    pipeline = ModelRegistry(project).load(version)
    return Champion(version, pipeline, Signature.of(version.signature))


def reference_rows(
    project: Project, model: str, version: int | str
) -> duckdb.DuckDBPyRelation | None:
    """The training reference of a version; None if it was never kept."""
    try:
        return TableStore(project).read(f"{model}__reference", [str(version)]).relation()
    except StepError:
        # a version registered by hand has none
        return None
