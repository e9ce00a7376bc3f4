"""What alerts tell: failed runs and checks, breaches, stale assets and failing sensors, read from
Dagster's event log and ticks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus

from liminal_assets.factories.common import asset_key
from liminal_assets.factories.monitors import JUDGEMENT
from liminal_assets.language.alerts import AlertEvent
from liminal_assets.language.base import write_duration
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.judgement import Judgement

if TYPE_CHECKING:
    from dagster._core.definitions.freshness import FreshnessStateChange
    from dagster._core.events.log import EventLogEntry

__all__ = [
    "Event",
    "Source",
    "breaches",
    "concerns",
    "failed_checks",
    "failed_runs",
    "failed_ticks",
    "stale_assets",
]

_AT_ONCE = 500
_FIRST_LOOK = 20_000
_RECENT = 20
_TICKS = timedelta(days=3)
_WILL_RETRY = "dagster/will_retry"


@dataclass(frozen=True)
class Event:
    """One thing that happened in a project.

    Attributes:
        id: its own, whenever it is read.
        run_id: the run that it happened in; empty for what happens outside of runs.
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
        if run is None or not concerns(instance, run, project):
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
    """Breaches that a monitor found since an event, and that it is within bounds again; and the
    last event."""
    found: list[Event] = []
    last = after or 0
    key = asset_key(project, about or "")
    before = _judged_before(instance, key, last)
    while True:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(key, after_storage_id=last or None),
            limit=_AT_ONCE,
            ascending=True,
        ).records
        for record in records:
            materialization = record.asset_materialization
            judgement = _judgement_of(materialization)
            if materialization is None or judgement is None:
                continue
            if judgement.breach:
                found.append(_breach(judgement, record, materialization))
            elif judgement.judged and before and before.breach and _follows(judgement, before):
                found.append(_recovery(judgement, record))
            if judgement.judged and (before is None or _follows(judgement, before)):
                before = judgement
        last = records[-1].storage_id if records else last
        if len(records) < _AT_ONCE:
            return found, last


def _judgement_of(materialization: dg.AssetMaterialization | None) -> Judgement | None:
    said = materialization.metadata.get(JUDGEMENT) if materialization else None
    if said is None or not isinstance(said.value, Mapping):
        return None
    return Judgement.from_dict(said.value)


def _judged_before(instance: dg.DagsterInstance, key: dg.AssetKey, last: int) -> Judgement | None:
    """The judgement of the newest window that was read already."""
    if not last:
        return None
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(key, before_storage_id=last + 1), limit=_RECENT
    ).records
    found = (_judgement_of(record.asset_materialization) for record in records)
    judged = [judgement for judgement in found if judgement and judgement.judged]
    return max(judged, key=_window, default=None)


def _window(judgement: Judgement) -> str:
    return judgement.window.key or ""


def _follows(judgement: Judgement, other: Judgement) -> bool:
    """Whether a window isn't before another: earlier ones may be judged anew."""
    return _window(judgement) >= _window(other)


def _recovery(judgement: Judgement, record: Any) -> Event:
    window = judgement.window.key
    return Event(
        f"recovery:{judgement.id}",
        "recovery",
        record.run_id,
        judgement.monitor,
        datetime.fromtimestamp(record.timestamp, timezone.utc),
        [f"{window}: within bounds" if window else "within bounds"],
        details={"of": "breach", "window": window},
    )


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


def stale_assets(
    instance: dg.DagsterInstance, project: Project, after: int | None, about: str | None = None
) -> tuple[list[Event], int]:
    """Assets that became older than their freshness policy allows since an event, and those that
    are fresh again; and the last event."""
    found = []
    entries, last = _entries(instance, dg.DagsterEventType.FRESHNESS_STATE_CHANGE, after)
    for number, entry in entries:
        change = cast("FreshnessStateChange", entry.get_dagster_event().event_specific_data)
        block = _block_of(project, change.key)
        old, new = change.previous_state.value, change.new_state.value
        if block is None or "FAIL" not in (old, new):
            continue
        stale = new == "FAIL"
        freshness = getattr(project.blocks.get(block), "freshness", None)
        bound = f" the {write_duration(freshness.within)} that" if freshness else " what"
        said = f"it is older than{bound} 'freshness' allows" if stale else "it is fresh again"
        at = datetime.fromtimestamp(change.state_change_timestamp, timezone.utc)
        kind: AlertEvent = "stale" if stale else "recovery"
        details = {} if stale else {"of": "stale"}
        found.append(Event(f"freshness:{number}", kind, "", block, at, [said], details=details))
    return found, last


def failed_ticks(
    instance: dg.DagsterInstance, project: Project, after: int | None, about: str | None = None
) -> tuple[list[Event], int]:
    """Evaluations of the project's sensors and schedules that failed, since a tick, one a day for
    each of them and each error; and the last tick."""
    found: dict[str, Event] = {}
    last = after or 0
    if instance.schedule_storage is None:
        return [], last
    since = (datetime.now(timezone.utc) - _TICKS).timestamp()
    for state in instance.all_instigator_state():
        name = state.instigator_name
        if not name.startswith(f"{project.name}__"):
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            after=since,
            statuses=[TickStatus.FAILURE],
            limit=_AT_ONCE,
        )
        for tick in reversed(ticks):
            number = tick.tick_id
            if number <= (after or 0):
                continue
            last = max(last, number)
            at = datetime.fromtimestamp(tick.timestamp, timezone.utc)
            said = _first_line(tick.error.message if tick.error else "failed")
            digest = hashlib.sha256(said.encode()).hexdigest()[:12]
            event = Event(
                f"tick:{name}:{digest}:{at:%Y-%m-%d}",
                "sensor_failure",
                "",
                _block_in(project, name),
                at,
                [f"{state.instigator_type.value.lower()} {name}: {said}"],
                details={"name": name},
            )
            found.setdefault(event.id, event)
    return list(found.values()), last


def _block_in(project: Project, name: str) -> str:
    """The block that a sensor or schedule is named after; empty if none is."""
    return _main(project, name.removeprefix(f"{project.name}__")) or ""


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


def concerns(instance: dg.DagsterInstance, run: dg.DagsterRun, project: Project) -> bool:
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
        yield _main(project, name) or "", said


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
