"""What a worker process is told when it starts: one JSON value on its standard input.

Whatever a worker needs to know of the project is here, resolved; it reads no ``liminal.yml``.
Secrets travel here too: unlike arguments and environments, nobody else on the machine sees it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.features.lookups import LookupConfig
from liminal_assets.serving.guards.auth import AuthConfig
from liminal_assets.serving.log.destination import LogDestination
from liminal_assets.serving.log.spool import SpoolSettings
from liminal_assets.serving.observing.access import AccessLogConfig
from liminal_assets.serving.observing.telemetry import TelemetryConfig
from liminal_assets.serving.releases.folders import ServingFolders

__all__ = ["EndpointFunction", "Endpoints", "Grpc", "Limits", "Tls", "WorkerConfig"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may be asked for.

    Attributes:
        max_rows: the most rows.
        max_body_mb: the largest body, in MiB.
        under_way: requests that a worker answers at once.
        bodies_mb: what the larger bodies of all of them may take, in MiB.
        timeout_seconds: the longest that a request's body may take to come, and then its answer.
        batch_rows: one-row requests that one call of a slow model answers; 0: each has its own.
        rate: requests a second of one caller to one worker; 0: as many as it likes.
        burst: requests of one caller at once after a pause.
    """

    max_rows: int = 10_000
    max_body_mb: float = 16.0
    under_way: int = 256
    bodies_mb: float = 256.0
    timeout_seconds: float = 30.0
    batch_rows: int = 0
    rate: float = 0.0
    burst: int = 10

    @property
    def max_bytes(self) -> int:
        """The largest body of one request."""
        return int(self.max_body_mb * 1024 * 1024)


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a server proves itself with.

    Attributes:
        cert: the file of the certificate and its chain, as PEM.
        key: the file of its key; empty: in the same file.
    """

    cert: str
    key: str = ""


class Grpc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a server answers gRPC.

    Attributes:
        port: the workers share it; 0: a free one, which the server finds for all of them.
        tls: certificate and key, where connections are encrypted.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls: Tls | None = None


class EndpointFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function that answers at a path."""

    endpoint: str
    module: str
    function: str


class Endpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Functions beside the model.

    Attributes:
        root: where their modules are; ``.``: the folder that the server is started in.
        functions: which.
        threads: how many of them run at once in a worker.
    """

    root: str
    functions: tuple[EndpointFunction, ...]
    threads: int = 8


class WorkerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One worker of a deployment.

    Attributes:
        name: the deployment; its title in the documentation too.
        root: the folder of :class:`~liminal_assets.serving.releases.folders.ServingFolders`.
        limits: what a request may ask for.
        spool: how answered rows are kept; none: they aren't.
        sticky: the header of the requests that one version should answer (canary).
        entity: the columns that name what a row is about, where they decide instead.
        tolerance: the part of the stable version's number by which a candidate's may differ.
        slices: the columns by whose values answers are compared besides.
        drain_seconds: the longest that requests under way may take after SIGTERM.
        drain_wait: how long the server goes on after SIGTERM while it says that it isn't ready.
        auth: who may ask; none: anyone.
        access_log: whether and how requests are written.
        telemetry: where traces go.
        tls: certificate and key, as paths.
        features: how rows are completed that carry only their entity; none: they aren't.
        log: where whoever starts the workers of a server without a project brings what they keep.
        grpc: where gRPC is answered besides; none: nowhere.
        endpoints: functions that answer beside the model.
    """

    name: str
    root: str
    limits: Limits = Limits()
    spool: SpoolSettings | None = None
    sticky: str | None = None
    entity: tuple[str, ...] = ()
    tolerance: float = 0.1
    slices: tuple[str, ...] = ()
    drain_seconds: float = 30.0
    drain_wait: float = 0.0
    auth: AuthConfig | None = None
    access_log: AccessLogConfig | None = None
    telemetry: TelemetryConfig | None = None
    tls: Tls | None = None
    features: LookupConfig | None = None
    log: LogDestination | None = None
    grpc: Grpc | None = None
    endpoints: Endpoints | None = None

    @property
    def public(self) -> WorkerConfig:
        """What anybody may read of it: no keys, nor anything that may hold one."""
        spool = self.spool
        return msgspec.structs.replace(
            self,
            auth=None,
            telemetry=None,
            features=None,
            spool=None if spool and spool.recording.salts else spool,
            log=self.log.public if self.log else None,
        )

    @property
    def folders(self) -> ServingFolders:
        """What the workers and the controller share."""
        return ServingFolders(Path(self.root))

    def to_json(self) -> bytes:
        """What :meth:`from_json` reads."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, said: bytes) -> WorkerConfig:
        """A worker's configuration.

        Raises:
            StepError: it is none.
        """
        try:
            return msgspec.json.decode(said, type=cls)
        except msgspec.DecodeError as error:
            raise StepError(f"this is no configuration of a worker: {error}") from error
