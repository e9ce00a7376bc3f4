"""``monitoring``: where the project's own metrics go, and which alarms are set on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from liminal_assets.language.base import Name, Spec, one_of_keys

__all__ = ["AlertsBackend", "MetricsBackendSpec", "Monitoring"]


class MetricsBackendSpec(Spec):
    """Where metrics of runs, assets, sensors and monitors are sent."""

    metrics_backend: Name
    type: Literal["aws_cloudwatch", "prometheus"]
    namespace: str | None = None
    """CloudWatch's namespace."""
    region: Annotated[str | None, Field(alias="AWS_REGION_NAME")] = None
    """Default: boto3's."""
    access_key_id: Annotated[str | None, Field(alias="AWS_ACCESS_KEY_ID", repr=False)] = None
    """Default: what boto3 finds, as below."""
    secret_access_key: Annotated[str | None, Field(alias="AWS_SECRET_ACCESS_KEY", repr=False)] = (
        None
    )
    textfile: str | None = None
    """Prometheus: a file ``….prom`` that node_exporter's textfile collector reads."""
    pushgateway: Annotated[str | None, Field(repr=False)] = None
    """Prometheus: the address of a Pushgateway."""

    @model_validator(mode="after")
    def _of_type(self) -> MetricsBackendSpec:
        if self.type == "aws_cloudwatch":
            if not self.namespace:
                raise ValueError("'namespace' is missing: CloudWatch keeps metrics in namespaces")
            if (self.access_key_id is None) != (self.secret_access_key is None):
                raise ValueError("'AWS_ACCESS_KEY_ID' goes with 'AWS_SECRET_ACCESS_KEY'")
            other: tuple[str, ...] = ("textfile", "pushgateway")
        else:
            one_of_keys(self, "textfile", "pushgateway")
            other = ("region", "access_key_id", "secret_access_key")
        for name in other:
            if getattr(self, name) is not None:
                said = type(self).model_fields[name].alias or name
                raise ValueError(f"{said!r} isn't for 'type: {self.type}'")
        if self.textfile and not self.textfile.endswith(".prom"):
            raise ValueError("'textfile' must end with .prom: the collector reads no other")
        return self


class AlertsBackend(Spec):
    """Alarms on the metrics of a backend: one for each job, on its result."""

    alerts_backend: Name
    type: Literal["aws_cloudwatch"]
    metrics_backend: Name
    """The backend whose metrics they watch."""
    alarm_actions: tuple[str, ...] = ()
    """ARNs of what is done when a job fails, such as topics of SNS."""
    ok_actions: tuple[str, ...] = ()
    """ARNs of what is done when it succeeds again."""


class Monitoring(Spec):
    """Metrics and alarms of the project's runs; in Apache Liminal's words, which it documented."""

    metrics_backends: tuple[MetricsBackendSpec, ...] = ()
    alerts_backends: tuple[AlertsBackend, ...] = ()

    def backend(self, name: str) -> MetricsBackendSpec:
        """The metrics backend of a name.

        Raises:
            KeyError: there is none.
        """
        return {item.metrics_backend: item for item in self.metrics_backends}[name]
