"""``target: sagemaker``: a model, an endpoint configuration and an endpoint of Amazon's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from liminal_assets.errors import StepError
from liminal_assets.execution.targets.pods import PREFIX, server_name
from liminal_assets.execution.targets.releases import (
    Packed,
    ReleaseTarget,
    packed_release,
    server_config,
)
from liminal_assets.integrations.sagemaker import Endpoint, put_object
from liminal_assets.language.deployments import Deployment, Rollout
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import SageMaker
from liminal_assets.steps.deploy import Deployed, TargetStatus
from liminal_assets.steps.proof import Proof
from liminal_assets.storage.registry import ModelVersion

__all__ = ["SageMakerTarget"]

_MODEL = "/opt/ml/model"
"""Where SageMaker unpacks a model."""
_VERSION = "LIMINAL_MODEL_VERSION"
_LONGEST_WAIT, _LARGEST_CANARY = 3600, 50
_SMALLEST_STEP = 10
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
            wanted = _Wanted.of(project, deployment, spec, packed, url)
        proof = Proof.of(project, deployment, version)
        before = there.get("EndpointConfigName") if there else None
        if before != wanted.configuration:
            with _taken_back(endpoint, before, spec):
                endpoint.make_model(wanted.model, wanted.of_model)
                endpoint.make_configuration(wanted.configuration, wanted.of_configuration)
                if before is None:
                    endpoint.create(wanted.configuration, wanted.tags)
                else:
                    endpoint.update(wanted.configuration, _traffic(deployment.rollout, spec))
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
        model = endpoint.model_of(found["EndpointConfigName"])
        said = model.get("PrimaryContainer", {}).get("Environment", {})
        status = found["EndpointStatus"]
        reason = {"why": found["FailureReason"]} if found.get("FailureReason") else {}
        return TargetStatus(
            _STATES.get(status, "starting"),
            said.get(_VERSION),
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


@dataclass(frozen=True)
class _Wanted:
    """What SageMaker is to have of a version.

    Attributes:
        model: the model's name.
        of_model: the parameters of ``CreateModel``.
        configuration: the configuration's name.
        of_configuration: the parameters of ``CreateEndpointConfig``.
        tags: those of the endpoint, which has one version after the other.
    """

    model: str
    of_model: Mapping[str, Any]
    configuration: str
    of_configuration: Mapping[str, Any]
    tags: list[dict[str, str]]

    @classmethod
    def of(
        cls, project: Project, deployment: Deployment, spec: SageMaker, packed: Packed, url: str
    ) -> _Wanted:
        name = server_name(project, deployment)
        of_model = _model(deployment, spec, packed, url)
        model = f"{name}-{_digest(of_model)}"
        of_configuration = _configuration(model, spec)
        lasting = {f"{PREFIX}:model": packed.release.name, **spec.tags}
        release = packed.release
        passing = {
            f"{PREFIX}:model-version": release.version,
            f"{PREFIX}:mlflow-run": release.run_id or "",
            f"{PREFIX}:release-sha256": packed.sha256,
        }
        tags = {"Tags": _tags({**passing, **lasting})}
        return cls(
            model,
            {**of_model, **tags},
            f"{name}-{_digest(of_configuration)}",
            {**of_configuration, **tags},
            _tags(lasting),
        )


def _model(deployment: Deployment, spec: SageMaker, packed: Packed, url: str) -> dict[str, Any]:
    workers = deployment.serve.workers if deployment.serve else 1
    network = {"Subnets": list(spec.subnets), "SecurityGroupIds": list(spec.security_groups)}
    return {
        "PrimaryContainer": {
            "Image": spec.image,
            "ModelDataUrl": url,
            "Environment": {
                "LIMINAL_RELEASE": _MODEL,
                "LIMINAL_KEY": packed.release.key,
                "LIMINAL_WORKERS": str(workers),
                _VERSION: packed.release.version,
            },
        },
        "ExecutionRoleArn": spec.role,
        **({"VpcConfig": network} if spec.subnets else {}),
    }


def _configuration(model: str, spec: SageMaker) -> dict[str, Any]:
    variant: dict[str, Any] = {"VariantName": "live", "ModelName": model}
    if serverless := spec.serverless:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": serverless.memory_mb,
            "MaxConcurrency": serverless.max_concurrency,
        }
        if serverless.provisioned:
            variant["ServerlessConfig"]["ProvisionedConcurrency"] = serverless.provisioned
    else:
        variant["InstanceType"] = spec.instance_type
        variant["InitialInstanceCount"] = spec.instances
        variant["InitialVariantWeight"] = 1.0
    capture: dict[str, Any] = {}
    if spec.data_capture:
        capture["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": spec.data_capture.percentage,
            "DestinationS3Uri": spec.data_capture.to,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "JsonContentTypes": ["application/json"],
                "CsvContentTypes": ["text/csv"],
            },
        }
    return {"ProductionVariants": [variant], **capture}


def _tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items() if value]


def _digest(parameters: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]


def _unshiftable(
    rollout: Rollout, spec: SageMaker
) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
    """What of a canary SageMaker can't do: where, what and a hint."""
    if spec.serverless:
        yield ("strategy",), "a serverless endpoint takes versions over all at once", None
        return
    if _shift(rollout) is None:
        said = ", ".join(f"{step:g}" for step in rollout.steps)
        yield (
            ("steps",),
            f"SageMaker can't shift traffic by the steps {said}",
            f"one canary of at most {_LARGEST_CANARY} %, as [10, 100], or equal steps of "
            f"{_SMALLEST_STEP} to {_LARGEST_CANARY} %, as [25, 50, 75, 100]",
        )
    if rollout.wait is None or rollout.wait.total_seconds() > _LONGEST_WAIT:
        yield ("wait",), "SageMaker waits up to an hour after a step", "wait: 10m"
    if "rollback_on" in rollout.model_fields_set and not spec.alarms:
        yield (
            ("rollback_on",),
            "SageMaker rolls back by CloudWatch's alarms",
            "name them in 'alarms:' of 'sagemaker:'",
        )


def _shift(rollout: Rollout) -> dict[str, Any] | None:
    """SageMaker's words for the steps of a canary; None if it has none."""
    steps = rollout.steps
    first = int(steps[0]) if steps else 0
    if not steps or steps[-1] != 100 or any(step != int(step) for step in steps):
        return None
    size = {"Type": "CAPACITY_PERCENT", "Value": first}
    if len(steps) == 2 and first <= _LARGEST_CANARY:
        return {"Type": "CANARY", "CanarySize": size}
    equal = all(step == min(100, first * (index + 1)) for index, step in enumerate(steps))
    if len(steps) > 2 and equal and _SMALLEST_STEP <= first <= _LARGEST_CANARY:
        return {"Type": "LINEAR", "LinearStepSize": size}
    return None


def _traffic(rollout: Rollout, spec: SageMaker) -> dict[str, Any]:
    """How an endpoint takes a version over: SageMaker's ``DeploymentConfig``."""
    if spec.serverless:
        return {}
    shift = _shift(rollout) if rollout.strategy == "canary" else None
    wait = int(rollout.wait.total_seconds()) if shift and rollout.wait else 0
    longest = int(spec.timeout.total_seconds())
    traffic = {**(shift or {"Type": "ALL_AT_ONCE"}), "WaitIntervalInSeconds": wait}
    said: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": traffic,
            # what SageMaker allows
            "MaximumExecutionTimeoutInSeconds": min(max(600, longest), 28_800),
        }
    }
    if spec.alarms:
        alarms = [{"AlarmName": name} for name in spec.alarms]
        said["AutoRollbackConfiguration"] = {"Alarms": alarms}
    return said


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


def _asked(endpoint: Endpoint, proof: Proof) -> dict[str, Any]:
    """The first prediction, where these credentials may ask for one.

    Raises:
        StepError: the endpoint answers otherwise than the registry's model.
    """
    body = json.dumps({"dataframe_records": [proof.row]}).encode()
    try:
        answer = endpoint.ask(body)
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
