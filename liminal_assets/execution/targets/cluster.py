"""What targets on a cluster have in common: its resources, waiting, asking, and going away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import ClusterAccess
from liminal_assets.execution.manifests import Manifest
from liminal_assets.execution.pod_watch import HOPELESS
from liminal_assets.execution.resources import Resources
from liminal_assets.execution.targets.changes import check_ours
from liminal_assets.execution.targets.pods import Server, selector, server_name
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import PodTarget
from liminal_assets.steps.proof import Proof

__all__ = [
    "UnansweredError",
    "cluster_of",
    "condition",
    "first_prediction",
    "forget_secrets",
    "looks",
    "named",
    "pods_problem",
    "taken_away",
]

_EVERY = 1.0
"""Seconds between two looks at the cluster."""
_SETTLING = 15.0
"""Seconds in which a request may still reach a pod of the version before."""


class UnansweredError(Exception):
    """A server elsewhere gave no answer with success.

    Args:
        status: the status that came instead; None if nothing came.
        message: why.
    """

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(f"{status} {message}" if status else message)
        self.status = status
        self.message = message


def looks(seconds: float) -> Iterator[bool]:
    """Moments to look at the cluster; each says whether there is time for another."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield True
        time.sleep(_EVERY)
    yield False


def first_prediction(ask: Callable[[Any], Any], proof: Proof) -> dict[str, Any]:
    """What a server that just took over answers, or why it couldn't be asked from here.

    Args:
        ask: the answer of ``/predict`` to a body, or an :class:`UnansweredError`.

    Raises:
        StepError: the server refuses the row, or answers otherwise than the registry's model.
    """
    problem = ""
    for more in looks(_SETTLING):
        try:
            prediction = proof.check(ask({"records": [proof.row]}))
            return {"first_prediction": prediction, "asked": proof.row}
        except UnansweredError as error:
            if error.status in (400, 413, 422):
                raise StepError(
                    f"the server refused a row of the training reference: {error.message}",
                    location=proof.location,
                ) from None
            problem = str(error)
            if error.status in (401, 403, 404):
                break
        except StepError as error:
            if not error.transient or not more:
                raise
    return {"first_prediction": None, "not_asked": problem}


def cluster_of(project: Project, spec: PodTarget) -> Resources:
    """The cluster that a deployment goes to.

    Raises:
        StepError: its configuration can't be used.
    """
    file = str(project.root / spec.config_file) if spec.config_file else None
    access = ClusterAccess.of()
    if file or spec.context:
        access = ClusterAccess(False, file or access.file, spec.context)
    return Resources(access, project.locate(spec))


def pods_problem(resources: Resources, server: Server) -> tuple[str, bool]:
    """What keeps the pods of a version from being ready, if anything does, and whether time won't
    mend it."""
    for pod in resources.list(
        {"kind": "Pod", "metadata": {"namespace": server.spec.namespace}}, server.pod_labels
    ):
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting")
            if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
                reason, message = waiting.get("reason"), waiting.get("message", "")
                name = pod["metadata"]["name"]
                return f"{name}: {reason} {message}".rstrip(), reason in HOPELESS
        scheduled = condition(status, "PodScheduled")
        if scheduled.get("status") == "False":
            return f"{pod['metadata']['name']}: {scheduled.get('message', 'no node')}", False
    return "", False


def forget_secrets(resources: Resources, server: Server, before: Manifest) -> None:
    """Deletes the secrets of versions older than the one before this.

    Args:
        before: the pod's specification then; empty if there was none.
    """
    kept = {server.secret()["metadata"]["name"]}
    volumes = before.get("volumes", ())
    kept |= {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    for secret in resources.list(server.secret(), server.labels):
        if secret["metadata"]["name"] not in kept:
            resources.delete(secret)


def taken_away(
    project: Project, deployment: Deployment, spec: PodTarget, kinds: Iterable[str]
) -> bool:
    """Deletes a deployment's resources and its secrets; whether there were some.

    Raises:
        StepError: the cluster refuses, or one is somebody else's.
    """
    resources, at = cluster_of(project, spec), project.locate(spec)
    name = server_name(project, deployment)
    targets = [named(kind, name, spec.namespace) for kind in kinds]
    for target in targets:
        check_ours(resources.read(target), at)
    secrets = resources.list(named("Secret", "", spec.namespace), selector(project, deployment))
    gone = [resources.delete(item) for item in [*targets, *secrets]]
    return any(gone)


def named(kind: str, name: str, namespace: str) -> Manifest:
    """What of a manifest names its resource."""
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}}


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of some type in a resource's status; empty if there is none yet."""
    conditions: list[Mapping[str, Any]] = status.get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), {})
