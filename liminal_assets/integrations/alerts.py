"""Alert channels: webhook, Slack, Alertmanager, e-mail, plugins. No address or password is shown.

A plugin is an entry point of the group ``liminal_assets.alerts``: a callable that takes a
:class:`Message` and the alert's ``options`` and raises what it likes if it fails.

.. code-block:: toml

    [project.entry-points."liminal_assets.alerts"]
    pager = "my_package.pager:send"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from liminal_assets.language.alerts import Alert, Alertmanager, Email
from liminal_assets.language.diagnostics import did_you_mean

if TYPE_CHECKING:
    from email.message import EmailMessage

__all__ = [
    "GROUP",
    "DeliveryError",
    "Message",
    "alertmanager_body",
    "deliver",
    "installed_channels",
    "redacted",
    "slack_body",
]

GROUP = "liminal_assets.alerts"
"""The entry-point group of alert channels."""

_TIMEOUT = 5.0
_TRIES = 3
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
_MOST = 2900
"""Characters of one block of a Slack message: 3000 are allowed."""


class DeliveryError(Exception):
    """An alert could not be delivered; the text holds no address."""


@dataclass(frozen=True)
class Message:
    """One piece of news.

    Attributes:
        id: the same however often it is sent, so that a receiver can drop a repeat.
        kind: one of ``AlertEvent``: ``run_failure``, ``breach``, ….
        project: whose it is.
        block: the block that it is about.
        title: what happened, in one line.
        evidence: the findings, a sentence each.
        location: the block's place in the YAML: ``liminal.yml:12:5``.
        link: the page of the run in the Dagster UI.
        at: when it happened.
        details: plain values for machines.
    """

    id: str
    kind: str
    project: str
    block: str
    title: str
    evidence: Sequence[str]
    location: str
    link: str
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The body of a webhook."""
        return {
            "id": self.id,
            "kind": self.kind,
            "project": self.project,
            "block": self.block,
            "title": self.title,
            "evidence": list(self.evidence),
            "location": self.location,
            "link": self.link,
            "at": self.at.isoformat(),
            "details": dict(self.details),
        }

    def as_text(self) -> str:
        """For people who read plain text."""
        findings = "\n".join(f"- {finding}" for finding in self.evidence)
        return f"{self.title}\n\n{findings}\n\nYAML: {self.location}\nRun:  {self.link}\n"


def redacted(text: str, secrets: Sequence[str | None] = ()) -> str:
    """A text without the secrets and without the user and password of any URL in it."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(str(secret), "***")
    return _CREDENTIALS.sub("***", text)


def installed_channels() -> dict[str, Callable[[Message, Mapping[str, Any]], Any]]:
    """The plugins that are installed, by name; none is imported yet."""
    return {
        point.name: cast("Any", lambda *a, p=point: p.load()(*a))
        for point in entry_points(group=GROUP)
    }


def deliver(alert: Alert, message: Message) -> None:
    """Sends a message, with a timeout, and again if that may help.

    Raises:
        DeliveryError: it could not be delivered.
    """
    try:
        if alert.webhook:
            _post(alert.webhook, message.as_dict(), message.id)
        elif alert.slack:
            _post(alert.slack, slack_body(message), message.id)
        elif alert.alertmanager:
            _manager(alert.alertmanager, message)
        elif alert.email:
            _mail(alert.email, message)
        else:
            _plugin(alert, message)
    except DeliveryError as error:
        raise DeliveryError(f"alert {alert.alert}: {error}") from None
    except Exception as error:
        # what a library says may hold the address
        said = redacted(str(error), [*alert.secrets, *map(str, alert.options.values())])
        kind = type(error).__name__
        raise DeliveryError(f"alert {alert.alert}: {kind}: {said[:300]}") from None


def _post(url: str, body: Any, key: str, **options: Any) -> None:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=_TRIES - 1,
        status_forcelist=_TRY_AGAIN,
        allowed_methods=None,
        backoff_factor=0.3,
        redirect=0,
        raise_on_status=False,
        # a server may ask for a longer wait than a sensor has
        respect_retry_after_header=False,
    )
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        try:
            answer = session.post(
                url,
                json=body,
                headers={
                    "Idempotency-Key": key,
                    "User-Agent": "liminal-assets",
                    **options.pop("headers", {}),
                },
                timeout=_TIMEOUT,
                allow_redirects=False,
                **options,
            )
        except requests.Timeout:
            raise DeliveryError(f"no answer within {_TIMEOUT:g} s") from None
        except requests.RequestException as error:
            raise DeliveryError(_unreachable(error)) from None
    if not 200 <= answer.status_code < 300:
        raise DeliveryError(f"the receiver answered {answer.status_code} {answer.reason}")


def _unreachable(error: Exception) -> str:
    """Why a receiver can't be reached, without its address."""
    said = str(error).lower()
    reasons = {
        "refused": "the connection was refused",
        "name or service": "its host name is unknown",
        "resolve": "its host name is unknown",
        "certificate": "its certificate isn't trusted",
        "timed out": f"no answer within {_TIMEOUT:g} s",
        "reset": "the connection was reset",
    }
    reason = next((words for sign, words in reasons.items() if sign in said), None)
    return f"the receiver can't be reached: {reason or type(error).__name__}"


def slack_body(message: Message) -> dict[str, Any]:
    """A message in Slack's blocks, with plain text for notifications."""
    findings = "\n".join(f"• {_slack_text(finding)}" for finding in message.evidence)[:_MOST]
    context = f"`{_slack_text(message.location)}`  <{message.link}|open the run>"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": message.title[:150]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": findings or "-"}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": context[:_MOST]}]},
    ]
    return {"text": _slack_text(message.title), "blocks": blocks}


def _slack_text(text: str) -> str:
    """Slack reads <, > and & as its own marks."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _manager(manager: Alertmanager, message: Message) -> None:
    options: dict[str, Any] = {}
    if manager.token:
        options["headers"] = {"Authorization": f"Bearer {manager.token}"}
    elif manager.user:
        options["auth"] = (manager.user, manager.password or "")
    url = f"{manager.url.rstrip('/')}/api/v2/alerts"
    _post(url, alertmanager_body(manager, message), message.id, **options)


def alertmanager_body(manager: Alertmanager, message: Message) -> list[dict[str, Any]]:
    """A message as Alertmanager's API takes alerts (``POST /api/v2/alerts``): equal labels are one
    alert; what is over ends the alert that began it."""
    over = message.kind == "recovery"
    kind = str(message.details.get("of")) if over else message.kind
    ends = message.at if over else message.at + manager.lasts
    labels = {
        "alertname": "Liminal" + "".join(map(str.capitalize, kind.split("_"))),
        "severity": "warning" if kind == "check_warning" else "critical",
        "project": message.project,
        "block": message.block,
        **manager.labels,
    }
    alert = {
        # a label without a value is none
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {
            "summary": message.title,
            "description": "\n".join(message.evidence),
            "location": message.location,
        },
        "endsAt": ends.isoformat(),
        "generatorURL": message.link,
    }
    return [alert if over else {**alert, "startsAt": message.at.isoformat()}]


def _mail(email: Email, message: Message) -> None:
    import smtplib
    import time

    mail = _letter(email, message)
    for attempt in range(1, _TRIES + 1):
        try:
            _send(email, mail)
            return
        except smtplib.SMTPResponseException as error:
            # 4xx: try again later
            if attempt == _TRIES or not 400 <= error.smtp_code < 500:
                said = f"{error.smtp_code} {type(error).__name__}"
                raise DeliveryError(f"the mail server answered {said}") from None
        except smtplib.SMTPRecipientsRefused:
            raise DeliveryError("the mail server refused the recipients") from None
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(f"the mail server can't do it: {error}") from None
        except (OSError, smtplib.SMTPException) as error:
            if attempt == _TRIES:
                raise DeliveryError(_unreachable(error)) from None
        time.sleep(0.3 * attempt)


def _letter(email: Email, message: Message) -> EmailMessage:
    from email.message import EmailMessage

    mail = EmailMessage()
    mail["Subject"] = " ".join(message.title.split())[:200]
    mail["From"] = email.sender
    mail["To"] = ", ".join(email.to)
    mail["Date"] = message.at
    mail["Message-ID"] = f"<{message.id}@liminal-assets>"
    mail.set_content(message.as_text())
    return mail


def _send(email: Email, mail: EmailMessage) -> None:
    import smtplib
    import ssl

    context = ssl.create_default_context() if email.tls or email.starttls else None
    server: smtplib.SMTP = (
        smtplib.SMTP_SSL(email.host, email.port, timeout=_TIMEOUT, context=context)
        if email.tls
        else smtplib.SMTP(email.host, email.port, timeout=_TIMEOUT)
    )
    with server:
        if email.starttls:
            server.starttls(context=context)
        if email.user:
            server.login(email.user, email.password or "")
        server.send_message(mail)


def _plugin(alert: Alert, message: Message) -> None:
    channels = installed_channels()
    send = channels.get(alert.plugin or "")
    if send is None:
        hint = did_you_mean(alert.plugin or "", channels)
        raise DeliveryError(
            f"no alert channel {alert.plugin!r} is installed" + (f" ({hint})" if hint else "")
        )
    send(message, alert.options)
