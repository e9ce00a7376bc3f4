"""Deployments: Deploy and Inference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from liminal_assets.language.base import (
    Block,
    Duration,
    Finite,
    Name,
    Names,
    NotBool,
    Options,
    Spec,
    changed,
    one_of_keys,
    switched,
)
from liminal_assets.language.lookups import FeatureLookups
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
    "SERVER_PATHS",
    "Batch",
    "BatchTarget",
    "Deployment",
    "Endpoint",
    "RollbackOn",
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


_ONE_PORT = ("kserve", "sagemaker")

SERVER_PATHS = frozenset(
    [
        *("/predict", "/feedback", "/invocations", "/ping", "/health", "/version", "/healthz"),
        *("/readyz", "/info", "/metrics", "/openapi.json", "/docs", "/v2"),
    ]
)
"""Where a model server answers by itself; below ``/v2`` too."""


def _slash(path: str) -> str:
    return "/" + path.lstrip("/")


class Endpoint(Spec):
    """A function that answers beside the model, as those of Apache Liminal's services do."""

    endpoint: Annotated[
        str, StringConstraints(pattern=r"^/?[A-Za-z0-9._~/-]+$"), AfterValidator(_slash)
    ]
    """Its path."""
    module: Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*$")]
    """Found from the folder of the ``liminal.yml`` on."""
    function: Annotated[str, StringConstraints(pattern=r"^\w+$")]
    """It gets the body of a GET or POST as bytes, or nothing if it has no parameter."""

    @model_validator(mode="after")
    def _free(self) -> Endpoint:
        if self.endpoint in SERVER_PATHS or self.endpoint.startswith("/v2/"):
            raise ValueError(f"the model answers at {self.endpoint!r}: choose another path")
        return self


class Batching(Spec):
    """One-row requests that one call of the model answers."""

    max_rows: Annotated[int, Field(ge=2, le=10_000), NotBool] = 64
    """The most rows of a call."""


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
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535), NotBool] = 8080
    """0: any free port."""
    grpc_port: Annotated[int, Field(ge=0, le=65535), NotBool] | None = None
    """Where the Open Inference Protocol is spoken over gRPC besides; 0: any free port; default:
    nowhere."""
    workers: Annotated[int, Field(ge=1, le=256), NotBool] = 1
    """Processes that share the ports."""
    reload_every: Duration = timedelta(seconds=2)
    """How often the server looks whether another version became champion."""
    max_rows: Annotated[int, Field(ge=1), NotBool] = 10_000
    """The most rows that one request may carry."""
    max_body_mb: Annotated[float, Field(gt=0), Finite, NotBool] = 16.0
    """The largest body that a request may have."""
    form: Literal["auto", "pipeline"] = "auto"
    """``auto``: the fastest form of the model that was proved to answer as the trained pipeline;
    ``pipeline``: always that itself."""
    batching: Annotated[
        Batching | None, BeforeValidator(switched, json_schema_input_type=bool | Batching)
    ] = None
    """Let one call of a slow model answer the one-row requests that came during the call before:
    ``true``, or how. One that finds the model free waits for nobody. Default: a call each."""
    log_predictions: Annotated[
        PredictionLogging | None,
        BeforeValidator(switched, json_schema_input_type=bool | PredictionLogging),
    ] = PredictionLogging()
    """Append answered rows to the prediction log, which monitors read; or how."""
    features: Annotated[
        FeatureLookups | None,
        BeforeValidator(switched, json_schema_input_type=bool | FeatureLookups),
    ] = FeatureLookups()
    """Look up in the online store what a row leaves out, by its entity, where the model's feature
    is ``online``; or how; or ``false``."""
    auth: Auth | None = None
    """Who may ask; default: anyone who reaches the port."""
    limits: Limits = Limits()
    """How much is taken on at once."""
    endpoints: tuple[Endpoint, ...] = ()
    """Functions that answer beside the model, with the same guards."""
    endpoint_threads: Annotated[int, Field(ge=1, le=256), NotBool] = 8
    """How many of them run at once in a worker; those with ``async`` need none."""
    drain: Drain = Drain()
    """How the server ends."""
    tls: Tls | None = None
    """HTTPS, and gRPC over TLS; default: neither, for this machine or behind a proxy."""
    access_log: AccessLogOption = None
    """``true``, or how requests are written; default: not at all."""
    telemetry: Telemetry | None = None
    """Traces; default: none."""
    trust: Literal["registered", "skops_only"] = "registered"
    """Which models are loaded: any that is registered, its digest checked, or of these only what
    skops wrote, which can hold no code."""
    trusted_types: Names = ()
    """With ``skops_only``: types of yours that such a model may make when it is loaded, besides
    scikit-learn's, NumPy's, SciPy's and this package's; ``module.Class``, or ``module.`` for all of
    a module."""

    @model_validator(mode="after")
    def _of_target(self) -> Serve:
        if self.target in OWN_TARGETS:
            if self.options:
                raise ValueError(f"'options' is for installed targets, not for {self.target!r}")
            if self.target != "local" and getattr(self, self.target) is None:
                raise ValueError(
                    f"'target: {self.target}' needs '{self.target}:' with the image and more"
                )
        paths = [one.endpoint for one in self.endpoints]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise ValueError(f"two endpoints are at {twice!r}")
        if self.endpoints and self.target == "sagemaker":
            raise ValueError(
                "SageMaker asks '/invocations' alone: endpoints can't be reached there"
            )
        if self.trusted_types and self.trust != "skops_only":
            raise ValueError("'trusted_types' goes with 'trust: skops_only'")
        if not self.endpoints and changed(self, ("endpoint_threads",)):
            raise ValueError("'endpoint_threads' goes with 'endpoints', and there are none")
        if self.grpc_port is not None:
            if self.target in _ONE_PORT:
                raise ValueError(f"'target: {self.target}' has one port, that of HTTP")
            if self.grpc_port and self.grpc_port == self.port:
                raise ValueError(f"'port' and 'grpc_port' are both {self.port}")
        return self


HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Share = Annotated[float, Field(gt=0, le=100), NotBool]
Fraction = Annotated[float, Field(ge=0, le=1), NotBool]


class RollbackOn(Spec):
    """What takes a candidate back. Each is judged over at least ``min_requests``, and earlier where
    so many wouldn't save it any more."""

    error_rate: Fraction | None = None
    """The largest share of requests that fail: status 5xx, and refusals (4xx) as far as they are
    clearly more than the stable version's."""
    p99_ms: Annotated[float, Field(gt=0), Finite, NotBool] | None = None
    """Canary: the longest that 99 % of its answers may take, in milliseconds."""
    disagreement: Fraction | None = None
    """The largest share of rows to which both versions say something else."""
    metric: str | None = None
    """With ``worse_by``: a scikit-learn metric by name, of both versions over the same rows, those
    whose labels are there: of ``/feedback``, or of a monitor's ``labels``."""
    worse_by: Annotated[float, Field(ge=0), NotBool] | None = None
    """The most by which the candidate's metric may be worse than the stable version's."""
    slice_worse_by: Annotated[float, Field(ge=0), NotBool] | None = None
    """The same in each of the ``slices`` that has ``min_labels`` labels."""

    @model_validator(mode="after")
    def _by_labels(self) -> RollbackOn:
        if self.metric is not None and self.worse_by is None:
            raise ValueError("'metric' needs 'worse_by': by how much may it be worse?")
        for name in ("worse_by", "slice_worse_by"):
            if self.metric is None and getattr(self, name) is not None:
                raise ValueError(f"'{name}' needs the 'metric' that it is about")
        return self


class Rollout(Spec):
    """How a new champion takes over. A rollback waits for nothing."""

    strategy: Literal["all_at_once", "canary", "shadow"] = "all_at_once"
    """``canary``: the new version answers a growing share of requests; ``shadow``: it answers in
    the background, and nobody sees it."""
    steps: tuple[Share, ...] = (5, 25, 100)
    """Canary: the shares of requests, in percent, each larger than the one before."""
    wait: Duration | None = None
    """Canary: the shortest time of each step; default: until ``min_requests`` are there."""
    share: Share = 100
    """Shadow: the share of requests that the candidate answers too, in percent."""
    for_: Annotated[Duration | None, Field(alias="for")] = None
    """Shadow: the shortest time; default: until ``min_requests`` are there."""
    then: Literal["promote", "wait"] = "promote"
    """Shadow: at the end the candidate takes over, or waits for another ``liminal promote``."""
    min_requests: Annotated[int, Field(ge=1), NotBool] = 100
    """What the candidate must have answered in a step before the next: requests, and rows where
    answers are compared."""
    min_labels: Annotated[int, Field(ge=1), NotBool] = 100
    """With ``rollback_on: {metric: …}``: the labelled rows that both versions must have answered
    since the rollout began."""
    rollback_on: RollbackOn = RollbackOn()
    """What takes the candidate back, and the champion's alias with it."""
    tolerance: Annotated[float, Field(ge=0), Finite, NotBool] = 0.1
    """Numbers disagree that differ by more than this part of the stable version's; labels if they
    aren't the same."""
    slices: tuple[str, ...] = ()
    """Columns by whose values answers are compared besides; default: those that the model is
    evaluated by."""
    sticky: HeaderName | None = None
    """Canary: ``entity``, and requests about the same entity are answered by the same version; or
    the name of a header (gRPC: of metadata), and those that say the same there are. Without it
    each request is drawn by itself."""

    @model_validator(mode="after")
    def _of_strategy(self) -> Rollout:
        for strategy, fields in _FIELDS_OF.items():
            if self.strategy not in strategy.split() and (said := changed(self, fields)):
                raise ValueError(
                    f"'{said[0]}' goes with 'strategy: {strategy.replace(' ', ' or ')}'"
                )
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("'steps' must grow")
        if not self.steps:
            raise ValueError("'steps' needs one share at least")
        if self.strategy == "shadow" and self.rollback_on.p99_ms is not None:
            raise ValueError("nobody waits for a shadow's answers: 'p99_ms' goes with a canary")
        return self

    @model_validator(mode="after")
    def _of_comparison(self) -> Rollout:
        if not self.compares and (said := changed(self, ("tolerance", "slices"))):
            raise ValueError(
                f"'{said[0]}' is about answers that are compared: a canary compares them with "
                "'rollback_on: {disagreement: …}' or a 'metric'"
            )
        if self.rollback_on.metric is None and changed(self, ("min_labels",)):
            raise ValueError("'min_labels' goes with 'rollback_on: {metric: …, worse_by: …}'")
        return self

    @property
    def by_entity(self) -> bool:
        """Whether the entity decides which version answers."""
        return self.sticky == "entity"

    @property
    def compares(self) -> bool:
        """Whether both versions are asked the same."""
        limits = self.rollback_on
        asks = limits.disagreement is not None or limits.metric is not None
        return self.strategy == "shadow" or asks


_FIELDS_OF = {
    "canary": {"steps", "wait", "sticky"},
    "shadow": {"share", "for_", "then"},
    "canary shadow": {"min_requests", "min_labels", "rollback_on", "tolerance", "slices"},
}


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
        if one_of_keys(self, "serve", "batch") == "batch" and self.rollout != Rollout():
            raise ValueError(
                "'rollout' goes with 'serve': batch scores are those of the champion, at once"
            )
        return self

    @property
    def name(self) -> str:
        return self.deployment

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.model, self.batch.from_) if self.batch else (self.model,)
