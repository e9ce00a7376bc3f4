"""``target: kserve``: an InferenceService with the model server as its predictor.

References: https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from liminal_assets.execution.manifests import Manifest
from liminal_assets.execution.resources import Resources
from liminal_assets.execution.targets.changes import Changes
from liminal_assets.execution.targets.cluster import (
    ClusterTarget,
    UnansweredError,
    condition,
    looks,
)
from liminal_assets.execution.targets.pods import PORT, PREFIX, Server
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import KServe

__all__ = ["KServeTarget"]

_CONTAINER = "kserve-container"
"""The name by which KServe knows the container that predicts."""
_MODE = "serving.kserve.io/deploymentMode"
_MOUNT = "/mnt/models"
"""Where KServe's storage initializer unpacks what STORAGE_URI names."""
_PATIENCE = 5.0
"""Seconds that the service's address has to answer from here."""


class KServeTarget(ClusterTarget[KServe]):
    """The model server behind KServe's routes; it speaks the Open Inference Protocol."""

    strategies: ClassVar[frozenset[str]] = frozenset({"all_at_once", "canary"})
    spec_type = KServe
    kinds: ClassVar[Mapping[str, str]] = {"InferenceService": "serving.kserve.io/v1beta1"}
    main: ClassVar[str] = "InferenceService"
    # a revision that is on its way is a condition that isn't met
    failure_is_final: ClassVar[bool] = False

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        yield from super().check(project, deployment)
        rollout = deployment.rollout
        if rollout.strategy != "canary":
            return
        if self.spec_of(deployment).is_standard:
            yield Diagnostic(
                project.locate(deployment, "rollout", "strategy"), "unsupported-rollout", _NO_SHARES
            )
        if "rollback_on" in rollout.model_fields_set:
            yield Diagnostic(
                project.locate(deployment, "rollout", "rollback_on", key=True),
                "unsupported-rollout",
                "KServe measures neither errors nor latency of a version",
                "leave it out: a version that isn't ready any more is rolled back",
            )
        for index, share in enumerate(rollout.steps):
            if share != int(share):
                yield Diagnostic(
                    project.locate(deployment, "rollout", "steps", index),
                    "unsupported-rollout",
                    f"KServe shares traffic out in whole percents, not {share:g}",
                )

    def take_over(self, changes: Changes, resources: Resources, server: Server) -> Manifest:
        spec = self.spec_of(server.deployment)
        there = resources.read(self.named(server))
        shares = _shares(server, there)
        mode = ((there or {}).get("status") or {}).get("deploymentMode")
        if len(shares) > 1 and mode in ("Standard", "RawDeployment"):
            raise self.not_ready(server, "can't take over step by step", _NO_SHARES)
        found: Manifest = {}
        for share in shares:
            manifest = self.manifest(server, self.main, _specification(server, spec, share))
            if spec.mode:
                manifest["metadata"]["annotations"] |= {_MODE: spec.mode}
            changes.apply(manifest)
            found = self.until_ready(resources, server)
            if share is not None:
                self._hold(resources, server)
        return found

    def ask(self, resources: Resources, found: Manifest, body: Any) -> Any:
        """Asks the server at its own address, where that can be reached from here."""
        request = urllib.request.Request(  # noqa: S310  # the cluster says where
            f"{found['status']['url']}/predict",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise UnansweredError(error.code, error.read(300).decode(errors="replace")) from None
        except (OSError, ValueError) as error:
            raise UnansweredError(None, str(error)) from None

    def pod_of(self, main: Manifest) -> Manifest:
        pod: Manifest = main["spec"]["predictor"]
        return pod

    def state_of(self, found: Manifest) -> tuple[str, str]:
        status = found.get("status") or {}
        ready = condition(status, "Ready")
        predictor = _predictor(status)
        said = ready.get("status")
        if (
            said == "True"
            and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
            and predictor.get("latestCreatedRevision") == predictor.get("latestReadyRevision")
            and status.get("url")
        ):
            return "ready", ""
        why = " ".join(filter(None, [ready.get("reason"), ready.get("message")]))
        return "failed" if said == "False" else "starting", why

    def describe(self, found: Manifest) -> tuple[str | None, Mapping[str, Any]]:
        status = found.get("status") or {}
        address = status.get("url")
        share = found["spec"]["predictor"].get("canaryTrafficPercent", 100)
        return f"{address}/predict" if address else None, {
            "traffic": f"{share} %",
            "revision": _predictor(status).get("latestReadyRevision"),
        }

    def _hold(self, resources: Resources, server: Server) -> None:
        """Watches one step of a rollout to its end.

        Raises:
            StepError: the version isn't ready any more.
        """
        wait = server.deployment.rollout.wait
        for more in looks(wait.total_seconds() if wait else 0):
            found = resources.read(self.named(server))
            state, why = self.state_of(found) if found else ("absent", "it is gone")
            if more and state != "ready":
                raise self.not_ready(server, "isn't ready any more", why)


_NO_SHARES = "KServe shares traffic out in its mode Knative alone"


def _predictor(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = status.get("components", {}).get("predictor", {})
    return found


def _specification(server: Server, spec: KServe, share: int | None) -> Manifest:
    """The InferenceService; ``share`` is the percentage of requests that this version answers
    beside the one before, None for all."""
    probe = {"periodSeconds": 5, "timeoutSeconds": 3}
    variables = {"PROTOCOL": "v2"}
    if spec.storage_initializer:
        variables["STORAGE_URI"] = server.url
    pod = server.pod(
        _CONTAINER,
        {"readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, **probe}},
        variables=variables,
        unpacked=_MOUNT if spec.storage_initializer else None,
    )
    optional = {
        "scaleMetric": spec.scale_metric,
        "scaleTarget": spec.scale_target,
        "canaryTrafficPercent": share,
    }
    return {
        "predictor": {
            **pod,
            "labels": server.pod_labels,
            "annotations": server.pod_annotations,
            "minReplicas": spec.replicas,
            "maxReplicas": spec.max_replicas,
            "timeout": 60,
            **{key: value for key, value in optional.items() if value is not None},
        }
    }


def _shares(server: Server, there: Manifest | None) -> Sequence[int | None]:
    """The steps in which a version takes over; at once where no other version answers."""
    rollout = server.deployment.rollout
    said = (there or {}).get("metadata", {}).get("annotations") or {}
    same = said.get(f"{PREFIX}/release-sha256") == server.sha256
    # a version from before the one that answers goes back at once
    back = int(server.release.version) < int(said.get(f"{PREFIX}/model-version", 0))
    tried = rollout.strategy == "canary" and there and not same and not back
    steps = rollout.steps if tried else ()
    return [*(int(share) for share in steps if share < 100), None]
