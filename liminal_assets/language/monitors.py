"""Monitors, alerts and schedules: Monitor and refresh."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from liminal_assets.language.base import Block, Duration, Name, Names, Spec, TimeZone, one_of_keys
from liminal_assets.language.cron import Cron

__all__ = [
    "Alert",
    "Drift",
    "DriftMethod",
    "Email",
    "Kpi",
    "Labels",
    "Monitor",
    "OnBreach",
    "Performance",
    "Schedule",
]

DriftMethod = Literal["psi", "ks", "chi2", "wasserstein", "jensen_shannon"]


class ColumnDrift(Spec):
    """How one column's drift is measured, where it differs from the monitor's."""

    method: DriftMethod | None = None
    threshold: Annotated[float, Field(gt=0)] | None = None
    ignore: bool = False


class Drift(Spec):
    """Distance of each column, and of the prediction, from the reference rows."""

    method: DriftMethod = "psi"
    """For ``ks`` and ``chi2`` the statistic is compared (the KS distance, Cramér's V), not a
    p-value, which only grows with the number of rows."""
    threshold: Annotated[float, Field(gt=0)] = 0.2
    bins: Annotated[int, Field(ge=2, le=1000)] = 10
    reference: Literal["training", "previous"] = "training"
    """The rows compared with: those the champion learned from, or the window before."""
    columns: dict[str, ColumnDrift] = {}
    """Per column; others use the settings above."""


class Labels(Spec):
    """Where the truth arrives."""

    from_: Annotated[Name, Field(alias="from")]
    key: Names
    """The entity columns that join it to the predictions."""
    column: str


class Performance(Spec):
    """Quality of the predictions whose labels are there."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    labels: Labels

    @model_validator(mode="after")
    def _one_bound(self) -> Performance:
        one_of_keys(self, "at_least", "at_most")
        return self


class Kpi(Spec):
    """A number by SQL over ``predictions`` (this window's rows)."""

    kpi: Name
    sql: str
    between: tuple[float, float]


class OnBreach(Spec):
    """What a breach leads to."""

    retrain: Name | None = None
    """The model to train again."""
    cooldown: Duration | None = None
    """The shortest time between two retrainings."""
    alert: Names = ()


class Monitor(Block):
    """Watches a deployment's rows: drift, performance and KPIs."""

    monitor: Name
    deployment: Name
    window: Duration | None = None
    """Served rows: how far back a window reaches (default 7d). Batch scores are watched by
    partition."""
    min_rows: Annotated[int, Field(ge=1)] = 100
    """A window with fewer rows is reported, not judged."""
    drift: Drift | None = None
    performance: Performance | None = None
    kpis: tuple[Kpi, ...] = ()
    on_breach: OnBreach = OnBreach()

    @model_validator(mode="after")
    def _watches_something(self) -> Monitor:
        if not (self.drift or self.performance or self.kpis):
            raise ValueError("a monitor needs 'drift', 'performance' or 'kpis'")
        return self

    @property
    def name(self) -> str:
        return self.monitor

    @property
    def inputs(self) -> tuple[str, ...]:
        labels = (self.performance.labels.from_,) if self.performance else ()
        return (self.deployment, *labels)


class Email(Spec):
    """An alert by SMTP."""

    to: Names
    sender: str
    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    user: str | None = None
    password: str | None = None
    starttls: bool = False


class Alert(Spec):
    """Where news of breaches and failures goes. Addresses are never printed."""

    alert: Name
    webhook: str | None = None
    """A URL that gets the alert as JSON by POST."""
    slack: str | None = None
    """A Slack incoming-webhook URL."""
    email: Email | None = None
    plugin: str | None = None
    """The name of an installed alert channel."""
    options: dict[str, Any] = {}
    """The plugin's own settings."""

    @model_validator(mode="after")
    def _one_channel(self) -> Alert:
        one_of_keys(self, "webhook", "slack", "email", "plugin")
        return self


class Schedule(Spec):
    """Refreshes blocks and everything upstream of them at set times."""

    schedule: Name
    cron: Cron
    """When: minute, hour, day of the month, month, day of the week; or ``@daily`` and the like."""
    timezone: TimeZone = "UTC"
    refresh: Annotated[Names, Field(min_length=1)]
    """Blocks; partitioned ones refresh their newest complete partition."""
    description: str | None = None
    running: bool = True
    """Whether it starts switched on."""
