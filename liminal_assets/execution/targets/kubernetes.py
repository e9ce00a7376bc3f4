"""``target: kubernetes``: a Deployment of the model server, and what belongs to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import refusal
from liminal_assets.execution.manifests import Manifest
from liminal_assets.execution.resources import Resources
from liminal_assets.execution.targets.changes import Changes
from liminal_assets.execution.targets.cluster import (
    UnansweredError,
    cluster_of,
    condition,
    first_prediction,
    forget_secrets,
    looks,
    named,
    pods_problem,
    taken_away,
)
from liminal_assets.execution.targets.pods import PORT, PREFIX, USER, Server, server_name
from liminal_assets.execution.targets.releases import (
    local_files,
    packed_release,
    publish,
    server_config,
)
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import Kubernetes
from liminal_assets.steps.deploy import Deployed, Target, TargetStatus
from liminal_assets.steps.proof import Proof
from liminal_assets.storage.registry import ModelVersion

__all__ = ["KubernetesTarget"]

_DRAIN = 5.0
"""Seconds that a pod which is to end still takes requests, until no proxy sends it any."""
_KINDS = {
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
    "Deployment": "apps/v1",
}
"""What a deployment is on a cluster, in the order in which it can go."""


class KubernetesTarget(Target):
    """Pods of the model server behind a Service of the cluster."""

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        yield from super().check(project, deployment)
        yield from local_files(project, deployment)

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        spec = _spec(deployment)
        at = project.locate(spec)
        resources = cluster_of(project, spec)
        config = server_config(project, deployment)
        with packed_release(project, deployment, version, config) as packed:
            url = publish(project, deployment, spec, packed)
            release = packed.release
            server = Server(project, deployment, spec, release, url, packed.sha256, config)
        proof = Proof.of(project, deployment, version)
        with Changes(resources, at) as changes:
            changes.apply(server.secret())
            wanted = {manifest["kind"]: manifest for manifest in _manifests(server, spec)}
            changes.apply(wanted["Deployment"])
            found = _until_complete(resources, server, spec)
            for kind in reversed(_KINDS):
                if kind not in wanted:
                    changes.delete(named(kind, server.name, spec.namespace))
                elif kind != "Deployment":
                    changes.apply(wanted[kind])
            evidence = first_prediction(_through_api(resources, wanted["Service"]), proof)
            before = changes.before(wanted["Deployment"])
        pod = before["spec"]["template"]["spec"] if before else {}
        forget_secrets(resources, server, pod)
        return Deployed(
            version,
            f"http://{server.name}.{spec.namespace}.svc/predict",
            {
                "revision": _revision(found),
                "ready_replicas": found["status"].get("readyReplicas", 0),
                "release": url,
                "release_sha256": server.sha256,
                "certificate": release.certificate,
                **evidence,
            },
        )

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        spec = _spec(deployment)
        name = server_name(project, deployment)
        found = cluster_of(project, spec).read(named("Deployment", name, spec.namespace))
        if found is None:
            return TargetStatus("absent")
        status = found.get("status") or {}
        ready, wanted = status.get("readyReplicas", 0), found["spec"].get("replicas", 1)
        failed = condition(status, "Progressing").get("status") == "False"
        said = found["metadata"].get("annotations") or {}
        return TargetStatus(
            "ready" if _complete(found) else "failed" if failed else "starting",
            said.get(f"{PREFIX}/model-version"),
            f"http://{name}.{spec.namespace}.svc/predict",
            {"ready": f"{ready}/{wanted}", "revision": _revision(found)},
        )

    def delete(self, project: Project, deployment: Deployment) -> bool:
        spec = _spec(deployment)
        return taken_away(project, deployment, spec, _KINDS)


def _manifests(server: Server, spec: Kubernetes) -> Iterator[Manifest]:
    """What the model server is on a cluster, its secret left out."""
    yield {
        "apiVersion": _KINDS["Deployment"],
        "kind": "Deployment",
        "metadata": server.metadata(),
        "spec": {
            # an autoscaler sets the number otherwise
            **({"replicas": spec.replicas} if spec.replicas == spec.max_replicas else {}),
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": max(1, int(spec.timeout.total_seconds())),
            "selector": {"matchLabels": server.selector},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "template": {
                "metadata": {"labels": server.pod_labels, "annotations": server.pod_annotations},
                "spec": _pod(server, spec),
            },
        },
    }
    yield {
        "apiVersion": _KINDS["Service"],
        "kind": "Service",
        "metadata": server.metadata(),
        "spec": {
            "type": "ClusterIP",
            "selector": server.selector,
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    yield {
        "apiVersion": _KINDS["PodDisruptionBudget"],
        "kind": "PodDisruptionBudget",
        "metadata": server.metadata(),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": server.selector}},
    }
    if spec.replicas < spec.max_replicas:
        yield _autoscaler(server, spec)


def _autoscaler(server: Server, spec: Kubernetes) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": spec.target_cpu}
    return {
        "apiVersion": _KINDS["HorizontalPodAutoscaler"],
        "kind": "HorizontalPodAutoscaler",
        "metadata": server.metadata(),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": _KINDS["Deployment"],
                "kind": "Deployment",
                "name": server.name,
            },
            "minReplicas": spec.replicas,
            "maxReplicas": spec.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _pod(server: Server, spec: Kubernetes) -> Manifest:
    ready, alive = ({"httpGet": {"path": path, "port": "http"}} for path in ("/readyz", "/healthz"))
    drain = server.config.drain_wait or _DRAIN
    wait = ["python", "-c", f"import time; time.sleep({drain:g})"]
    pod = server.pod(
        "server",
        {
            "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
            "startupProbe": {
                **ready,
                "periodSeconds": 2,
                "timeoutSeconds": 3,
                "failureThreshold": max(1, int(spec.timeout.total_seconds() // 2)),
            },
            "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 3},
            "livenessProbe": {
                **alive,
                "periodSeconds": 10,
                "timeoutSeconds": 5,
                "failureThreshold": 6,
            },
            # proxies learn of the end of a pod while it is under way
            "lifecycle": {"preStop": {"exec": {"command": wait}}},
        },
    )
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": server.selector},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    return {
        **pod,
        "automountServiceAccountToken": spec.service_account is not None,
        "terminationGracePeriodSeconds": math.ceil(drain + server.config.drain_seconds) + 15,
        "topologySpreadConstraints": spread,
        "securityContext": {"runAsNonRoot": True, "fsGroup": USER},
    }


def _until_complete(resources: Resources, server: Server, spec: Kubernetes) -> Manifest:
    """The Deployment once every pod is of its newest version, and ready.

    Raises:
        StepError: that takes too long, or can't come true.
    """
    name = named("Deployment", server.name, spec.namespace)
    for more in looks(spec.timeout.total_seconds()):
        found = resources.read(name)
        if found is not None and _complete(found):
            return found
        progressing = condition((found or {}).get("status") or {}, "Progressing")
        late = progressing.get("reason") == "ProgressDeadlineExceeded" or not more
        problem, hopeless = pods_problem(resources, server)
        if found is None or late or hopeless:
            break
    why = problem or progressing.get("message") or "the cluster gives no reason"
    raise StepError(
        f"version {server.release.version} isn't ready on the cluster: {why}",
        location=server.project.locate(spec),
        hint="what answered before goes on",
    )


def _through_api(resources: Resources, service: Manifest) -> Callable[[Any], Any]:
    """Asks a service by the proxy of the cluster's API, where that lets us through."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    def ask(body: Any) -> Any:
        try:
            return resources.ask_service(service, "http", "/predict", body)
        except ApiException as error:
            raise UnansweredError(error.status, refusal(error)) from None
        except HTTPError as error:
            raise UnansweredError(None, str(error)[:300]) from None

    return ask


def _complete(found: Manifest) -> bool:
    """As ``kubectl rollout status`` judges it."""
    status = found.get("status") or {}
    wanted = found["spec"].get("replicas", 1)
    counted = ("updatedReplicas", "replicas", "availableReplicas")
    seen = int(status.get("observedGeneration", 0))
    return seen >= found["metadata"].get("generation", 0) and all(
        status.get(key, 0) == wanted for key in counted
    )


def _revision(found: Manifest) -> str | None:
    annotations = found["metadata"].get("annotations") or {}
    revision: str | None = annotations.get("deployment.kubernetes.io/revision")
    return revision


def _spec(deployment: Deployment) -> Kubernetes:
    serve = deployment.serve
    if serve is None or serve.kubernetes is None:
        raise StepError(f"{deployment.name} says nothing of kubernetes")
    return serve.kubernetes
