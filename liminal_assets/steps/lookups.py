"""Features at request time: which definition of a feature a model learned from, and where a server
finds values of just that definition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.lookups import FeatureLookups
from liminal_assets.language.models import Model
from liminal_assets.steps.signature import Signature
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.online import OnlineStore, online_url
from liminal_assets.storage.online_stores import open_store

__all__ = ["feature_source", "learned_features", "lookup_mistakes", "online_feature"]

_TAG = "liminal.features"
"""Tag of a model version: the feature that it learned from, and by which specification."""


def online_feature(project: Project, model: str) -> Feature | None:
    """The feature of a model, if its rows are in the online store."""
    block = project.blocks.get(model)
    feature = project.blocks.get(block.features) if isinstance(block, Model) else None
    return feature if isinstance(feature, Feature) and feature.online else None


def learned_features(
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
    whole = f"requests to this version must carry all columns of {feature.name}"
    try:
        sources = OnlineStore(project).state(feature).sources
    except StepError as error:
        warn(f"{whole}: {error.message}")
        return {}
    found = {sources.get(partition) for partition in partitions or [""]}
    if len(found) == 1 and (only := found.pop()):
        said = {
            "project": project.name,
            "feature": feature.name,
            "specification": only,
            "entity": list(feature.entity),
            "timestamp": feature.timestamp,
        }
        return {_TAG: json.dumps(said)}
    why = "were made by several specifications" if found - {None} else "aren't in the online store"
    warn(
        f"{whole}: some of the rows that it learned from {why}; materialise all of them and train "
        "again"
    )
    return {}


def feature_source(
    project: Project, deployment: Deployment, version: ModelVersion, signature: Signature
) -> Mapping[str, Any] | None:
    """Where a version's inputs are in the online store, as its release says it; None for a model
    whose feature isn't there, or a deployment that looks nothing up. Of a version that doesn't say
    what it learned from the specification is None.

    Raises:
        StepError: how old a row is can't be told, and the deployment says how old it may be.
    """
    feature = online_feature(project, deployment.model)
    said = deployment.serve.features if deployment.serve else None
    if feature is None or said is None:
        return None
    known: dict[str, Any] = {
        "project": project.name,
        "feature": feature.name,
        "specification": None,
        "entity": list(feature.entity),
        "timestamp": feature.timestamp,
    }
    if tag := version.tags.get(_TAG):
        known = json.loads(tag)
    # the feature may have got another entity or timestamp since
    if not all(name in signature.known for name in known["entity"]):
        return None
    moment = signature.known.get(known["timestamp"] or "")
    if moment is None:
        known["timestamp"] = None
    if said.max_age and (moment is None or moment.type != "datetime"):
        raise StepError(
            f"the timestamps of {feature.name} aren't moments: how old a row is can't be told",
            location=project.locate(deployment, "serve", "features", "max_age"),
        )
    return known


def lookup_mistakes(project: Project) -> Iterator[Diagnostic]:
    """What can be known to be wrong with features at request time, and with their store."""
    if any(feature.online for feature in project.spec.features):
        try:
            open_store(online_url(project)).close()
        except StepError as error:
            at = project.locate(project.spec.storage, "online")
            yield Diagnostic(at, "online-store", error.message, error.hint)
    for deployment in project.spec.deployments:
        said = deployment.serve.features if deployment.serve else None
        # what 'liminal resolve' writes says the defaults too
        if said is None or said.model_dump() == FeatureLookups().model_dump():
            continue
        at = project.locate(deployment, "serve", "features", key=True)
        feature = online_feature(project, deployment.model)
        if feature is None:
            message = f"the feature of {deployment.model} isn't in the online store"
            yield Diagnostic(at, "online-store", message, "it says 'online: true' if it should be")
        elif said.max_age and not feature.timestamp:
            at = project.locate(deployment, "serve", "features", "max_age")
            message = f"{feature.name} has no timestamp: how old a row is can't be told"
            yield Diagnostic(at, "online-store", message)
