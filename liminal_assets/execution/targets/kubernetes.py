"""``target: kubernetes``: a Deployment of the model server, and what belongs to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from liminal_assets.execution.clusters import refusal
from liminal_assets.execution.manifests import Manifest
from liminal_assets.execution.resources import Resources
from liminal_assets.execution.targets.changes import Changes
from liminal_assets.execution.targets.cluster import ClusterTarget, UnansweredError, condition
from liminal_assets.execution.targets.pods import GRPC_PORT, PORT, USER, Server
from liminal_assets.language.targets import Kubernetes

__all__ = ["KubernetesTarget"]

_DRAIN = 5.0
"""Seconds that a pod which is to end still takes requests, until no proxy sends it any."""
_LAST = 30
"""Seconds for what comes after: workers that don't end, and the last rows of the log."""


class KubernetesTarget(ClusterTarget[Kubernetes]):
    """Pods of the model server behind a Service of the cluster."""

    spec_type = Kubernetes
    kinds: ClassVar[Mapping[str, str]] = {
        "HorizontalPodAutoscaler": "autoscaling/v2",
        "PodDisruptionBudget": "policy/v1",
        "Service": "v1",
        "Deployment": "apps/v1",
    }
    main: ClassVar[str] = "Deployment"
    failure_is_final: ClassVar[bool] = True

    def take_over(self, changes: Changes, resources: Resources, server: Server) -> Manifest:
        wanted = dict(_specifications(server, self.spec_of(server.deployment)))
        changes.apply(self.manifest(server, self.main, wanted[self.main]))
        found = self.until_ready(resources, server)
        for kind in reversed(list(self.kinds)):
            if kind not in wanted:
                changes.delete(self.named(server, kind))
            elif kind != self.main:
                changes.apply(self.manifest(server, kind, wanted[kind]))
        return found

    def ask(self, resources: Resources, found: Manifest, body: Any) -> Any:
        """Asks the service by the proxy of the cluster's API, where that lets us through."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        service = {"kind": "Service", "metadata": found["metadata"]}
        try:
            return resources.ask_service(service, "http", "/predict", body)
        except ApiException as error:
            raise UnansweredError(error.status, refusal(error)) from None
        except HTTPError as error:
            raise UnansweredError(None, str(error)[:300]) from None

    def pod_of(self, main: Manifest) -> Manifest:
        pod: Manifest = main["spec"]["template"]["spec"]
        return pod

    def state_of(self, found: Manifest) -> tuple[str, str]:
        """As ``kubectl rollout status`` judges it."""
        status = found.get("status") or {}
        wanted = found["spec"].get("replicas", 1)
        counted = ("updatedReplicas", "replicas", "availableReplicas")
        seen = int(status.get("observedGeneration", 0))
        if seen >= found["metadata"].get("generation", 0) and all(
            status.get(key, 0) == wanted for key in counted
        ):
            return "ready", ""
        progressing = condition(status, "Progressing")
        failed = progressing.get("status") == "False"
        return "failed" if failed else "starting", progressing.get("message", "")

    def describe(self, found: Manifest) -> tuple[str | None, Mapping[str, Any]]:
        metadata, status = found["metadata"], found.get("status") or {}
        said = metadata.get("annotations") or {}
        ready, wanted = status.get("readyReplicas", 0), found["spec"].get("replicas", 1)
        return f"http://{metadata['name']}.{metadata['namespace']}.svc/predict", {
            "ready": f"{ready}/{wanted}",
            "revision": said.get("deployment.kubernetes.io/revision"),
        }


def _specifications(server: Server, spec: Kubernetes) -> Iterator[tuple[str, Manifest]]:
    """What the model server is on a cluster, by kind."""
    labels = {"matchLabels": server.selector}
    yield (
        "Deployment",
        {
            # an autoscaler sets the number otherwise
            **({"replicas": spec.replicas} if spec.replicas == spec.max_replicas else {}),
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": max(1, int(spec.timeout.total_seconds())),
            "selector": labels,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "template": {
                "metadata": {"labels": server.pod_labels, "annotations": server.pod_annotations},
                "spec": _pod(server, spec),
            },
        },
    )
    yield (
        "Service",
        {
            "type": "ClusterIP",
            "selector": server.selector,
            "ports": _ports(server),
        },
    )
    yield "PodDisruptionBudget", {"maxUnavailable": 1, "selector": labels}
    if spec.replicas < spec.max_replicas:
        target = {"type": "Utilization", "averageUtilization": spec.target_cpu}
        yield (
            "HorizontalPodAutoscaler",
            {
                "scaleTargetRef": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": server.name,
                },
                "minReplicas": spec.replicas,
                "maxReplicas": spec.max_replicas,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            },
        )


def _ports(server: Server) -> list[Manifest]:
    """The ports of the Service: HTTP's, and where the deployment says so gRPC's."""
    ports = {"http": 80}
    if server.config.grpc is not None:
        ports["grpc"] = server.config.grpc.port or GRPC_PORT
    return [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in ports.items()
    ]


def _pod(server: Server, spec: Kubernetes) -> Manifest:
    ready, alive = ({"httpGet": {"path": path, "port": "http"}} for path in ("/readyz", "/healthz"))
    drain = server.config.drain_wait or _DRAIN
    wait = ["python", "-c", f"import time; time.sleep({drain:g})"]
    pod = server.pod(
        "server",
        {
            "ports": [
                {"name": name, "containerPort": port, "protocol": "TCP"}
                for name, port in {"http": PORT, "grpc": GRPC_PORT}.items()
                if name == "http" or server.config.grpc is not None
            ],
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
        "terminationGracePeriodSeconds": math.ceil(drain + server.config.drain_seconds) + _LAST,
        "topologySpreadConstraints": spread,
        "securityContext": {"runAsNonRoot": True, "fsGroup": USER},
    }
