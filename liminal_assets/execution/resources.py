"""Resources on the Kubernetes cluster that is configured here: made, changed and taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from liminal_assets.errors import StepError
from liminal_assets.execution.clusters import api_client, refusal
from liminal_assets.execution.manifests import Manifest

__all__ = ["Change", "apply", "delete"]

Change = Literal["created", "changed", "kept", "deleted", "absent"]

_KINDS: Mapping[str, tuple[str, str]] = {
    "Deployment": ("AppsV1Api", "namespaced_deployment"),
    "PersistentVolume": ("CoreV1Api", "persistent_volume"),
    "PersistentVolumeClaim": ("CoreV1Api", "namespaced_persistent_volume_claim"),
    "Secret": ("CoreV1Api", "namespaced_secret"),
    "Service": ("CoreV1Api", "namespaced_service"),
}
_KEPT = frozenset({"PersistentVolume", "PersistentVolumeClaim"})
"""What Kubernetes doesn't let change once it is in use."""
_SECONDS = 20
"""That the cluster has for an answer."""


def apply(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, Change]]:
    """Makes resources, or changes those that are there; volumes that are there stay as they are.

    Raises:
        StepError: the cluster doesn't answer, or refuses.
    """
    for manifest in manifests:
        with _told(manifest):
            call = _Calls(manifest)
            if not call.exists():
                call.create()
                yield manifest, "created"
            elif manifest["kind"] in _KEPT:
                yield manifest, "kept"
            else:
                call.patch()
                yield manifest, "changed"


def delete(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, Change]]:
    """Takes resources away, with what belongs to them.

    Raises:
        StepError: the cluster doesn't answer, or refuses.
    """
    for manifest in manifests:
        with _told(manifest):
            call = _Calls(manifest)
            if call.exists():
                call.delete()
                yield manifest, "deleted"
            else:
                yield manifest, "absent"


class _Calls:
    """The calls of Kubernetes' client for one resource."""

    def __init__(self, manifest: Manifest) -> None:
        from kubernetes import client

        group, self._suffix = _KINDS[manifest["kind"]]
        self._api = getattr(client, group)(api_client())
        self._manifest = manifest
        metadata = manifest["metadata"]
        namespaced = self._suffix.startswith("namespaced_")
        self._place = (metadata["namespace"],) if namespaced else ()
        self._name = metadata["name"]

    def exists(self) -> bool:
        """Whether it is there."""
        from kubernetes.client import ApiException

        try:
            self._call("read")(self._name, *self._place, _request_timeout=_SECONDS)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return True

    def create(self) -> None:
        """Makes it."""
        self._call("create")(*self._place, self._manifest, _request_timeout=_SECONDS)

    def patch(self) -> None:
        """Has it as the manifest says."""
        call = self._call("patch")
        call(self._name, *self._place, self._manifest, _request_timeout=_SECONDS)

    def delete(self) -> None:
        """Takes it away."""
        call = self._call("delete")
        call(
            self._name,
            *self._place,
            propagation_policy="Foreground",
            _request_timeout=_SECONDS,
        )

    def _call(self, verb: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(self._api, f"{verb}_{self._suffix}")
        return found


@contextmanager
def _told(manifest: Manifest) -> Iterator[None]:
    """What the cluster says, in one sentence."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        yield
    except ApiException as error:
        said = refusal(error)
        raise StepError(f"the cluster refuses the {what}: {error.status} {said}") from None
    except HTTPError as error:
        raise StepError(
            f"the cluster doesn't answer for the {what}: {str(error)[:300]}",
            hint="'kubectl cluster-info' asks it; LIMINAL_EXECUTOR=local does without",
            transient=True,
        ) from None
