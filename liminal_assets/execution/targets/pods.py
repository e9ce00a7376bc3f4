"""Pods of a model server: one container that fetches its release and answers from it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from liminal_assets.apache.images.dockerfiles import USER
from liminal_assets.execution.manifests import Manifest, resource_name
from liminal_assets.language.deployments import Deployment, Serve
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import PodTarget
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.releases.release import Release

__all__ = [
    "GRPC_PORT",
    "MANAGED_BY",
    "PORT",
    "PREFIX",
    "USER",
    "Server",
    "selector",
    "server_name",
]

PORT, GRPC_PORT = 8080, 8081
"""Where the server listens: a user that isn't root may."""
PREFIX = "liminal-assets"
MANAGED_BY = {"app.kubernetes.io/managed-by": "liminal"}
_CONFIG, _STORE, _SCRATCH = "/etc/liminal", "/releases", "/tmp"  # noqa: S108  # in the container
_LONGEST = 50
"""Characters of a name, to which controllers add their own."""


def server_name(project: Project, deployment: Deployment) -> str:
    """What a deployment's resources are called; one name never stands for two deployments."""
    written = f"{project.name}--{deployment.name}"
    name = resource_name(written)
    # words have single underscores, so this can be read in one way only
    if len(written) <= _LONGEST and re.fullmatch(r"[a-z][a-z0-9_]*--[a-z0-9_]+", written):
        return written.replace("_", "-")
    digest = hashlib.sha256(written.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('-')}-{digest}"


@dataclass(frozen=True)
class Server:
    """A version of a deployment, as pods see it.

    Attributes:
        project: the project.
        deployment: the deployment.
        spec: what it says of pods.
        release: the version.
        url: where its archive is.
        sha256: the archive's digest.
        config: what the server is told; may hold secrets.
    """

    project: Project
    deployment: Deployment
    spec: PodTarget
    release: Release
    url: str
    sha256: str
    config: WorkerConfig

    @property
    def name(self) -> str:
        """What its resources are called."""
        return server_name(self.project, self.deployment)

    @property
    def selector(self) -> dict[str, str]:
        """The labels that its pods have in every version."""
        return selector(self.project, self.deployment)

    @property
    def labels(self) -> dict[str, str]:
        """The recommended labels.

        References: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels
        """
        return {**self.selector, **MANAGED_BY, "app.kubernetes.io/component": "model-server"}

    @property
    def pod_labels(self) -> dict[str, str]:
        """Those of the pods of this version."""
        return {
            **self.labels,
            "app.kubernetes.io/version": self.release.version,
            f"{PREFIX}/release": self.sha256[:12],
        }

    @property
    def annotations(self) -> dict[str, str]:
        """Which version it is, in full."""
        said = {
            "model": self.release.name,
            "model-version": self.release.version,
            "mlflow-run": self.release.run_id or "",
            "model-digest": self.release.digest or "",
            "release-sha256": self.sha256,
        }
        return {f"{PREFIX}/{key}": value for key, value in said.items() if value}

    @property
    def pod_annotations(self) -> dict[str, str]:
        """Besides, where Prometheus finds its metrics."""
        scraped = {"scrape": "true", "port": str(PORT), "path": "/metrics"}
        prometheus = {f"prometheus.io/{key}": value for key, value in scraped.items()}
        return {**self.annotations, **prometheus, **self.spec.annotations}

    def metadata(self, name: str | None = None) -> Manifest:
        """The metadata of one of its resources."""
        return {
            "name": name or self.name,
            "namespace": self.spec.namespace,
            "labels": self.labels,
            "annotations": self.annotations,
        }

    def secret(self) -> Manifest:
        """What the server is told, keys of its users among it. It never changes: a version that
        is told something else has a secret of its own."""
        grpc = self.config.grpc and msgspec.structs.replace(self.config.grpc, port=GRPC_PORT)
        # before a pod's end the cluster waits already
        said = msgspec.structs.replace(self.config, drain_wait=0.0, grpc=grpc).to_json()
        name = f"{self.name}-{hashlib.sha256(said).hexdigest()[:8]}"
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "immutable": True,
            "metadata": {**self.metadata(name), "annotations": {}},
            "data": {"serving.json": base64.b64encode(said).decode("ascii")},
        }

    def pod(
        self,
        container: str,
        probes: Mapping[str, Any],
        *,
        variables: Mapping[str, str] | None = None,
        unpacked: str | None = None,
    ) -> Manifest:
        """The specification of its pods.

        Args:
            container: the name of the container.
            probes: how it is watched, and more that the container gets.
            variables: of its environment, besides our own.
            unpacked: the folder where something else unpacks the archive; default: the server does.
        """
        spec = self.spec
        optional = {
            "serviceAccountName": spec.service_account,
            "nodeSelector": dict(spec.node_selector),
            "tolerations": [dict(toleration) for toleration in spec.tolerations],
            "imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets],
        }
        return {
            "containers": [{**self._container(container, variables or {}, unpacked), **probes}],
            "volumes": self._volumes(),
            **{key: value for key, value in optional.items() if value},
        }

    def _container(self, name: str, variables: Mapping[str, str], unpacked: str | None) -> Manifest:
        spec = self.spec
        mounts: list[Manifest] = [
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
            {"name": "scratch", "mountPath": _SCRATCH},
        ]
        if spec.claim:
            mounts.append({"name": "releases", "mountPath": _STORE, "readOnly": True})
        return {
            "name": name,
            "image": spec.image,
            "imagePullPolicy": spec.image_pull_policy,
            "command": ["python", "-m", "liminal_assets.serving.standalone"],
            "args": self._arguments(unpacked),
            "ports": [{"containerPort": PORT, "protocol": "TCP"}],
            "env": [
                {"name": name, "value": value}
                for name, value in {"HOME": _SCRATCH, **variables}.items()
            ],
            "envFrom": [{"secretRef": {"name": name}} for name in spec.environment_from],
            "resources": {key: dict(value) for key, value in spec.resources.items()},
            "volumeMounts": mounts,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }

    def _arguments(self, unpacked: str | None) -> list[str]:
        url = unpacked or self.url
        if self.spec.claim:
            # the same file, as the pod's mount of the store has it
            url = f"{_STORE}/{'/'.join(url.split('/')[-3:])}"
        serve = self.deployment.serve or Serve()
        said = {
            "release": url,
            **({} if unpacked else {"sha256": self.sha256}),
            "key": self.release.key,
            "config": f"{_CONFIG}/serving.json",
            "folder": f"{_SCRATCH}/serving",
            "host": "0.0.0.0",  # noqa: S104  # of the pod
            "port": str(PORT),
            "workers": str(serve.workers),
        }
        return [argument for key, value in said.items() for argument in (f"--{key}", value)]

    def _volumes(self) -> list[Manifest]:
        secret = {"secretName": self.secret()["metadata"]["name"]}
        volumes: list[Manifest] = [
            {"name": "config", "secret": secret},
            {"name": "scratch", "emptyDir": {}},
        ]
        if self.spec.claim:
            claim = {"claimName": self.spec.claim, "readOnly": True}
            volumes.append({"name": "releases", "persistentVolumeClaim": claim})
        return volumes


def selector(project: Project, deployment: Deployment) -> dict[str, str]:
    """The labels by which a deployment's resources are found."""
    return {
        "app.kubernetes.io/name": server_name(project, deployment),
        "app.kubernetes.io/part-of": resource_name(project.name),
    }
