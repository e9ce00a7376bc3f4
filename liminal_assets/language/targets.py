"""Where model servers run besides this machine: what ``serve:`` says for each kind of target."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from liminal_assets.language.base import Duration, Names, Options, Spec

__all__ = ["DataCapture", "KServe", "Kubernetes", "RemoteTarget", "SageMaker", "Serverless"]

Quantity = str | int | float
"""An amount as Kubernetes writes it: ``500m``, ``2``, ``1Gi``."""


class RemoteTarget(Spec):
    """What every target needs that runs the server from an image."""

    image: Annotated[str, Field(min_length=1)]
    """The image of the model server: any with this package installed."""
    release_store: Annotated[str, Field(min_length=1)]
    """A folder or fsspec URL (``s3://…``, ``gs://…``) that takes each version as one archive."""
    storage_options: Options = {}
    """Arguments of fsspec for the store, from here."""
    timeout: Duration = timedelta(minutes=10)
    """How long a version may take until it answers; after that what answered before is restored."""


class PodTarget(RemoteTarget):
    """What pods of the model server need."""

    namespace: str = "default"
    config_file: str | None = None
    """A kubeconfig; default: ``KUBECONFIG``, ``~/.kube/config`` or that of the pod."""
    context: str | None = None
    """A context of the kubeconfig; default: its current one."""
    replicas: Annotated[int, Field(ge=1)] = 2
    """The fewest pods."""
    max_replicas: Annotated[int, Field(ge=1)] = 10
    """The most pods; equal to ``replicas`` there is no autoscaling."""
    resources: dict[Literal["requests", "limits"], dict[str, Quantity]] = {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"memory": "1Gi"},
    }
    """Of each pod."""
    claim: str | None = None
    """A PersistentVolumeClaim that holds ``release_store``: pods mount it instead of fetching."""
    environment_from: Names = ()
    """Secrets whose keys become environment variables, such as credentials for the store."""
    service_account: str | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Names = ()
    node_selector: dict[str, str] = {}
    tolerations: tuple[Options, ...] = ()
    annotations: dict[str, str] = {}
    """Of the pods, besides our own."""

    @model_validator(mode="after")
    def _more_than_fewest(self) -> PodTarget:
        if self.max_replicas < self.replicas:
            raise ValueError("'max_replicas' is less than 'replicas'")
        return self


class Kubernetes(PodTarget):
    """``target: kubernetes``: a Deployment with its Service, autoscaler and disruption budget."""

    target_cpu: Annotated[int, Field(ge=1, le=100)] = 70
    """The share of the requested CPU, in percent, that autoscaling aims at."""


class KServe(PodTarget):
    """``target: kserve``: an InferenceService with the model server as its predictor."""

    replicas: Annotated[int, Field(ge=0)] = 1
    """The fewest pods; 0 scales to none."""
    scale_metric: Literal["concurrency", "rps", "cpu", "memory"] | None = None
    """What the autoscaler watches; default: KServe's."""
    scale_target: Annotated[int, Field(ge=1)] | None = None
    """What the metric is to be per pod."""


class DataCapture(Spec):
    """SageMaker's own log of requests and answers."""

    to: Annotated[str, StringConstraints(pattern=r"^s3://.+")]
    """An ``s3://`` URL."""
    percentage: Annotated[int, Field(ge=1, le=100)] = 100


class Serverless(Spec):
    """A SageMaker endpoint without instances."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 2048
    max_concurrency: Annotated[int, Field(ge=1, le=200)] = 20
    provisioned: Annotated[int, Field(ge=1, le=200)] | None = None
    """How much of that is kept warm."""


class SageMaker(RemoteTarget):
    """``target: sagemaker``: a model, an endpoint configuration and an endpoint."""

    release_store: Annotated[str, StringConstraints(pattern=r"^s3://.+")]
    """An ``s3://`` URL that takes each version as a ``model.tar.gz``."""
    role: Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+")]
    """The ARN of the execution role, which may read the store and the image."""
    timeout: Duration = timedelta(minutes=30)
    """How long an endpoint may take until it is in service."""
    region: str | None = None
    """Default: that of the environment or the profile."""
    profile: str | None = None
    """A profile of ``~/.aws``; default: the credentials that boto3 finds."""
    instance_type: str = "ml.m5.large"
    instances: Annotated[int, Field(ge=1)] = 1
    serverless: Serverless | None = None
    """Without instances instead."""
    data_capture: DataCapture | None = None
    alarms: Annotated[Names, Field(max_length=10)] = ()
    """CloudWatch alarms: one that goes off while a version takes over has it rolled back."""
    subnets: Names = ()
    security_groups: Names = ()
    """Of the VPC that the containers run in, with ``subnets``."""
    tags: dict[str, str] = {}
    """Of model, configuration and endpoint, besides our own."""

    @model_validator(mode="after")
    def _whole_network(self) -> SageMaker:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("'subnets' and 'security_groups' go together")
        return self
