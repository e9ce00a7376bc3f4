"""How the workers of a deployment look features up, resolved from the project."""

from __future__ import annotations

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.serving.features.lookups import LookupConfig
from liminal_assets.steps.lookups import online_feature
from liminal_assets.storage.online import online_url

__all__ = ["lookup_config"]


def lookup_config(
    project: Project, deployment: Deployment, *, elsewhere: bool = False
) -> LookupConfig | None:
    """What workers are told; None where nothing is looked up.

    Args:
        elsewhere: whether they run on other machines, which don't have the files of this one.
    """
    said = deployment.serve.features if deployment.serve else None
    if said is None or online_feature(project, deployment.model) is None:
        return None
    url = online_url(project)
    if elsewhere and url.startswith("sqlite"):
        return None
    return LookupConfig(
        url,
        missing=said.missing,
        max_age_seconds=said.max_age.total_seconds() if said.max_age else None,
        stale=said.stale,
        timeout_seconds=said.timeout.total_seconds(),
        required=said.required,
    )
