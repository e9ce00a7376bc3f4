"""Metrics of jobs, assets, sensors and monitors, and the places that they are sent to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.monitoring import MetricsBackendSpec

__all__ = ["BACKENDS", "Metric", "MetricsBackend", "backend_of", "metrics_backend", "send"]


@dataclass(frozen=True)
class Metric:
    """One number at one moment."""

    namespace: str
    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)
    unit: str = "None"
    """One of CloudWatch's units: ``Seconds``, ``Count``, ``None``."""
    at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


class MetricsBackend(ABC):
    """Where metrics are sent."""

    @abstractmethod
    def report(self, metrics: Sequence[Metric]) -> None:
        """Sends metrics.

        Raises:
            StepError: they couldn't be sent.
        """


def _cloudwatch(location: Location | None) -> MetricsBackend:
    from liminal_assets.integrations.cloudwatch import CloudWatch

    return CloudWatch(location)


BACKENDS: Mapping[str, Callable[[Location | None], MetricsBackend]] = {"cloudwatch": _cloudwatch}
"""The backends by the names that ``metrics.backends`` takes."""


def metrics_backend(name: str, location: Location | None = None) -> MetricsBackend:
    """The backend of a name of ``metrics.backends``.

    Raises:
        StepError: there is none, or it can't be reached.
    """
    if name not in BACKENDS:
        message, hint = f"no metrics backend is called {name!r}", did_you_mean(name, BACKENDS)
        raise StepError(message, location=location, hint=hint)
    return BACKENDS[name](location)


def backend_of(
    spec: MetricsBackendSpec, folder: Path, location: Location | None = None
) -> MetricsBackend:
    """The backend that an item of ``monitoring.metrics_backends`` describes.

    Args:
        folder: where relative paths start.

    Raises:
        StepError: it can't be reached.
    """
    if spec.type == "aws_cloudwatch":
        from liminal_assets.integrations.cloudwatch import CloudWatch

        keys = (spec.access_key_id, spec.secret_access_key)
        return CloudWatch(location, region=spec.region, keys=keys if all(keys) else None)
    from liminal_assets.integrations.prometheus import Pushgateway, Textfile

    if spec.pushgateway:
        return Pushgateway(spec.pushgateway, location)
    return Textfile(folder / str(spec.textfile), location)


def send(spec: MetricsBackendSpec, folder: Path, metrics: Sequence[Metric]) -> None:
    """Sends metrics to an item of ``monitoring.metrics_backends``, in its namespace.

    Args:
        folder: where relative paths start.

    Raises:
        StepError: they couldn't be sent.
    """
    backend = backend_of(spec, folder, spec.location)
    backend.report([replace(metric, namespace=spec.namespace or "") for metric in metrics])
