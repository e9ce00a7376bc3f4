"""Volumes, secrets and services of a project as Kubernetes resources: plain mappings."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from liminal_assets.apache.images.dockerfiles import USER
from liminal_assets.apache.services import Server, servers_of
from liminal_assets.apache.volumes import local_folder
from liminal_assets.apache.workflow import Item, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.mounts import SECRET_KEY
from liminal_assets.serving.endpoints import HEALTH, READY

__all__ = [
    "Manifest",
    "claim_name",
    "resource_name",
    "secret_manifests",
    "service_manifests",
    "volume_manifests",
]

Manifest = dict[str, Any]

_PORT = 8080
"""Where our server listens in a pod: a user that isn't root may."""
_STORAGE = "local-storage"
_SIZE = "100Gi"


def resource_name(name: str) -> str:
    """A name as Kubernetes allows it (RFC 1123): ``my_server`` → ``my-server``."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    return plain[:63].rstrip("-") or "unnamed"


def claim_name(volume: Item) -> str:
    """What the claim of a volume is called."""
    return str(volume.get("claim_name") or f"{volume.name}-pvc")


def volume_manifests(workflow: Workflow, namespace: str) -> Iterator[Manifest]:
    """The volume and its claim for each local volume. One without ``local`` is somebody else's:
    its claim must be there."""
    for volume in workflow.volumes.values():
        path = local_folder(volume, workflow)
        if path is None:
            continue
        size = str(volume.get("size", _SIZE))
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume.name, "labels": _labels(workflow)},
            "spec": {
                "capacity": {"storage": size},
                "volumeMode": "Filesystem",
                "accessModes": ["ReadWriteOnce"],
                # the folder is the user's: it stays whatever happens to the claim
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": _STORAGE,
                "local": {"path": str(path)},
                "nodeAffinity": _ANY_NODE,
            },
        }
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": _metadata(claim_name(volume), namespace, workflow),
            "spec": {
                "volumeName": volume.name,
                "volumeMode": "Filesystem",
                "storageClassName": _STORAGE,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}},
            },
        }


_ANY_NODE = {
    "required": {
        "nodeSelectorTerms": [
            {
                "matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [""]}
                ]
            }
        ]
    }
}


def secret_manifests(workflow: Workflow, namespace: str) -> Iterator[Manifest]:
    """A secret for each file of this machine that ``secrets`` names.

    Raises:
        StepError: the file isn't there, or can't be read.
    """
    for secret in workflow.secrets.values():
        written = secret.get("local_path_file")
        if written is None:
            continue
        path = workflow.root / Path(str(written)).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StepError(
                f"the file of the secret {secret.name} can't be read: {path}: {error.strerror}",
                location=secret.locate("local_path_file"),
            ) from None
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": _metadata(secret.name, namespace, workflow),
            "data": {SECRET_KEY: base64.b64encode(content).decode("ascii")},
        }


def service_manifests(workflow: Workflow, namespace: str) -> Iterator[Manifest]:
    """A Deployment and a Service for each service of a project.

    Raises:
        StepError: a service names no image.
    """
    for server in servers_of(workflow):
        yield _deployment(server, namespace)
        yield _service(server, namespace)


def _deployment(server: Server, namespace: str) -> Manifest:
    workflow, name = server.workflow, resource_name(server.name)
    volumes, mounts = _mounts(server)
    context: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if server.has_functions:
        context |= {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(name, namespace, workflow, name),
        "spec": {
            "replicas": int(server.service.get("replicas", 1)),
            "selector": {"matchLabels": _selector(workflow, name)},
            "template": {
                "metadata": {"labels": _labels(workflow, name)},
                "spec": {
                    "automountServiceAccountToken": False,
                    "securityContext": context,
                    "containers": [_container(server, name, mounts)],
                    **({"volumes": volumes} if volumes else {}),
                },
            },
        },
    }


def _container(server: Server, name: str, mounts: list[Manifest]) -> Manifest:
    image = server.image_name
    if image is None:
        raise StepError(
            f"the service {server.name} names no image, so a cluster can't run it",
            location=server.service.locate(),
            hint="'image:' names one of 'images:', which 'liminal build' builds",
        )
    port = _PORT if server.has_functions else server.port or 80
    variables = {**server.environment}
    security: dict[str, Any] = {"allowPrivilegeEscalation": False}
    if server.has_functions:
        variables["PORT"] = str(port)
        security["capabilities"] = {"drop": ["ALL"]}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": str(server.service.get("image_pull_policy", "IfNotPresent")),
        "ports": [{"name": "http", "containerPort": port}],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "resources": _resources(server),
        "securityContext": security,
        **_probes(server),
        **({"volumeMounts": mounts} if mounts else {}),
    }


def _resources(server: Server) -> Manifest:
    written = server.service.get("resources")
    if isinstance(written, Mapping):
        return {key: dict(value) for key, value in written.items() if isinstance(value, Mapping)}
    requests = {"cpu": "100m", "memory": "256Mi"}
    return {"requests": requests, "limits": {"memory": "1Gi"}}


def _probes(server: Server) -> Manifest:
    """Whether it has begun, may be asked, and is to be started again."""
    if not server.has_functions:
        asked: Manifest = {"tcpSocket": {"port": "http"}}
        return {"readinessProbe": {**asked, "periodSeconds": 5}}
    ready, alive = ({"httpGet": {"path": path, "port": "http"}} for path in (READY, HEALTH))
    return {
        # modules that take long to import have five minutes
        "startupProbe": {**ready, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 3},
        "livenessProbe": {
            **alive,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _service(server: Server, namespace: str) -> Manifest:
    name = resource_name(server.name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name, namespace, server.workflow, name),
        "spec": {
            "type": "ClusterIP",
            "selector": _selector(server.workflow, name),
            "ports": [{"name": "http", "port": server.port or 80, "targetPort": "http"}],
        },
    }


def _mounts(server: Server) -> tuple[list[Manifest], list[Manifest]]:
    """The volumes of a pod, and where its container sees them."""
    volumes: dict[str, Manifest] = {}
    mounts: list[Manifest] = []
    for mount in server.mounting.get("mounts", ()):
        name = str(mount["volume"])
        volume = server.workflow.volumes.get(name)
        claim = claim_name(volume) if volume else f"{name}-pvc"
        key = resource_name(name)
        volumes[key] = {"name": key, "persistentVolumeClaim": {"claimName": claim}}
        mounts.append(_mount(key, mount, str(mount["path"])))
    for secret in server.service.get("secrets", ()):
        key = resource_name(f"secret-{secret['secret']}")
        volumes[key] = {"name": key, "secret": {"secretName": str(secret["secret"])}}
        mounts.append(_mount(key, secret, str(secret["remote_path"])))
    return list(volumes.values()), mounts


def _mount(name: str, written: Mapping[str, Any], path: str) -> Manifest:
    mount: Manifest = {"name": name, "mountPath": path}
    if written.get("sub_path"):
        mount["subPath"] = str(written["sub_path"])
    if written.get("read_only"):
        mount["readOnly"] = True
    return mount


def _metadata(
    name: str, namespace: str, workflow: Workflow, service: str | None = None
) -> Manifest:
    return {"name": name, "namespace": namespace, "labels": _labels(workflow, service)}


def _selector(workflow: Workflow, service: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": service,
        "app.kubernetes.io/part-of": resource_name(workflow.name),
    }


def _labels(workflow: Workflow, service: str | None = None) -> dict[str, str]:
    """The recommended labels.

    References: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels
    """
    labels = {
        "app.kubernetes.io/managed-by": "liminal",
        "app.kubernetes.io/part-of": resource_name(workflow.name),
    }
    return {**labels, "app.kubernetes.io/name": service} if service else labels
