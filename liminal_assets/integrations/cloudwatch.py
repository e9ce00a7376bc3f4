"""Metrics of jobs and monitors, and where they are sent: to CloudWatch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from liminal_assets.errors import StepError
from liminal_assets.integrations.aws import aws_client, aws_errors
from liminal_assets.language.diagnostics import Location, did_you_mean

__all__ = ["BACKENDS", "CloudWatch", "Metric", "MetricsBackend", "metrics_backend"]

_AT_ONCE = 1000
"""Metrics that one call of CloudWatch takes."""


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


class CloudWatch(MetricsBackend):
    """Amazon CloudWatch: tags are a metric's dimensions.

    Args:
        connection, region: as of :func:`aws_client`.
        location: what an error points to.
    """

    def __init__(
        self,
        location: Location | None = None,
        *,
        connection: str | None = None,
        region: str | None = None,
    ) -> None:
        self._location = location
        self._client = aws_client(
            "cloudwatch", connection=connection, region=region, location=location
        )

    def report(self, metrics: Sequence[Metric]) -> None:
        by_namespace: dict[str, list[Metric]] = {}
        for metric in metrics:
            by_namespace.setdefault(metric.namespace, []).append(metric)
        for namespace, several in by_namespace.items():
            for first in range(0, len(several), _AT_ONCE):
                data = [_datum(metric) for metric in several[first : first + _AT_ONCE]]
                with aws_errors(f"send metrics to {namespace!r} of CloudWatch", self._location):
                    self._client.put_metric_data(Namespace=namespace, MetricData=data)


def _datum(metric: Metric) -> dict[str, object]:
    return {
        "MetricName": metric.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.tags.items()],
        "Timestamp": metric.at,
        "Value": metric.value,
        "Unit": metric.unit,
    }


BACKENDS: Mapping[str, Callable[[Location | None], MetricsBackend]] = {"cloudwatch": CloudWatch}
"""The backends by the names that ``metrics.backends`` takes."""


def metrics_backend(name: str, location: Location | None = None) -> MetricsBackend:
    """The backend of a name.

    Raises:
        StepError: there is none, or it can't be reached.
    """
    if name not in BACKENDS:
        message, hint = f"no metrics backend is called {name!r}", did_you_mean(name, BACKENDS)
        raise StepError(message, location=location, hint=hint)
    return BACKENDS[name](location)
