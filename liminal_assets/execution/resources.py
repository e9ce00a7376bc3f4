"""Resources on a Kubernetes cluster: read, made, changed and taken away.

Kubernetes's server-side apply makes a resource be what a manifest says: fields that an earlier
manifest of ours had and this one hasn't go, and those of others, such as the number of pods that an
autoscaler sets, stay.

References: https://kubernetes.io/docs/reference/using-api/server-side-apply
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import ClusterAccess, api_client, refusal
from liminal_assets.execution.manifests import Manifest
from liminal_assets.language.diagnostics import Location

__all__ = ["Change", "Resources", "apply", "delete"]

Change = Literal["created", "changed", "kept", "deleted", "absent"]

_KINDS: Mapping[str, str] = {
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "HorizontalPodAutoscaler": (
        "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    ),
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Service": "/api/v1/namespaces/{namespace}/services",
}
"""Where the API has the resources of a kind."""
_KEPT = frozenset({"PersistentVolume", "PersistentVolumeClaim"})
"""What Kubernetes doesn't let change once it is in use."""
_MANAGER = "liminal"
"""The name under which fields are ours."""
_SECONDS = 20
"""That the cluster has for an answer."""


def apply(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, Change]]:
    """Makes resources, or changes those that are there; volumes that are there stay as they are.

    Raises:
        StepError: the cluster doesn't answer, or refuses.
    """
    resources = Resources()
    for manifest in manifests:
        there = resources.read(manifest) is not None
        if there and manifest["kind"] in _KEPT:
            yield manifest, "kept"
            continue
        resources.apply(manifest)
        yield manifest, "changed" if there else "created"


def delete(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, Change]]:
    """Takes resources away, with what belongs to them.

    Raises:
        StepError: the cluster doesn't answer, or refuses.
    """
    resources = Resources()
    for manifest in manifests:
        yield manifest, "deleted" if resources.delete(manifest) else "absent"


class Resources:
    """The resources of one cluster, each by a manifest or the part of one that names it.

    Args:
        access: which configuration of a cluster is used; default: what there is.
        location: what an error points to.

    Raises:
        StepError: the configuration can't be used.
    """

    def __init__(
        self, access: ClusterAccess | None = None, location: Location | None = None
    ) -> None:
        self._client = api_client(access, location)
        self._location = location

    def read(self, manifest: Manifest) -> Manifest | None:
        """The resource as it is there; None if it isn't.

        Raises:
            StepError: the cluster doesn't answer, or refuses.
        """
        from kubernetes.client import ApiException

        with _told(manifest, self._location):
            try:
                found: Manifest = self._ask("GET", _path(manifest))
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
        return found

    def list(self, manifest: Manifest, labels: Mapping[str, str]) -> list[Manifest]:
        """The resources of a manifest's kind and namespace that have some labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        with _told(manifest, self._location):
            path = _path(manifest).rpartition("/")[0]
            found = self._ask("GET", path, query=[("labelSelector", selector)])
        items: list[Manifest] = found["items"]
        # a list leaves out of its items what they all have in common
        return [{"kind": manifest["kind"], **item} for item in items]

    def apply(self, manifest: Manifest) -> Manifest:
        """Makes the resource be as the manifest says.

        Returns:
            The resource as it is there now.
        """
        with _told(manifest, self._location):
            applied: Manifest = self._ask(
                "PATCH",
                _path(manifest),
                query=[("fieldManager", _MANAGER), ("force", "true")],
                body=manifest,
                kind="application/apply-patch+yaml",
            )
        return applied

    def delete(self, manifest: Manifest) -> bool:
        """Takes the resource away, with what belongs to it.

        Returns:
            Whether it was there.
        """
        from kubernetes.client import ApiException

        body = {"propagationPolicy": "Foreground"}
        with _told(manifest, self._location):
            try:
                self._ask("DELETE", _path(manifest), body=body)
            except ApiException as error:
                if error.status == 404:
                    return False
                raise
        return True

    def ask_service(self, service: Manifest, port: str, path: str, body: Any) -> Any:
        """What a service answers to a POST that the cluster's API passes on.

        Raises:
            ApiException: the status isn't one of success.
            HTTPError: the cluster doesn't answer.
        """
        name = service["metadata"]["name"]
        proxy = f"{_path(service).rpartition('/')[0]}/{name}:{port}/proxy{path}"
        return self._ask("POST", proxy, body=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: Any = None,
        kind: str = "application/json",
    ) -> Any:
        # how a response is to be decoded is said otherwise from version to version of the client
        response = self._client.call_api(
            path,
            method,
            query_params=list(query),
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=_SECONDS,
        )
        return json.loads(response.data)


def _path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    folder = _KINDS[manifest["kind"]].format(namespace=metadata.get("namespace", "default"))
    return f"{folder}/{metadata.get('name', '')}"


@contextmanager
def _told(manifest: Manifest, location: Location | None) -> Iterator[None]:
    """What the cluster says, in one sentence."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    what = f"{manifest['kind']} {manifest['metadata'].get('name', '')}".rstrip()
    try:
        yield
    except ApiException as error:
        raise StepError(
            f"the cluster refuses the {what}: {error.status} {refusal(error)}",
            location=location,
            transient=error.status in (429, 500, 502, 503, 504),
        ) from None
    except HTTPError as error:
        raise StepError(
            f"the cluster doesn't answer for the {what}: {str(error)[:300]}",
            location=location,
            hint="'kubectl cluster-info' asks it; LIMINAL_EXECUTOR=local does without",
            transient=True,
        ) from None
