"""``target: sagemaker``: a model, an endpoint configuration and an endpoint of Amazon's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, ClassVar

from liminal_assets.errors import StepError
from liminal_assets.execution.targets.pods import server_name
from liminal_assets.execution.targets.releases import (
    ReleaseTarget,
    packed_release,
    server_config,
)
from liminal_assets.execution.targets.sagemaker_parameters import VERSION, Wanted
from liminal_assets.integrations.sagemaker import Endpoint, put_object
from liminal_assets.language.deployments import Deployment, Rollout
from liminal_assets.language.diagnostics import Diagnostic, Location
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import SageMaker
from liminal_assets.steps.deploy import Deployed, TargetStatus
from liminal_assets.steps.proof import Proof
from liminal_assets.storage.model_version import ModelVersion

__all__ = ["SageMakerTarget"]

_EVERY = 15.0
"""Seconds between two looks at a version that is tried."""
_STATES = {
    "InService": "ready",
    "Failed": "failed",
    "OutOfService": "failed",
    "UpdateRollbackFailed": "failed",
}


class SageMakerTarget(ReleaseTarget[SageMaker]):
    """The model server as a SageMaker endpoint; it answers at ``/ping`` and ``/invocations``."""

    strategies: ClassVar[frozenset[str]] = frozenset({"all_at_once", "canary"})
    spec_type = SageMaker

    def check(self, project: Project, deployment: Deployment) -> Iterable[Diagnostic]:
        yield from super().check(project, deployment)
        yield from _unknown_secrets(project, deployment)
        if deployment.rollout.strategy == "canary":
            for path, message, hint in _unshiftable(deployment.rollout, self.spec_of(deployment)):
                at = project.locate(deployment, "rollout", *path)
                yield Diagnostic(at, "unsupported-rollout", message, hint)

    def deploy(self, project: Project, deployment: Deployment, version: ModelVersion) -> Deployed:
        spec = self.spec_of(deployment)
        endpoint = _endpoint(project, deployment, spec)
        there = _settled(endpoint)
        config = server_config(project, deployment)
        with packed_release(project, deployment, version, config) as packed:
            store = spec.release_store.rstrip("/")
            url = f"{store}/{project.name}/{deployment.name}/{packed.name}"
            put_object(packed.path, url, **_access(project, spec))
            release, sha256 = packed.release, packed.sha256
            wanted = Wanted.of(project, deployment, spec, packed, url)
        proof = Proof.of(project, deployment, version)
        before = there.get("EndpointConfigName") if there else None
        if before != wanted.configuration:
            with _taken_back(endpoint, before, spec):
                endpoint.make("model", wanted.model, wanted.of_model)
                endpoint.make("endpoint_config", wanted.configuration, wanted.of_configuration)
                if before is None:
                    endpoint.create(wanted.configuration, wanted.tags)
                else:
                    if _is_tried(deployment, version, _version_of(endpoint, before)):
                        _try(endpoint, deployment.rollout, spec, before, wanted, proof)
                    endpoint.update(wanted.configuration, _at_once(spec))
                endpoint.wait(wanted.configuration, spec.timeout.total_seconds())
                evidence = _asked(endpoint, proof)
            endpoint.forget([wanted.configuration, before])
        else:
            evidence = _asked(endpoint, proof)
        return Deployed(
            version,
            _address(endpoint),
            {
                "endpoint": endpoint.name,
                "configuration": wanted.configuration,
                "release": url,
                "release_sha256": sha256,
                "certificate": release.certificate,
                **evidence,
            },
        )

    def status(self, project: Project, deployment: Deployment) -> TargetStatus:
        endpoint = _endpoint(project, deployment, self.spec_of(deployment))
        found = endpoint.described()
        if found is None:
            return TargetStatus("absent")
        status = found["EndpointStatus"]
        reason = {"why": found["FailureReason"]} if found.get("FailureReason") else {}
        return TargetStatus(
            _STATES.get(status, "starting"),
            _version_of(endpoint, found["EndpointConfigName"]),
            _address(endpoint),
            {"status": status, **reason},
        )

    def delete(self, project: Project, deployment: Deployment) -> bool:
        endpoint = _endpoint(project, deployment, self.spec_of(deployment))
        deleted = endpoint.delete()
        return endpoint.forget() or deleted


def _unknown_secrets(project: Project, deployment: Deployment) -> Iterator[Diagnostic]:
    """What of the prediction log needs a secret: SageMaker's containers have none of ours."""
    said = deployment.serve.log_predictions if deployment.serve else None
    at = "serve", "log_predictions"
    if said and said.to:
        yield Diagnostic(
            project.locate(deployment, *at, "to", key=True),
            "unreachable-log",
            "a SageMaker container has no password for a database",
            "leave it out: files at 'storage: {data: s3://…}' need the execution role alone",
        )
    for name, how in said.mask.items() if said else ():
        if how not in ("drop", "null"):
            yield Diagnostic(
                project.locate(deployment, *at, "mask", name),
                "unsupported-mask",
                f"a SageMaker container has no key to hash {name} with",
                "'drop' or 'null' need none",
            )


def _unshiftable(
    rollout: Rollout, spec: SageMaker
) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
    """What of a canary SageMaker can't do: where, what and a hint."""
    if spec.serverless:
        yield ("strategy",), "a serverless endpoint takes versions over all at once", None
        return
    if rollout.wait is None:
        yield ("strategy",), "SageMaker needs to know how long a step lasts", "wait: 10m"
    if rollout.rollback_on.disagreement is not None:
        yield ("rollback_on", "disagreement"), "SageMaker doesn't compare answers", None


def _at_once(spec: SageMaker) -> dict[str, Any]:
    """How an endpoint comes to another configuration: SageMaker's ``DeploymentConfig``."""
    if spec.serverless:
        return {}
    longest = int(spec.timeout.total_seconds())
    said: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
            # what SageMaker allows
            "MaximumExecutionTimeoutInSeconds": min(max(600, longest), 28_800),
        }
    }
    if spec.alarms:
        alarms = [{"AlarmName": name} for name in spec.alarms]
        said["AutoRollbackConfiguration"] = {"Alarms": alarms}
    return said


def _is_tried(deployment: Deployment, version: ModelVersion, before: str | None) -> bool:
    """Whether a version takes over step by step. One from before the version that answers goes
    back at once."""
    back = before is not None and version.version < int(before)
    return deployment.rollout.strategy == "canary" and not back


def _try(
    endpoint: Endpoint,
    rollout: Rollout,
    spec: SageMaker,
    before: str,
    wanted: Wanted,
    proof: Proof,
) -> None:
    """Puts a version beside the one that answers, asks it, and gives it a growing share of the
    requests. One that fails has no share any more when this returns.

    Raises:
        StepError: it answers otherwise than the registry's model, or breaks a limit.
    """
    seconds = spec.timeout.total_seconds()
    stable = endpoint.variants(before)
    name, parameters = wanted.beside(stable)
    endpoint.make("endpoint_config", name, parameters)
    endpoint.update(name, _at_once(spec))
    endpoint.wait(name, seconds)
    candidate = str(wanted.variant["VariantName"])
    _asked(endpoint, proof, candidate)
    try:
        for share in (share for share in rollout.steps if share < 100):
            rest = (100 - share) / len(stable)
            endpoint.weigh({**_weights(stable, rest), candidate: share})
            endpoint.wait(name, seconds)
            _hold(endpoint, candidate, rollout, spec, proof.location)
    except BaseException:
        # at once: the way back to the configuration before takes minutes, and is taken anyway
        with suppress(StepError):
            endpoint.weigh({**_weights(stable, 1.0), candidate: 0.0})
            endpoint.wait(name, seconds)
        raise


def _weights(variants: Sequence[Mapping[str, Any]], each: float) -> dict[str, float]:
    return {str(variant["VariantName"]): each for variant in variants}


def _hold(
    endpoint: Endpoint, candidate: str, rollout: Rollout, spec: SageMaker, location: Location
) -> None:
    """Watches one step to its end.

    Raises:
        StepError: an alarm is on, or a limit of ``rollback_on`` is broken.
    """
    began = datetime.now(timezone.utc)
    ends = time.monotonic() + (rollout.wait.total_seconds() if rollout.wait else 0.0)
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(_EVERY, left))
        problem = _problem(endpoint, candidate, rollout, spec, began)
        if problem:
            raise StepError(
                f"the variant {candidate} is taken back: {problem}",
                location=location,
                hint="what answered before goes on",
            )


def _problem(
    endpoint: Endpoint, candidate: str, rollout: Rollout, spec: SageMaker, began: datetime
) -> str:
    """What speaks against a version; empty if nothing does. A limit counts as broken as soon as it
    would be over ``min_requests``."""
    if on := endpoint.alarms(spec.alarms):
        return f"CloudWatch's alarm {', '.join(on)} is on"
    limits, least = rollout.rollback_on, rollout.min_requests
    if limits.error_rate is None and limits.p99_ms is None:
        return ""
    found = endpoint.measured(candidate, began)
    counted = max(found.requests, least)
    if limits.error_rate is not None and found.errors > limits.error_rate * counted:
        return f"{found.errors} of {found.requests} requests failed"
    late = found.p99_ms is not None and limits.p99_ms is not None and found.p99_ms > limits.p99_ms
    if late and found.requests >= least:
        return f"99 % of its answers took {found.p99_ms:.4g} ms, not {limits.p99_ms:g} ms"
    return ""


def _version_of(endpoint: Endpoint, configuration: str) -> str | None:
    """The version that answers by a configuration."""
    container = endpoint.model_of(configuration).get("PrimaryContainer", {})
    version: str | None = container.get("Environment", {}).get(VERSION)
    return version


def _settled(endpoint: Endpoint) -> Mapping[str, Any] | None:
    """What SageMaker says of an endpoint that nothing changes now.

    Raises:
        StepError: something does.
    """
    found = endpoint.described()
    if found is not None and found["EndpointStatus"] == "Failed":
        # one that was never in service can't be updated
        endpoint.delete()
        return None
    if found is not None and found["EndpointStatus"] != "InService":
        raise StepError(
            f"the endpoint {endpoint.name} is {found['EndpointStatus']} and can't change now",
            transient=True,
        )
    return found


@contextmanager
def _taken_back(endpoint: Endpoint, before: str | None, spec: SageMaker) -> Iterator[None]:
    """A block that changes an endpoint; one that fails leaves it by the configuration that it
    had before, or none."""
    try:
        yield
    except BaseException as failure:
        try:
            found = endpoint.described()
            now = found.get("EndpointConfigName") if found else None
            if found and before is None:
                endpoint.delete()
            elif found and now != before and found["EndpointStatus"] == "InService":
                endpoint.update(str(before), {})
                endpoint.wait(str(before), spec.timeout.total_seconds())
                now = before
            if not found or before is None or now == before:
                endpoint.forget([before])
        except StepError as error:
            raise StepError(
                f"{failure}; and what was there before can't be restored: {error.message}"
            ) from failure
        raise


def _asked(endpoint: Endpoint, proof: Proof, variant: str | None = None) -> dict[str, Any]:
    """The first prediction of an endpoint or a variant, where these credentials may ask for one.

    Raises:
        StepError: the endpoint answers otherwise than the registry's model.
    """
    body = json.dumps({"dataframe_records": [proof.row]}).encode()
    try:
        answer = endpoint.ask(body, variant)
    except StepError as error:
        return {"first_prediction": None, "not_asked": error.message}
    said: Any = None
    with suppress(ValueError, KeyError, IndexError, TypeError):
        said = json.loads(answer)["predictions"][0]
    proof.check_prediction(said)
    return {"first_prediction": said, "asked": proof.row}


def _address(endpoint: Endpoint) -> str:
    return f"sagemaker://{endpoint.name}"


def _endpoint(project: Project, deployment: Deployment, spec: SageMaker) -> Endpoint:
    return Endpoint(server_name(project, deployment), **_access(project, spec))


def _access(project: Project, spec: SageMaker) -> dict[str, Any]:
    at = project.locate(spec)
    return {"connection": spec.profile, "region": spec.region, "location": at}
