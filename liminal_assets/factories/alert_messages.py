"""The messages of alerts: a title, findings, the line of the YAML, a link."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from liminal_assets.factories.common import asset_key
from liminal_assets.factories.news import Event
from liminal_assets.factories.tracking import dagster_page, dagster_url
from liminal_assets.language.alerts import AlertEvent
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    from liminal_assets.integrations.alerts import Message

__all__ = ["message_of"]

_MOST_FINDINGS = 20
_MOST_CHARACTERS = 500


def message_of(project: Project, events: Sequence[Event]) -> Message:
    """The message about events of one run."""
    from liminal_assets.integrations.alerts import Message, redacted

    first = min(events, key=lambda event: _ORDER.index(event.kind))
    findings = list(dict.fromkeys(finding for event in events for finding in event.findings))
    shown = [redacted(_shortened(f), _secrets(project)) for f in findings[:_MOST_FINDINGS]]
    if more := len(findings) - _MOST_FINDINGS:
        shown += [f"and {more} more"] if more > 0 else []
    digest = hashlib.sha256("\0".join(sorted(event.id for event in events)).encode())
    return Message(
        id=digest.hexdigest()[:32],
        kind=first.kind,
        project=project.name,
        block=first.block,
        title=_title(project, events, first),
        evidence=shown,
        location=_place(project, first),
        link=_link(project, first),
        at=max(event.at for event in events),
        details={"run_id": first.run_id, "events": [_plain(event) for event in events]},
    )


_ORDER: Sequence[AlertEvent] = (
    "breach",
    "run_failure",
    "check_failure",
    "check_warning",
    "stale",
    "sensor_failure",
    "recovery",
)


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _link(project: Project, event: Event) -> str:
    """The page of the run; of what happens outside of runs that of the asset, or of the sensors."""
    if event.run_id:
        return dagster_url(event.run_id)
    if event.kind == "sensor_failure":
        return dagster_page("automation")
    return dagster_page("assets", *asset_key(project, event.block).path)


_TITLES: Mapping[str, str] = {
    "run_failure": "the run failed",
    "stale": "not fresh any more",
    "sensor_failure": "a sensor or schedule fails",
    "recovery": "well again",
}


def _plain(event: Event) -> dict[str, Any]:
    return {"id": event.id, "kind": event.kind, "block": event.block, **event.details}


def _title(project: Project, events: Sequence[Event], first: Event) -> str:
    where = f"{project.name}/{first.block}" if first.block else project.name
    if first.kind == "breach":
        windows = [str(event.details["window"]) for event in events if event.details["window"]]
        named = ", ".join(windows[:3]) + (f" and {len(windows) - 3} more" if windows[3:] else "")
        return f"{where}: breach" + (f" in {named}" if named else "")
    if said := _TITLES.get(first.kind):
        return f"{where}: {said}"
    count = len(events)
    word = "failed" if first.kind == "check_failure" else "gave a warning"
    return f"{where}: {count} check{'s' if count > 1 else ''} {word}"


def _place(project: Project, event: Event) -> str:
    """The place in the YAML, as ``liminal.yml:12:5``."""
    at = _location(project, event)
    file = at.file.removeprefix(f"{project.root}/")
    return f"{file}:{at.line}:{at.column}"


def _location(project: Project, event: Event) -> Location:
    block = project.blocks.get(event.block)
    if block is None:
        return Location(str(project.file))
    if event.check and isinstance(block, Dataset | Feature):
        from liminal_assets.steps.checks import check_names

        names = check_names(block.checks)
        if event.check in names:
            return project.locate(block, "checks", names.index(event.check))
    if event.check and isinstance(block, Model):
        from liminal_assets.steps.rules import rule_names

        rules = [name for name, _ in rule_names(block)]
        if event.check in rules:
            return project.locate(block, "validate", rules.index(event.check))
    return project.locate(block)


def _secrets(project: Project) -> list[str]:
    """What must not be told, should an error message hold it."""
    return [secret for alert in project.spec.alerts for secret in alert.secrets]
