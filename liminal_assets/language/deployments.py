"""Deployments: Deploy and Inference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from liminal_assets.language.base import Block, Duration, Name, Options, Spec, one_of_keys
from liminal_assets.language.prediction_log import PredictionLogging
from liminal_assets.language.protection import (
    AccessLogOption,
    Auth,
    Drain,
    Limits,
    Telemetry,
    Tls,
)
from liminal_assets.language.targets import KServe, Kubernetes, SageMaker

__all__ = [
    "OWN_TARGETS",
    "Batch",
    "BatchTarget",
    "Deployment",
    "Rollout",
    "Serve",
    "deployment_targets",
]

_GROUP = "liminal_assets.targets"
OWN_TARGETS: Mapping[str, str] = {
    "local": "liminal_assets.execution.targets.local:LocalTarget",
    "kubernetes": "liminal_assets.execution.targets.kubernetes:KubernetesTarget",
    "kserve": "liminal_assets.execution.targets.kserve:KServeTarget",
    "sagemaker": "liminal_assets.execution.targets.sagemaker:SageMakerTarget",
}
"""What this package can bring servers to, each as an entry point names its plugin."""


def deployment_targets() -> Mapping[str, EntryPoint]:
    """Where servers can run, by name: our own, and those of installed packages (entry points of
    the group ``liminal_assets.targets``)."""
    own = (EntryPoint(name, value, _GROUP) for name, value in OWN_TARGETS.items())
    return {point.name: point for point in [*entry_points(group=_GROUP), *own]}


def _logging(data: Any) -> Any:
    """``log_predictions: true`` and ``false`` are short for the defaults and for none."""
    return ({} if data else None) if isinstance(data, bool) else data


class Serve(Spec):
    """A model server."""

    target: str = "local"
    """``local``, ``kubernetes``, ``kserve``, ``sagemaker``, or the name of an installed target."""
    kubernetes: Kubernetes | None = None
    """What ``target: kubernetes`` needs."""
    kserve: KServe | None = None
    """What ``target: kserve`` needs."""
    sagemaker: SageMaker | None = None
    """What ``target: sagemaker`` needs."""
    options: Options = {}
    """What an installed target needs."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0: any free port."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port."""
    reload_every: Duration = timedelta(seconds=2)
    """How often the server looks whether another version became champion."""
    max_rows: Annotated[int, Field(ge=1)] = 10_000
    """The most rows that one request may carry."""
    max_body_mb: Annotated[float, Field(gt=0)] = 16.0
    """The largest body that a request may have."""
    form: Literal["auto", "pipeline"] = "auto"
    """``auto``: the fastest form of the model that was proved to answer as the trained pipeline;
    ``pipeline``: always that itself."""
    log_predictions: Annotated[
        PredictionLogging | None,
        BeforeValidator(_logging, json_schema_input_type=bool | PredictionLogging),
    ] = PredictionLogging()
    """Append answered rows to the prediction log, which monitors read; or how."""
    auth: Auth | None = None
    """Who may ask; default: anyone who reaches the port."""
    limits: Limits = Limits()
    """How much is taken on at once."""
    drain: Drain = Drain()
    """How the server ends."""
    tls: Tls | None = None
    """HTTPS; default: HTTP, for this machine or behind a proxy."""
    access_log: AccessLogOption = None
    """``true``, or how requests are written; default: not at all."""
    telemetry: Telemetry | None = None
    """Traces; default: none."""
    trust: Literal["registered", "skops_only"] = "registered"
    """Which models are loaded: any that is registered, its digest checked, or of these only what
    skops wrote, which can hold no code."""

    @model_validator(mode="after")
    def _of_target(self) -> Serve:
        if self.target in OWN_TARGETS:
            if self.options:
                raise ValueError(f"'options' is for installed targets, not for {self.target!r}")
            if self.target != "local" and getattr(self, self.target) is None:
                raise ValueError(
                    f"'target: {self.target}' needs '{self.target}:' with the image and more"
                )
        return self


class Rollout(Spec):
    """How a new champion takes over."""

    strategy: Literal["all_at_once", "canary", "shadow"] = "all_at_once"
    steps: tuple[Annotated[float, Field(gt=0, le=100)], ...] = (5, 25, 100)
    """Canary: the shares of traffic, in percent."""
    wait: Duration | None = None
    """Canary: how long each step lasts."""
    rollback_on: dict[Literal["error_rate", "p99_ms", "disagreement"], float] = {}


class BatchTarget(Spec):
    """Where scores go: a table of a connection, or files."""

    connection: Name | None = None
    table: str | None = None
    file: str | None = None
    """A folder or fsspec URL; one Parquet file per partition."""
    storage_options: Options = {}

    @model_validator(mode="after")
    def _one_target(self) -> BatchTarget:
        if one_of_keys(self, "table", "file") == "file" and self.connection:
            raise ValueError("'connection' goes with 'table'")
        return self


class Batch(Spec):
    """Scores all rows of a feature with the champion."""

    from_: Annotated[Name, Field(alias="from")]
    to: BatchTarget | None = None
    """Besides the asset itself, which is always kept as Parquet."""


class Deployment(Block):
    """A champion in use: a server or batch scores."""

    deployment: Name
    model: Name
    serve: Serve | None = None
    batch: Batch | None = None
    rollout: Rollout = Rollout()

    @model_validator(mode="after")
    def _one_kind(self) -> Deployment:
        one_of_keys(self, "serve", "batch")
        return self

    @property
    def name(self) -> str:
        return self.deployment

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.model, self.batch.from_) if self.batch else (self.model,)
