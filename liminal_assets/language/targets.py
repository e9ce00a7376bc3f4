"""Where model servers run besides this machine: what ``serve:`` says for each kind of target."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from liminal_assets.language.base import Duration, Names, NotBool, Options, Spec, changed

__all__ = ["DataCapture", "KServe", "Kubernetes", "RemoteTarget", "SageMaker", "Serverless"]

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_SUFFIXES = {
    **{letter: Decimal(10) ** (3 * at) for at, letter in zip((-3, -2, -1, 1), "numk", strict=True)},
    **{letter: Decimal(10) ** (3 * at) for at, letter in enumerate("MGTPE", 2)},
    **{f"{letter}i": Decimal(1024) ** at for at, letter in enumerate("KMGTPE", 1)},
}


def _amount(value: str | float) -> Decimal:
    """What a quantity stands for."""
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        raise ValueError(f"an amount is a number and a unit, as 500m, 2 or 1Gi, not {value!r}")
    number, suffix = found.groups()
    if suffix in _SUFFIXES:
        return Decimal(number) * _SUFFIXES[suffix]
    return Decimal(f"{number}{suffix or ''}")


def _check_amount(value: str | float) -> str | float:
    if _amount(value) <= 0:
        raise ValueError(f"an amount must be more than nothing, not {value!r}")
    return value


Quantity = Annotated[str | int | float, NotBool, AfterValidator(_check_amount)]
"""An amount as Kubernetes writes it: ``500m``, ``2``, ``1Gi``."""

_LABEL = StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_SUBDOMAIN = StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
ResourceName = Annotated[str, _SUBDOMAIN]
"""What a resource of a cluster is called (RFC 1123)."""
ResourceNames = Annotated[
    tuple[ResourceName, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value,
        json_schema_input_type=ResourceName | list[ResourceName],
    ),
]
"""One of them, or a list."""


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

    namespace: Annotated[str, _LABEL] = "default"
    config_file: str | None = None
    """A kubeconfig; default: ``KUBECONFIG``, ``~/.kube/config`` or that of the pod."""
    context: str | None = None
    """A context of the kubeconfig; default: its current one."""
    replicas: Annotated[int, Field(ge=1), NotBool] = 2
    """The fewest pods."""
    max_replicas: Annotated[int, Field(ge=1), NotBool] = 10
    """The most pods; equal to ``replicas`` there is no autoscaling."""
    resources: dict[Literal["requests", "limits"], dict[str, Quantity]] = {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"memory": "1Gi"},
    }
    """Of each pod."""
    claim: ResourceName | None = None
    """A PersistentVolumeClaim that holds ``release_store``, a folder of this machine: pods mount it
    instead of fetching."""
    environment_from: ResourceNames = ()
    """Secrets whose keys become environment variables, such as credentials for the store."""
    service_account: ResourceName | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: ResourceNames = ()
    node_selector: dict[str, str] = {}
    tolerations: tuple[Options, ...] = ()
    annotations: dict[str, str] = {}
    """Of the pods, besides our own."""

    @model_validator(mode="after")
    def _more_than_fewest(self) -> PodTarget:
        if self.max_replicas < self.replicas:
            raise ValueError("'max_replicas' is less than 'replicas'")
        return self

    @model_validator(mode="after")
    def _within_limits(self) -> PodTarget:
        limits = self.resources.get("limits", {})
        for name, amount in self.resources.get("requests", {}).items():
            if name in limits and _amount(amount) > _amount(limits[name]):
                raise ValueError(
                    f"{amount} of {name} are requested, above the limit {limits[name]}"
                )
        return self

    @model_validator(mode="after")
    def _mounted_folder(self) -> PodTarget:
        if self.claim and "://" in self.release_store.removeprefix("file://"):
            raise ValueError("'claim' holds a folder: 'release_store' is its path on this machine")
        return self


class Kubernetes(PodTarget):
    """``target: kubernetes``: a Deployment with its Service, autoscaler and disruption budget."""

    target_cpu: Annotated[int, Field(ge=1, le=100), NotBool] = 70
    """The share of the requested CPU, in percent, that autoscaling aims at."""

    @model_validator(mode="after")
    def _share_of_something(self) -> Kubernetes:
        asked = [kind for kind, amounts in self.resources.items() if "cpu" in amounts]
        if self.replicas < self.max_replicas and not asked:
            raise ValueError(
                "autoscaling goes by the requested CPU: 'resources: {requests: {cpu: 500m}}', or "
                "as many 'max_replicas' as 'replicas'"
            )
        return self


class KServe(PodTarget):
    """``target: kserve``: an InferenceService with the model server as its predictor."""

    replicas: Annotated[int, Field(ge=0), NotBool] = 1
    """The fewest pods; 0 scales to none."""
    scale_metric: Literal["concurrency", "rps", "cpu", "memory"] | None = None
    """What the autoscaler watches; default: KServe's."""
    scale_target: Annotated[int, Field(ge=1), NotBool] | None = None
    """What the metric is to be per pod."""
    mode: Literal["Knative", "Standard", "Serverless", "RawDeployment"] | None = None
    """KServe's deployment mode, as the installed version calls it; default: the cluster's.
    ``Standard`` (``RawDeployment``) scales by CPU or memory, not to none, and has no canaries."""
    storage_initializer: bool = False
    """KServe brings the release to the pod, with the credentials that it finds at
    ``service_account``; default: the server fetches it."""

    @property
    def is_standard(self) -> bool | None:
        """Whether Kubernetes' own Deployments run it; None if the cluster decides."""
        return None if self.mode is None else self.mode in ("Standard", "RawDeployment")

    @model_validator(mode="after")
    def _of_mode(self) -> KServe:
        if self.is_standard and self.replicas == 0:
            raise ValueError(f"'replicas: 0' needs Knative: {self.mode} doesn't scale to none")
        if self.is_standard and self.scale_metric in ("concurrency", "rps"):
            raise ValueError(f"{self.mode} scales by cpu or memory, not by {self.scale_metric}")
        return self

    @model_validator(mode="after")
    def _known_store(self) -> KServe:
        if self.storage_initializer and not self.release_store.startswith(("s3://", "gs://")):
            raise ValueError("'storage_initializer' fetches from s3:// and gs://")
        return self


class DataCapture(Spec):
    """SageMaker's own log of requests and answers."""

    to: Annotated[str, StringConstraints(pattern=r"^s3://.+")]
    """An ``s3://`` URL."""
    percentage: Annotated[int, Field(ge=1, le=100), NotBool] = 100


class Serverless(Spec):
    """A SageMaker endpoint without instances."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 2048
    max_concurrency: Annotated[int, Field(ge=1, le=200), NotBool] = 20
    provisioned: Annotated[int, Field(ge=1, le=200), NotBool] | None = None
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
    instances: Annotated[int, Field(ge=1), NotBool] = 1
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
    def _instances_or_none(self) -> SageMaker:
        if self.serverless and (said := changed(self, ("instance_type", "instances"))):
            raise ValueError(f"'{said[0]}' has no effect beside 'serverless'")
        return self

    @model_validator(mode="after")
    def _whole_network(self) -> SageMaker:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("'subnets' and 'security_groups' go together")
        return self
