"""Amazon CloudWatch: metrics, and alarms on the results of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from liminal_assets.integrations.aws import aws_client, aws_errors
from liminal_assets.integrations.metrics import Metric, MetricsBackend
from liminal_assets.language.diagnostics import Location

__all__ = ["CloudWatch"]

_AT_ONCE = 1000
"""Metrics that one call of CloudWatch takes."""
_PERIOD = 60
"""Seconds that an alarm looks at."""


class CloudWatch(MetricsBackend):
    """Amazon CloudWatch: tags are a metric's dimensions.

    Args:
        connection, region, keys: as of :func:`aws_client`.
        location: what an error points to.
    """

    def __init__(
        self,
        location: Location | None = None,
        *,
        connection: str | None = None,
        region: str | None = None,
        keys: Any = None,
    ) -> None:
        self._location = location
        self._client = aws_client(
            "cloudwatch", connection=connection, region=region, keys=keys, location=location
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

    def set_alarm(
        self, name: str, metric: Metric, *, alarm_actions: Sequence[str], ok_actions: Sequence[str]
    ) -> None:
        """Sets, or replaces, an alarm that goes off when a result is below 1 (a job failed), and
        is over with the next that isn't.

        Args:
            metric: which one it watches; its value doesn't matter.

        Raises:
            StepError: it couldn't be set.
        """
        with aws_errors(f"set the alarm {name!r} of CloudWatch", self._location):
            self._client.put_metric_alarm(
                AlarmName=name,
                AlarmDescription=f"{metric.name} of {', '.join(metric.tags.values())}",
                Namespace=metric.namespace,
                MetricName=metric.name,
                Dimensions=_dimensions(metric),
                Statistic="Minimum",
                Period=_PERIOD,
                EvaluationPeriods=1,
                Threshold=1.0,
                ComparisonOperator="LessThanThreshold",
                # between two runs it stays as it is
                TreatMissingData="ignore",
                AlarmActions=list(alarm_actions),
                OKActions=list(ok_actions),
            )


def _dimensions(metric: Metric) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in metric.tags.items()]


def _datum(metric: Metric) -> dict[str, object]:
    return {
        "MetricName": metric.name,
        "Dimensions": _dimensions(metric),
        "Timestamp": metric.at,
        "Value": metric.value,
        "Unit": metric.unit,
    }
