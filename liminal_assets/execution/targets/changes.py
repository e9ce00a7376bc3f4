"""Resources of a cluster that change together, or stay as they were."""

from __future__ import annotations

import json
from types import TracebackType

from liminal_assets.errors import StepError
from liminal_assets.execution.manifests import Manifest
from liminal_assets.execution.resources import Resources
from liminal_assets.execution.targets.pods import MANAGED_BY, PREFIX
from liminal_assets.language.diagnostics import Location

__all__ = ["Changes", "check_ours"]

_APPLIED = f"{PREFIX}/applied"
"""The annotation that holds a resource's manifest: what there is to go back to."""


class Changes:
    """A block in which resources change; one that fails puts back what was there before.

    Args:
        resources: the cluster's.
        location: what an error points to.
    """

    def __init__(self, resources: Resources, location: Location) -> None:
        self._resources = resources
        self._location = location
        self._before: list[tuple[Manifest, Manifest | None]] = []

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        failures = []
        for manifest, before in reversed(self._before):
            try:
                if before is None:
                    self._resources.delete(manifest)
                else:
                    self._resources.apply(_remembering(before))
            except StepError as failure:
                # the others can be restored all the same
                failures.append(failure.message)
        if failures:
            raise StepError(
                f"{error}; and not all that was there before can be restored: "
                f"{'; '.join(failures)}",
                location=self._location,
            ) from error

    def apply(self, manifest: Manifest) -> Manifest:
        """Makes a resource be as its manifest says.

        Returns:
            The resource as it is there now.

        Raises:
            StepError: the cluster refuses, or the resource is somebody else's.
        """
        there = self._resources.read(manifest)
        check_ours(there, self._location)
        if there is not None and there.get("immutable"):
            return there
        self._before.append((manifest, _applied(there)))
        try:
            return self._resources.apply(_remembering(manifest))
        except StepError as error:
            if not error.transient:
                # refused, so it is as it was
                self._before.pop()
            raise

    def delete(self, manifest: Manifest) -> None:
        """Takes a resource away, if it is there and ours."""
        there = self._resources.read(manifest)
        if there is not None:
            check_ours(there, self._location)
            self._before.append((manifest, _applied(there)))
            self._resources.delete(manifest)

    def before(self, manifest: Manifest) -> Manifest | None:
        """The manifest of a resource before this block changed it; None if it wasn't there."""
        name = manifest["metadata"]["name"]
        return next(
            (
                old
                for new, old in self._before
                if new["kind"] == manifest["kind"] and new["metadata"]["name"] == name
            ),
            None,
        )


def check_ours(there: Manifest | None, location: Location) -> None:
    """Fails for a resource that something else made.

    Raises:
        StepError: names it.
    """
    if there is None:
        return
    labels = there["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in MANAGED_BY.items()):
        raise StepError(
            f"the {there['kind']} {there['metadata']['name']} is there already, and isn't ours",
            location=location,
            hint="another 'namespace:' or name of the deployment keeps them apart",
        )


def _applied(there: Manifest | None) -> Manifest | None:
    if there is None:
        return None
    metadata = there["metadata"]
    if written := (metadata.get("annotations") or {}).get(_APPLIED):
        return dict(json.loads(written))
    # somebody took the annotation away; what the cluster adds can't be applied
    kept = {key: metadata[key] for key in ("name", "namespace", "labels") if key in metadata}
    return {key: there[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": kept}


def _remembering(manifest: Manifest) -> Manifest:
    """The manifest with itself as an annotation; secrets are nobody's to read there."""
    if manifest["kind"] == "Secret":
        return manifest
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), _APPLIED: json.dumps(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
