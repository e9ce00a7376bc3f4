"""Alerts: where news goes, and which."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from liminal_assets.language.base import Duration, Name, Names, NotBool, Options, Spec, one_of_keys

__all__ = ["Alert", "AlertEvent", "Alertmanager", "Email"]


class Email(Spec):
    """An alert by SMTP."""

    to: Annotated[Names, Field(min_length=1)]
    sender: str
    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535), NotBool] = 25
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


def _is_url(key: str, url: str | None) -> None:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"{key!r} must be a URL that begins with https://")


class Alertmanager(Spec):
    """Prometheus' Alertmanager, which groups, silences and passes on. Short: its URL alone."""

    url: Annotated[str, Field(repr=False)]
    """Such as ``http://alertmanager:9093``. Empty: nothing is sent."""
    labels: dict[Name, str] = {}
    """More labels, or others than ``alertname``, ``severity``, ``project`` and ``block``."""
    lasts: Duration = timedelta(days=1)
    """How long an alert fires where nothing says that it is over."""
    user: str | None = None
    password: Annotated[str | None, Field(repr=False)] = None
    token: Annotated[str | None, Field(repr=False)] = None
    """A bearer token."""

    @model_validator(mode="after")
    def _one_key(self) -> Alertmanager:
        _is_url("url", self.url)
        if self.password and not self.user:
            raise ValueError("'password' goes with 'user'")
        if self.user and self.token:
            raise ValueError("takes 'user' and 'password', or 'token', not both")
        return self


def _as_alertmanager(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


AlertEvent = Literal[
    "run_failure", "check_failure", "check_warning", "breach", "recovery", "stale", "sensor_failure"
]
"""What an alert may tell."""


class Alert(Spec):
    """Where news of breaches and failures goes. Addresses are never printed."""

    alert: Name
    webhook: Annotated[str | None, Field(repr=False)] = None
    """A URL that gets the alert as JSON by POST. Empty, as where an environment variable has no
    value, nothing is sent."""
    slack: Annotated[str | None, Field(repr=False)] = None
    """A Slack incoming-webhook URL. Empty: nothing is sent."""
    alertmanager: Annotated[
        Alertmanager | None,
        BeforeValidator(_as_alertmanager, json_schema_input_type=Alertmanager | str | None),
    ] = None
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
        "recovery",
        "stale",
        "sensor_failure",
    )
    """What it tells: runs of the project that fail, its asset checks that fail with severity
    error or warning; breaches of the monitors that name it under ``on_breach``; assets that are
    older than their ``freshness`` allows; that such a monitor or asset is well again; sensors and
    schedules of the project whose evaluation fails."""

    @model_validator(mode="after")
    def _one_channel(self) -> Alert:
        one_of_keys(self, "webhook", "slack", "alertmanager", "email", "plugin")
        for key in ("webhook", "slack"):
            _is_url(key, getattr(self, key))
        return self

    @property
    def off(self) -> bool:
        """Whether it sends nothing, for its URL is empty."""
        return "" in (self.webhook, self.slack, self.alertmanager and self.alertmanager.url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message, log or error may show."""
        manager, email = self.alertmanager, self.email
        said = [self.webhook, self.slack, email and email.password]
        if manager:
            said += [manager.url, manager.password, manager.token]
        return tuple(secret for secret in said if secret)
