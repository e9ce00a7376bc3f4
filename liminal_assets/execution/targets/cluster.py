"""What targets on a cluster have in common: how a version gets there, proves itself and goes."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import ClusterAccess
from liminal_assets.execution.manifests import Manifest
from liminal_assets.execution.pod_watch import HOPELESS
from liminal_assets.execution.resources import Resources
from liminal_assets.execution.targets.changes import Changes, check_ours
from liminal_assets.execution.targets.pods import PREFIX, Server, selector, server_name
from liminal_assets.execution.targets.releases import (
    ReleaseTarget,
    packed_release,
    publish,
    server_config,
)
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import PodTarget
from liminal_assets.steps.deploy import Deployed, TargetStatus
from liminal_assets.steps.proof import Proof
from liminal_assets.storage.model_version import ModelVersion

__all__ = ["ClusterTarget", "UnansweredError", "condition", "looks"]

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


Spec = TypeVar("Spec", bound=PodTarget)


class ClusterTarget(ReleaseTarget[Spec]):
    """Pods of the model server, and what leads to them.

    Attributes:
        kinds: what a deployment is on a cluster, each with the version of its API, in the order in
            which it can go.
        main: the kind that tells how the version is doing.
        failure_is_final: whether one that it calls failed can't become ready any more.
    """

    kinds: ClassVar[Mapping[str, str]]
    main: ClassVar[str]
    failure_is_final: ClassVar[bool]

    @abstractmethod
    def take_over(self, changes: Changes, resources: Resources, server: Server) -> Manifest:
        """Applies what a version is, its secret left out, and waits until it answers.

        Returns:
            The resource of the main kind, by then ready.

        Raises:
            StepError: the cluster refuses it, or it doesn't get ready.
        """

    @abstractmethod
    def ask(self, resources: Resources, found: Manifest, body: Any) -> Any:
        """The answer of ``/predict``.

        Raises:
            UnansweredError: there is none.
        """

    @abstractmethod
    def pod_of(self, main: Manifest) -> Manifest:
        """The specification of the pods in a manifest of the main kind."""

    @abstractmethod
    def state_of(self, found: Manifest) -> tuple[str, str]:
        """``ready`` once all of the newest version answers, ``starting`` or ``failed``; and why it
        isn't ready, as far as the resource says."""

    @abstractmethod
    def describe(self, found: Manifest) -> tuple[str | None, Mapping[str, Any]]:
        """Where it answers, and what else people want to know."""

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        spec = self.spec_of(deployment)
        resources = _cluster_of(project, spec)
        config = server_config(project, deployment)
        with packed_release(project, deployment, version, config) as packed:
            url = publish(project, deployment, spec, packed)
            server = Server(project, deployment, spec, packed.release, url, packed.sha256, config)
        proof = Proof.of(project, deployment, version)
        with Changes(resources, project.locate(spec)) as changes:
            changes.apply(server.secret())
            found = self.take_over(changes, resources, server)
            first = _first_prediction(lambda body: self.ask(resources, found, body), proof)
            before = changes.before(self.named(server))
        _forget_secrets(resources, server, self.pod_of(before) if before else {})
        endpoint, details = self.describe(found)
        evidence = {
            "release": url,
            "release_sha256": server.sha256,
            "certificate": server.release.certificate,
        }
        return Deployed(version, endpoint, {**details, **evidence, **first})

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        spec = self.spec_of(deployment)
        name = server_name(project, deployment)
        found = _cluster_of(project, spec).read(_named(self.main, name, spec.namespace))
        if found is None:
            return TargetStatus("absent")
        state, why = self.state_of(found)
        endpoint, details = self.describe(found)
        return TargetStatus(
            state,
            (found["metadata"].get("annotations") or {}).get(f"{PREFIX}/model-version"),
            endpoint,
            {**details, **({"why": why} if why else {})},
        )

    def delete(self, project: Project, deployment: Deployment) -> bool:
        spec = self.spec_of(deployment)
        resources, at = _cluster_of(project, spec), project.locate(spec)
        name = server_name(project, deployment)
        targets = [_named(kind, name, spec.namespace) for kind in self.kinds]
        for target in targets:
            check_ours(resources.read(target), at)
        secrets = resources.list(
            _named("Secret", "", spec.namespace), selector(project, deployment)
        )
        gone = [resources.delete(item) for item in [*targets, *secrets]]
        return any(gone)

    def manifest(self, server: Server, kind: str, spec: Manifest) -> Manifest:
        """A resource of a version."""
        return {
            "apiVersion": self.kinds[kind],
            "kind": kind,
            "metadata": server.metadata(),
            "spec": spec,
        }

    def until_ready(self, resources: Resources, server: Server) -> Manifest:
        """The resource of the main kind once its newest version is ready.

        Raises:
            StepError: that takes too long, or can't come true.
        """
        why = ""
        for more in looks(server.spec.timeout.total_seconds()):
            found = resources.read(self.named(server))
            if found is None:
                break
            state, said = self.state_of(found)
            if state == "ready":
                return found
            of_pods, hopeless = _pods_problem(resources, server)
            why = of_pods or said
            if not more or hopeless or (state == "failed" and self.failure_is_final):
                break
        raise self.not_ready(server, "isn't ready", why)

    def not_ready(self, server: Server, how: str, why: str) -> StepError:
        """What is told of a version that doesn't take over."""
        return StepError(
            f"version {server.release.version} {how}: {why or 'the cluster gives no reason'}",
            location=server.project.locate(server.spec),
            hint="what answered before goes on",
        )

    def named(self, server: Server, kind: str | None = None) -> Manifest:
        """What of a manifest names the resource of a kind; default: the main one."""
        return _named(kind or self.main, server.name, server.spec.namespace)


def _first_prediction(ask: Callable[[Any], Any], proof: Proof) -> dict[str, Any]:
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


def _cluster_of(project: Project, spec: PodTarget) -> Resources:
    """The cluster that a deployment goes to.

    Raises:
        StepError: its configuration can't be used.
    """
    file = str(project.root / spec.config_file) if spec.config_file else None
    access = ClusterAccess.of()
    if file or spec.context:
        access = ClusterAccess(False, file or access.file, spec.context)
    return Resources(access, project.locate(spec))


def _pods_problem(resources: Resources, server: Server) -> tuple[str, bool]:
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


def _forget_secrets(resources: Resources, server: Server, before: Manifest) -> None:
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


def _named(kind: str, name: str, namespace: str) -> Manifest:
    """What of a manifest names its resource."""
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}}


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of some type in a resource's status; empty if there is none yet."""
    conditions: list[Mapping[str, Any]] = status.get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), {})
