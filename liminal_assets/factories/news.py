"""What alerts tell: failed runs, failed checks and breaches, read from Dagster's event log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import dagster as dg

from liminal_assets.factories.common import asset_key
from liminal_assets.factories.monitors import JUDGEMENT
from liminal_assets.factories.tracking import dagster_url
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Alert, AlertEvent, Monitor
from liminal_assets.steps.judgement import Judgement

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry

    from liminal_assets.integrations.alerts import Message

__all__ = ["Event", "Source", "breaches", "failed_checks", "failed_runs", "message_of"]

_AT_ONCE = 500
_FIRST_LOOK = 20_000
_MOST_FINDINGS = 20
_MOST_CHARACTERS = 500
_WILL_RETRY = "dagster/will_retry"


@dataclass(frozen=True)
class Event:
    """One thing that happened in a project.

    Attributes:
        id: its own, whenever it is read.
        block: the block that it is about.
        check: the asset check, if it is about one.
        findings: what was found, a sentence each.
        details: plain values for machines.
    """

    id: str
    kind: AlertEvent
    run_id: str
    block: str
    at: datetime
    findings: Sequence[str]
    check: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


Source = Callable[
    [dg.DagsterInstance, Project, "int | None", "str | None"], tuple[list[Event], int]
]
"""Reads the events since one: of an instance, about a project, the last event seen, a monitor."""


def failed_runs(
    instance: dg.DagsterInstance, project: Project, after: int | None, about: str | None = None
) -> tuple[list[Event], int]:
    """Runs that failed with an asset of the project, since an event; and the last event."""
    found = []
    entries, last = _entries(instance, dg.DagsterEventType.RUN_FAILURE, after)
    for _, entry in entries:
        run = instance.get_run_by_id(entry.run_id)
        if run is None or not _concerns(instance, run, project):
            continue
        steps = list(_failed_steps(instance, entry.run_id, project))
        said = [finding for _, finding in steps] or [_first_line(entry.message or "the run failed")]
        if run.tags.get(_WILL_RETRY) == "true":
            said.append("Dagster tries it again")
        block = next((name for name, _ in steps if name), "")
        found.append(
            Event(f"run:{run.run_id}", "run_failure", run.run_id, block, _moment(entry), said)
        )
    return found, last


def failed_checks(
    instance: dg.DagsterInstance, project: Project, after: int | None, about: str | None = None
) -> tuple[list[Event], int]:
    """Asset checks of the project that failed, since an event; and the last event.

    A monitor's checks are left out: what they find is told as a breach.
    """
    found = []
    entries, last = _entries(instance, dg.DagsterEventType.ASSET_CHECK_EVALUATION, after)
    for number, entry in entries:
        evaluation = entry.get_dagster_event().asset_check_evaluation_data
        block = _block_of(project, evaluation.asset_key)
        if evaluation.passed or block is None or isinstance(project.blocks.get(block), Monitor):
            continue
        error = evaluation.severity == dg.AssetCheckSeverity.ERROR
        asset = evaluation.asset_key.path[-1]
        said = f"{asset}: {evaluation.check_name}: {evaluation.description or 'failed'}"
        partition = evaluation.metadata.get("partition")
        found.append(
            Event(
                f"check:{number}",
                "check_failure" if error else "check_warning",
                entry.run_id,
                block,
                _moment(entry),
                [said],
                check=evaluation.check_name,
                details={"partition": partition.value} if partition else {},
            )
        )
    return found, last


def breaches(
    instance: dg.DagsterInstance, project: Project, after: int | None, about: str | None
) -> tuple[list[Event], int]:
    """Breaches that a monitor found since an event; and the last event."""
    found: list[Event] = []
    last = after or 0
    key = asset_key(project, about or "")
    while True:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(key, after_storage_id=last or None),
            limit=_AT_ONCE,
            ascending=True,
        ).records
        for record in records:
            materialization = record.asset_materialization
            said = materialization.metadata.get(JUDGEMENT) if materialization else None
            if said is None or not isinstance(said.value, Mapping):
                continue
            judgement = Judgement.from_dict(said.value)
            if judgement.breach:
                found.append(_breach(judgement, record, materialization))
        last = records[-1].storage_id if records else last
        if len(records) < _AT_ONCE:
            return found, last


def _breach(judgement: Judgement, record: Any, materialization: Any) -> Event:
    report = materialization.metadata.get("report")
    window = judgement.window.key
    said = [f"{window}: {cause}" if window else str(cause) for cause in judgement.causes]
    return Event(
        f"breach:{judgement.id}",
        "breach",
        record.run_id,
        judgement.monitor,
        datetime.fromtimestamp(record.timestamp, timezone.utc),
        [*said, f"report: {report.value}"] if report else said,
        details={**judgement.as_dict(), "report": report.value if report else None},
    )


def _entries(
    instance: dg.DagsterInstance, kind: dg.DagsterEventType, after: int | None
) -> tuple[list[tuple[int, EventLogEntry]], int]:
    """Events of one kind of all runs. The storage's public methods read SQLite run by run."""
    found: list[tuple[int, EventLogEntry]] = []
    storage = instance.event_log_storage
    last = after
    if last is None:
        # the events of years are no news
        last = max(0, (storage.get_maximum_record_id() or 0) - _FIRST_LOOK)
    while True:
        page = storage.get_logs_for_all_runs_by_log_id(last, kind, _AT_ONCE)
        found.extend(page.items())
        last = max([last, *page])
        if len(page) < _AT_ONCE:
            return found, last


def _concerns(instance: dg.DagsterInstance, run: dg.DagsterRun, project: Project) -> bool:
    """Whether a run makes or checks assets of a project."""
    keys: Iterable[dg.AssetKey] = run.asset_selection or ()
    if not keys and not run.asset_check_selection:
        planned = instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        ).records
        keys = [record.asset_key for record in planned if record.asset_key]
    checked = (check.asset_key for check in run.asset_check_selection or ())
    return any(key.path[0] == project.name for key in (*keys, *checked))


def _failed_steps(
    instance: dg.DagsterInstance, run_id: str, project: Project
) -> Iterator[tuple[str, str]]:
    """The blocks whose step failed, and what they said."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    for record in records:
        event = record.event_log_entry.get_dagster_event()
        data = event.step_failure_data
        said = data.user_failure_data.description if data.user_failure_data else None
        if said is None:
            said = _first_line(data.error.message if data.error else "failed")
        step = event.step_key or ""
        name = step.removeprefix(f"{project.name}__")
        yield _main(project, name) or "", _shortened(said)


def _block_of(project: Project, key: dg.AssetKey) -> str | None:
    """The block that an asset is of; its own name where the project doesn't know it."""
    if len(key.path) < 2 or key.path[0] != project.name:
        return None
    return _main(project, key.path[-1]) or key.path[-1]


def _main(project: Project, asset: str) -> str | None:
    name = asset if asset in project.blocks else asset.partition("__")[0]
    return name if name in project.blocks else None


def _moment(entry: EventLogEntry) -> datetime:
    return datetime.fromtimestamp(entry.timestamp, timezone.utc)


def _first_line(text: str) -> str:
    return next((line for line in text.strip().splitlines() if line.strip()), "")


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def message_of(
    instance: dg.DagsterInstance, project: Project, alert: Alert, events: Sequence[Event]
) -> Message:
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
        link=dagster_url(first.run_id),
        at=max(event.at for event in events),
        details={"run_id": first.run_id, "events": [_plain(event) for event in events]},
    )


_ORDER: Sequence[AlertEvent] = ("breach", "run_failure", "check_failure", "check_warning")


def _plain(event: Event) -> dict[str, Any]:
    return {"id": event.id, "kind": event.kind, "block": event.block, **event.details}


def _title(project: Project, events: Sequence[Event], first: Event) -> str:
    where = f"{project.name}/{first.block}" if first.block else project.name
    if first.kind == "breach":
        windows = [str(event.details["window"]) for event in events if event.details["window"]]
        named = ", ".join(windows[:3]) + (f" and {len(windows) - 3} more" if windows[3:] else "")
        return f"{where}: breach" + (f" in {named}" if named else "")
    if first.kind == "run_failure":
        return f"{where}: the run failed"
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


def _secrets(project: Project) -> list[str | None]:
    """What must not be told, should an error message hold it."""
    secrets: list[str | None] = []
    for alert in project.spec.alerts:
        secrets += [alert.webhook, alert.slack, alert.email.password if alert.email else None]
    return secrets
