"""``target: kserve``: an InferenceService with the model server as its predictor.

References: https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from liminal_assets.errors import StepError
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
from liminal_assets.execution.targets.pods import PREFIX, Server, server_name
from liminal_assets.execution.targets.releases import (
    local_files,
    packed_release,
    publish,
    server_config,
)
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import KServe
from liminal_assets.steps.deploy import Deployed, Target, TargetStatus
from liminal_assets.steps.proof import Proof
from liminal_assets.storage.registry import ModelVersion

__all__ = ["KServeTarget"]

_KIND = "InferenceService"
_CONTAINER = "kserve-container"
"""The name by which KServe knows the container that predicts."""
_PATIENCE = 5.0
"""Seconds that the service's address has to answer from here."""


class KServeTarget(Target):
    """The model server behind KServe's routes; it speaks the Open Inference Protocol."""

    strategies: ClassVar[frozenset[str]] = frozenset({"all_at_once", "canary"})

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        yield from super().check(project, deployment)
        yield from local_files(project, deployment)
        rollout = deployment.rollout
        if rollout.strategy == "canary" and "rollback_on" in rollout.model_fields_set:
            yield Diagnostic(
                project.locate(deployment, "rollout", "rollback_on", key=True),
                "unsupported-rollout",
                "KServe measures neither errors nor latency of a version",
                "leave it out: a version that isn't ready any more is rolled back",
            )
        for index, share in enumerate(rollout.steps if rollout.strategy == "canary" else ()):
            if share != int(share):
                yield Diagnostic(
                    project.locate(deployment, "rollout", "steps", index),
                    "unsupported-rollout",
                    f"KServe shares traffic out in whole percents, not {share:g}",
                )

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        spec = _spec(deployment)
        resources = cluster_of(project, spec)
        config = server_config(project, deployment)
        with packed_release(project, deployment, version, config) as packed:
            url = publish(project, deployment, spec, packed)
            release, sha256 = packed.release, packed.sha256
        server = Server(project, deployment, spec, release, url, sha256, config)
        proof = Proof.of(project, deployment, version)
        service = _manifest(server, spec, None)
        with Changes(resources, project.locate(spec)) as changes:
            changes.apply(server.secret())
            for share in _shares(deployment, resources.read(service), server):
                changes.apply(_manifest(server, spec, share))
                found = _until_ready(resources, server, spec)
                if share is not None:
                    _hold(resources, server, deployment)
            address = found["status"]["url"]
            evidence = first_prediction(_at(f"{address}/predict"), proof)
            before = changes.before(service)
        predictor = before["spec"]["predictor"] if before else {}
        forget_secrets(resources, server, predictor)
        component = found["status"].get("components", {}).get("predictor", {})
        return Deployed(
            version,
            f"{address}/predict",
            {
                "revision": component.get("latestReadyRevision"),
                "release": url,
                "release_sha256": sha256,
                "certificate": release.certificate,
                **evidence,
            },
        )

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        spec = _spec(deployment)
        name = server_name(project, deployment)
        found = cluster_of(project, spec).read(named(_KIND, name, spec.namespace))
        if found is None:
            return TargetStatus("absent")
        ready = condition(found.get("status") or {}, "Ready")
        state = {"True": "ready", "False": "failed"}.get(str(ready.get("status")), "starting")
        said = found["metadata"].get("annotations") or {}
        address = (found.get("status") or {}).get("url")
        share = found["spec"]["predictor"].get("canaryTrafficPercent", 100)
        return TargetStatus(
            state,
            said.get(f"{PREFIX}/model-version"),
            f"{address}/predict" if address else None,
            {"traffic": f"{share} %", **({"why": ready["reason"]} if ready.get("reason") else {})},
        )

    def delete(self, project: Project, deployment: Deployment) -> bool:
        return taken_away(project, deployment, _spec(deployment), [_KIND])


def _manifest(server: Server, spec: KServe, share: int | None) -> Manifest:
    """The InferenceService; ``share`` is the percentage of requests that this version answers
    beside the one before, None for all."""
    probe = {"periodSeconds": 5, "timeoutSeconds": 3}
    pod = server.pod(
        _CONTAINER,
        {"readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, **probe}},
    )
    optional = {
        "scaleMetric": spec.scale_metric,
        "scaleTarget": spec.scale_target,
        "canaryTrafficPercent": share,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": _KIND,
        "metadata": server.metadata(),
        "spec": {
            "predictor": {
                **pod,
                "labels": server.pod_labels,
                "annotations": server.pod_annotations,
                "minReplicas": spec.replicas,
                "maxReplicas": spec.max_replicas,
                "timeout": 60,
                **{key: value for key, value in optional.items() if value is not None},
            }
        },
    }


def _shares(deployment: Deployment, there: Manifest | None, server: Server) -> Iterable[int | None]:
    """The steps in which a version takes over; at once where no other version answers."""
    rollout = deployment.rollout
    said = (there or {}).get("metadata", {}).get("annotations") or {}
    same = said.get(f"{PREFIX}/release-sha256") == server.sha256
    steps = rollout.steps if rollout.strategy == "canary" and there and not same else ()
    return [*(int(share) for share in steps if share < 100), None]


def _hold(resources: Resources, server: Server, deployment: Deployment) -> None:
    """Watches one step of a rollout to its end.

    Raises:
        StepError: the version isn't ready any more.
    """
    wait = deployment.rollout.wait
    for more in looks(wait.total_seconds() if wait else 0):
        found = resources.read(named(_KIND, server.name, server.spec.namespace))
        ready = condition((found or {}).get("status") or {}, "Ready")
        if more and ready.get("status") != "True":
            raise StepError(
                f"version {server.release.version} isn't ready any more: "
                f"{ready.get('message') or ready.get('reason') or 'KServe gives no reason'}",
                location=server.project.locate(server.spec),
                hint="what answered before goes on",
            )


def _until_ready(resources: Resources, server: Server, spec: KServe) -> Manifest:
    """The InferenceService once its newest revision is ready.

    Raises:
        StepError: that takes too long, or can't come true.
    """
    name = named(_KIND, server.name, spec.namespace)
    for more in looks(spec.timeout.total_seconds()):
        found = resources.read(name)
        if found is not None and _ready(found):
            return found
        problem, hopeless = pods_problem(resources, server)
        if found is None or hopeless or not more:
            break
    ready = condition((found or {}).get("status") or {}, "Ready")
    why = problem or " ".join(filter(None, [ready.get("reason"), ready.get("message")]))
    raise StepError(
        f"version {server.release.version} isn't ready: {why or 'KServe gives no reason'}",
        location=server.project.locate(spec),
        hint="what answered before goes on",
    )


def _ready(found: Manifest) -> bool:
    status = found.get("status") or {}
    predictor = status.get("components", {}).get("predictor", {})
    created, newest = (
        predictor.get(key) for key in ("latestCreatedRevision", "latestReadyRevision")
    )
    return (
        condition(status, "Ready").get("status") == "True"
        and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        and created == newest
        and bool(status.get("url"))
    )


def _at(address: str) -> Callable[[Any], Any]:
    """Asks a server at its own address, where that can be reached from here."""

    def ask(body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310  # the cluster says where
            address, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise UnansweredError(error.code, error.read(300).decode(errors="replace")) from None
        except (OSError, ValueError) as error:
            raise UnansweredError(None, str(error)) from None

    return ask


def _spec(deployment: Deployment) -> KServe:
    serve = deployment.serve
    if serve is None or serve.kserve is None:
        raise StepError(f"{deployment.name} says nothing of kserve")
    return serve.kserve
