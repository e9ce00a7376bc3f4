"""Monitors, alerts and schedules: Monitor and refresh."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from liminal_assets.language.base import (
    Block,
    Duration,
    Name,
    Names,
    Options,
    Spec,
    TimeZone,
    one_of_keys,
)
from liminal_assets.language.cron import Cron
from liminal_assets.language.retraining import Retrain

__all__ = [
    "Alert",
    "AlertEvent",
    "ColumnDrift",
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
    """Default: the monitor's."""
    threshold: Annotated[float, Field(gt=0)] | None = None
    """Default: the monitor's."""
    ignore: bool = False
    """Leave the column out."""


class Drift(Spec):
    """Distance of each column, and of the prediction, from the reference rows."""

    method: DriftMethod = "psi"
    """For ``ks`` and ``chi2`` the statistic is compared (the KS distance, Cramér's V), not a
    p-value, which only grows with the number of rows."""
    threshold: Annotated[float, Field(gt=0)] = 0.2
    """The largest distance of a stable column. Its meaning depends on the method: above 0.2 a
    ``psi`` is customarily called a shift; ``ks``, ``chi2`` and ``jensen_shannon`` go from 0 to 1;
    ``wasserstein`` counts standard deviations of the reference."""
    bins: Annotated[int, Field(ge=2, le=1000)] = 10
    """Quantile bins of number columns, cut at the reference's quantiles."""
    reference: Literal["training", "previous"] = "training"
    """The rows compared with: those the champion learned from, or the window before."""
    columns: dict[str, ColumnDrift] = {}
    """Per column (``prediction`` and ``probability`` too); others use the settings above."""


class Labels(Spec):
    """Where the truth arrives."""

    from_: Annotated[Name, Field(alias="from")]
    """The dataset that holds the truth."""
    key: Annotated[Names, Field(min_length=1)]
    """The entity columns that join it to the predictions."""
    column: str
    """Its column with the truth; null where it isn't known yet."""


class Performance(Spec):
    """Quality of the predictions whose labels are there."""

    metric: str
    """A scikit-learn metric by name, as in ``evaluate``."""
    at_least: float | None = None
    at_most: float | None = None
    labels: Labels
    """Predictions whose truth isn't there yet are left out; how many is reported, and with fewer
    than ``min_rows`` left nothing is judged."""

    @model_validator(mode="after")
    def _one_bound(self) -> Performance:
        one_of_keys(self, "at_least", "at_most")
        return self


class Kpi(Spec):
    """A number by SQL over ``predictions`` (this window's rows)."""

    kpi: Name
    sql: str
    """A DuckDB query whose first value is the number."""
    between: tuple[float, float]
    """The smallest and the largest good value."""

    @model_validator(mode="after")
    def _in_order(self) -> Kpi:
        low, high = self.between
        if not low <= high:
            raise ValueError(f"'between' goes from low to high, not from {low} to {high}")
        return self


class OnBreach(Spec):
    """What a breach leads to."""

    retrain: Name | None = None
    """The model to train again: short for ``retrain: {model: …, when: breach}``, which can say
    more."""
    cooldown: Duration | None = None
    """The ``cooldown`` of that ``retrain``."""
    alert: Names = ()
    """The alerts that are told."""
    fail: bool = False
    """Whether the monitor's run fails as well; by default a breach is a finding, and the run
    that made it a success."""

    @model_validator(mode="before")
    @classmethod
    def _more_is_said_elsewhere(cls, data: Any) -> Any:
        more = [key for key in data if key in _OF_RETRAIN] if isinstance(data, dict) else []
        if more:
            raise ValueError(
                f"{more[0]!r} goes under the monitor's own 'retrain: {{model: …, {more[0]}: …}}', "
                "in place of 'on_breach: {retrain: …}'"
            )
        return data


_OF_RETRAIN = frozenset(Retrain.model_fields) - {"model", "cooldown"}


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
    retrain: Retrain | None = None
    """When a model is trained again."""
    on_breach: OnBreach = OnBreach()

    @model_validator(mode="after")
    def _says_once_what_to_train(self) -> Monitor:
        if self.retrain and (self.on_breach.retrain or self.on_breach.cooldown):
            raise ValueError(
                "'on_breach: {retrain, cooldown}' is short for 'retrain', which is there already"
            )
        policy = self.retrain
        if policy and not self.performance:
            for key, needs in (
                ("when: {labels}", policy.trigger("labels")),
                ("rollback", policy.rollback),
            ):
                if needs:
                    raise ValueError(f"'retrain: {key}' needs 'performance'")
        return self

    @model_validator(mode="after")
    def _watches_something(self) -> Monitor:
        if not (self.drift or self.performance or self.kpis):
            raise ValueError("a monitor needs 'drift', 'performance' or 'kpis'")
        names = [kpi.kpi for kpi in self.kpis]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"kpis of the same name: {', '.join(twice)}")
        return self

    @property
    def name(self) -> str:
        return self.monitor

    @property
    def inputs(self) -> tuple[str, ...]:
        labels = (self.performance.labels.from_,) if self.performance else ()
        return (self.deployment, *labels)

    @property
    def policy(self) -> Retrain | None:
        """When which model is trained again, in whichever form it was written."""
        if self.retrain or not self.on_breach.retrain:
            return self.retrain
        return Retrain(model=self.on_breach.retrain, cooldown=self.on_breach.cooldown)


class Email(Spec):
    """An alert by SMTP."""

    to: Annotated[Names, Field(min_length=1)]
    sender: str
    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    user: str | None = None
    password: Annotated[str | None, Field(repr=False)] = None
    starttls: bool = False
    """Turn the connection into an encrypted one (port 587)."""
    tls: bool = False
    """Encrypted from the start (port 465)."""

    @model_validator(mode="after")
    def _one_encryption(self) -> Email:
        if self.starttls and self.tls:
            raise ValueError("takes 'starttls' or 'tls', not both")
        if self.password and not self.user:
            raise ValueError("'password' goes with 'user'")
        return self


AlertEvent = Literal["run_failure", "check_failure", "check_warning", "breach"]


class Alert(Spec):
    """Where news of breaches and failures goes. Addresses are never printed."""

    alert: Name
    webhook: Annotated[str | None, Field(repr=False)] = None
    """A URL that gets the alert as JSON by POST. Empty, as where an environment variable has no
    value, nothing is sent."""
    slack: Annotated[str | None, Field(repr=False)] = None
    """A Slack incoming-webhook URL. Empty: nothing is sent."""
    email: Email | None = None
    plugin: str | None = None
    """The name of an installed alert channel."""
    options: Annotated[Options, Field(repr=False)] = {}
    """The plugin's own settings."""
    events: Annotated[tuple[AlertEvent, ...], Field(min_length=1)] = (
        "run_failure",
        "check_failure",
        "check_warning",
        "breach",
    )
    """What it tells: runs of the project that fail, its asset checks that fail with severity
    error or warning, and breaches of the monitors that name it under ``on_breach``."""

    @model_validator(mode="after")
    def _one_channel(self) -> Alert:
        one_of_keys(self, "webhook", "slack", "email", "plugin")
        for key in ("webhook", "slack"):
            url = getattr(self, key)
            if url and not url.startswith(("http://", "https://")):
                raise ValueError(f"{key!r} must be a URL that begins with https://")
        return self

    @property
    def off(self) -> bool:
        """Whether it sends nothing, for its URL is empty."""
        return "" in (self.webhook, self.slack)


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
