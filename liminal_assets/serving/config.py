"""What a worker process is told when it starts: one JSON value on its standard input.

Whatever a worker needs to know of the project is here, resolved; it reads no ``liminal.yml``.
Secrets travel here too: unlike arguments and environments, nobody else on the machine sees it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.folders import ServingFolders

__all__ = ["Limits", "WorkerConfig"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much one request may ask for.

    Attributes:
        max_rows: the most rows.
        max_body_mb: the largest body, in MiB.
    """

    max_rows: int = 10_000
    max_body_mb: float = 16.0


class WorkerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One worker of a deployment.

    Attributes:
        name: the deployment; its title in the documentation too.
        root: the folder of :class:`~liminal_assets.serving.folders.ServingFolders`.
        limits: what a request may ask for.
        log: whether answered rows are logged.
        sticky: the header of the requests that one version should answer (canary).
        drain_seconds: the longest that requests under way may take after SIGTERM.
    """

    name: str
    root: str
    limits: Limits = Limits()
    log: bool = True
    sticky: str | None = None
    drain_seconds: float = 30.0

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
