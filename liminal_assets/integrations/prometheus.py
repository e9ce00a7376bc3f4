"""Prometheus: metrics of what doesn't run long enough to be scraped, by a file for node_exporter
or by a Pushgateway."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, pushadd_to_gateway, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from liminal_assets.errors import StepError
from liminal_assets.integrations.metrics import Metric, MetricsBackend
from liminal_assets.language.diagnostics import Location

__all__ = ["Pushgateway", "Textfile", "prometheus_name"]

_PREFIX = "liminal"
_JOB = "liminal"
_TIMEOUT = 10.0
_UNITS = {"Seconds": "seconds"}

Labels = tuple[tuple[str, str], ...]


def prometheus_name(metric: Metric) -> str:
    """A metric's name by Prometheus' conventions.

    >>> prometheus_name(Metric("", "JobDuration", 1.0, unit="Seconds"))
    'liminal_job_duration_seconds'
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", metric.name).lower().strip("_")
    unit = _UNITS.get(metric.unit)
    return "_".join([_PREFIX, words, *([unit] if unit else [])])


def _labels(metric: Metric) -> Labels:
    return tuple(
        (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(), value)
        for name, value in sorted(metric.tags.items())
    )


class _Values(Collector):
    """The newest value of each metric and labels."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, float]] = {}

    def add(self, metric: Metric) -> None:
        self.values.setdefault(prometheus_name(metric), {})[_labels(metric)] = metric.value

    def read(self, text: str) -> None:
        """Takes over what a file has."""
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(sorted(sample.labels.items()))
                self.values.setdefault(sample.name, {})[labels] = sample.value

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, values in sorted(self.values.items()):
            family = GaugeMetricFamily(name, name.removeprefix(f"{_PREFIX}_").replace("_", " "))
            for labels, value in sorted(values.items()):
                family.add_sample(name, dict(labels), value)
            yield family

    def registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(self)
        return registry


class Textfile(MetricsBackend):
    """A file that node_exporter's textfile collector reads: replaced whole, so that no reader sees
    half of it; values of other jobs stay.

    Source: https://github.com/prometheus/node_exporter#textfile-collector
    """

    def __init__(self, file: Path, location: Location | None = None) -> None:
        self._file, self._location = file, location

    def report(self, metrics: Sequence[Metric]) -> None:
        values = _Values()
        try:
            if self._file.exists():
                values.read(self._file.read_text(encoding="utf-8"))
            for metric in metrics:
                values.add(metric)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_to_textfile(str(self._file), values.registry())
        except (OSError, ValueError) as error:
            raise StepError(
                f"cannot write metrics to {self._file}: {error}", location=self._location
            ) from None


class Pushgateway(MetricsBackend):
    """A Pushgateway. Metrics of equal labels are a group, whose newest values it keeps.

    Source: https://github.com/prometheus/pushgateway
    """

    def __init__(self, address: str, location: Location | None = None) -> None:
        self._address, self._location = address, location

    def report(self, metrics: Sequence[Metric]) -> None:
        groups: dict[Labels, _Values] = {}
        for metric in metrics:
            groups.setdefault(_labels(metric), _Values()).add(metric)
        for labels, values in groups.items():
            try:
                pushadd_to_gateway(
                    self._address,
                    job=_JOB,
                    registry=values.registry(),
                    grouping_key=dict(labels),
                    timeout=_TIMEOUT,
                )
            except OSError as error:
                # the address may hold credentials
                reason = getattr(error, "reason", None) or type(error).__name__
                raise StepError(
                    f"the Pushgateway didn't take metrics: {reason}", location=self._location
                ) from None
