"""Features at request time: which definition of a feature a model learned from, and where a server
finds values of just that definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from liminal_assets.errors import StepError
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.storage.online import OnlineStore
from liminal_assets.storage.specifications import SPECIFICATION_TAG

__all__ = ["learned_specification", "online_feature"]


def online_feature(project: Project, model: str) -> Feature | None:
    """The feature of a model, if its rows are in the online store."""
    block = project.blocks.get(model)
    feature = project.blocks.get(block.features) if isinstance(block, Model) else None
    return feature if isinstance(feature, Feature) and feature.online else None


def learned_specification(
    project: Project, model: Model, partitions: Sequence[str], warn: Callable[[str], object]
) -> Mapping[str, str]:
    """The tag that says by which specification the rows were made that a model learns from.

    It is what the online store noted when they were made, not what the project says now. There is
    none for rows of several specifications, or where that isn't known.

    Args:
        partitions: those of the rows; none for a feature without partitions.
        warn: is told why there is no tag.
    """
    feature = online_feature(project, model.model)
    if feature is None:
        return {}
    try:
        sources = OnlineStore(project).state(feature).sources
    except StepError as error:
        warn(f"requests to this version must carry all columns of {feature.name}: {error.message}")
        return {}
    found = {sources.get(partition) for partition in partitions or [""]}
    if len(found) == 1 and (only := found.pop()):
        return {SPECIFICATION_TAG: only}
    why = "were made by several specifications" if found - {None} else "aren't in the online store"
    warn(
        f"requests to this version must carry all columns of {feature.name}: some of the rows that "
        f"it learned from {why}; materialise all of them and train again"
    )
    return {}
