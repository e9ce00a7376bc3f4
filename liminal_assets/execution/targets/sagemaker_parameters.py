"""What Amazon SageMaker is to have of a version: its model, variant and configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liminal_assets.execution.targets.pods import PREFIX, server_name
from liminal_assets.execution.targets.releases import Packed
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.targets import SageMaker

__all__ = ["VERSION", "Wanted"]

MODEL_FOLDER = "/opt/ml/model"
"""Where SageMaker unpacks a model."""
VERSION = "LIMINAL_MODEL_VERSION"
"""The variable of a model's container that says which version it is."""


@dataclass(frozen=True)
class Wanted:
    """What SageMaker is to have of a version.

    Attributes:
        model: the model's name.
        of_model: the parameters of ``CreateModel``.
        configuration: the configuration's name.
        of_configuration: the parameters of ``CreateEndpointConfig``.
        variant: the variant that answers by it.
        tags: those of the endpoint, which has one version after the other.
    """

    model: str
    of_model: Mapping[str, Any]
    configuration: str
    of_configuration: Mapping[str, Any]
    variant: Mapping[str, Any]
    tags: list[dict[str, str]]

    @classmethod
    def of(
        cls, project: Project, deployment: Deployment, spec: SageMaker, packed: Packed, url: str
    ) -> Wanted:
        name = server_name(project, deployment)
        of_model = _model(deployment, spec, packed, url)
        model = f"{name}-{_digest(of_model)}"
        variant = _variant(f"v{packed.release.version}-{model[-8:]}", model, spec)
        of_configuration = {"ProductionVariants": [variant], **_capture(spec)}
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
            variant,
            _tags(lasting),
        )

    def beside(self, stable: Sequence[Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
        """A configuration by which those of another answer, and this one when it is asked by name:
        its name and the parameters of ``CreateEndpointConfig``."""
        variants = [
            *({**variant, "InitialVariantWeight": 1.0} for variant in stable),
            {**self.variant, "InitialVariantWeight": 0.0},
        ]
        both = {**self.of_configuration, "ProductionVariants": variants}
        return f"{self.configuration.rpartition('-')[0]}-{_digest(both)}", both


def _model(deployment: Deployment, spec: SageMaker, packed: Packed, url: str) -> dict[str, Any]:
    workers = deployment.serve.workers if deployment.serve else 1
    network = {"Subnets": list(spec.subnets), "SecurityGroupIds": list(spec.security_groups)}
    return {
        "PrimaryContainer": {
            "Image": spec.image,
            "ModelDataUrl": url,
            "Environment": {
                "LIMINAL_RELEASE": MODEL_FOLDER,
                "LIMINAL_KEY": packed.release.key,
                "LIMINAL_WORKERS": str(workers),
                VERSION: packed.release.version,
            },
        },
        "ExecutionRoleArn": spec.role,
        **({"VpcConfig": network} if spec.subnets else {}),
    }


def _variant(name: str, model: str, spec: SageMaker) -> dict[str, Any]:
    variant: dict[str, Any] = {"VariantName": name, "ModelName": model}
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
    return variant


def _capture(spec: SageMaker) -> dict[str, Any]:
    if spec.data_capture is None:
        return {}
    return {
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": spec.data_capture.percentage,
            "DestinationS3Uri": spec.data_capture.to,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "JsonContentTypes": ["application/json"],
                "CsvContentTypes": ["text/csv"],
            },
        }
    }


def _tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items() if value]


def _digest(parameters: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
