"""Alerts: failures, breaches, stale assets and failing sensors are told, each at least once.

A failed asset check fails no run, so Dagster's run-failure sensors never see it
(dagster-io/dagster#17251): checks are read from the event log, as Dagster's daemon reads it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from liminal_assets.factories.alert_messages import message_of
from liminal_assets.factories.common import project_of, spec_of
from liminal_assets.factories.news import (
    Event,
    Source,
    breaches,
    failed_checks,
    failed_runs,
    failed_ticks,
    stale_assets,
)
from liminal_assets.language.alerts import Alert
from liminal_assets.language.loading import Project

__all__ = ["alert_sensor"]

_SECONDS = 30
_BUDGET = 40.0
"""Seconds of one evaluation: the daemon waits for a minute."""
_FIRST_LOOK = timedelta(days=1)
_GIVE_UP = timedelta(days=3)
_REMEMBERED = 200
_FAILURES = ("run_failure", "check_failure", "check_warning")
_SAID_ONCE = ("breach", "recovery", "sensor_failure")
"""What may be found again under the same id."""


@dataclass(frozen=True)
class _Progress:
    """What an alert has read and told.

    Attributes:
        after: the last event read of each source.
        told: events after those that were delivered while others could not be.
        once: the newest breaches and other findings told: found again they are no news.
    """

    after: Mapping[str, int]
    told: tuple[str, ...] = ()
    once: tuple[str, ...] = ()

    @classmethod
    def of(cls, cursor: str | None) -> _Progress:
        said = json.loads(cursor) if cursor else {}
        after, told, once = (said.get(key) or () for key in ("after", "told", "once"))
        return cls(dict(after), tuple(told), tuple(once))

    def as_cursor(self) -> str:
        return json.dumps({"after": dict(self.after), "told": self.told, "once": self.once})


def alert_sensor(
    spec: Alert | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    monitors: Sequence[str] | None = None,
    **keywords: Any,
) -> dg.SensorDefinition:
    """Tells of the project's runs that fail, its asset checks that fail, the breaches of the
    monitors that name the alert under ``on_breach.alert``, assets that aren't fresh any more, and
    sensors and schedules whose evaluation fails.

    Each event is delivered at least once, and not twice unless the daemon dies in between. What
    can't be delivered is tried again at every evaluation for three days; the sensor's ticks say
    so. A new alert begins with the events of the last day.

    >>> la.alert_sensor(alert="ops", slack=os.environ["SLACK_URL"], project="shop")

    Args:
        spec: the alert; or ``keywords`` as in YAML.
        project: the project, or the name whose asset keys begin with it.
        monitors: the monitors whose breaches it tells; default: those that name it.

    Raises:
        ValueError: the keywords make no alert.
    """
    alert = spec_of(Alert, spec, **keywords)
    owner = project_of(project, alert, "alerts")
    watched = tuple(
        [m.name for m in owner.spec.monitors if alert.alert in m.on_breach.alert]
        if monitors is None
        else monitors
    )

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if alert.off:
            return dg.SensorResult(skip_reason=f"{alert.alert} is off: its URL is empty")
        return _evaluate(context, owner, alert, watched)

    return dg.SensorDefinition(
        name=f"{owner.name}__{alert.alert}__alert",
        evaluation_fn=evaluate,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells {alert.alert} of failures and breaches in {owner.name}.",
    )


def _evaluate(
    context: dg.SensorEvaluationContext, project: Project, alert: Alert, monitors: Sequence[str]
) -> dg.SensorResult:
    before = _Progress.of(context.cursor)
    events, after = _new_events(context.instance, project, alert, monitors, before)
    known = {*before.told, *before.once}
    news = _by_run(event for event in events if event.id not in known)
    told, problem = _tell(context, project, alert, news)
    delivered = [event.id for event in told]
    remembered = dict.fromkeys(
        [*before.once, *(event.id for event in told if event.kind in _SAID_ONCE)]
    )
    once = tuple(remembered)[-_REMEMBERED:]
    if problem is not None:
        # read again next time, except what was told
        progress = replace(before, told=(*before.told, *delivered), once=once)
        context.log.error(problem)
        return dg.SensorResult(skip_reason=problem, cursor=progress.as_cursor())
    progress = _Progress(after, (), once)
    said = f"told {alert.alert} of {len(delivered)} event{'s' if len(delivered) != 1 else ''}"
    reason = said if delivered else "nothing failed since the last look"
    return dg.SensorResult(skip_reason=reason, cursor=progress.as_cursor())


def _new_events(
    instance: dg.DagsterInstance,
    project: Project,
    alert: Alert,
    monitors: Sequence[str],
    progress: _Progress,
) -> tuple[list[Event], dict[str, int]]:
    """What happened since the last look, the oldest first, and how far that is."""
    first_look = datetime.now(timezone.utc) - (_GIVE_UP if progress.after else _FIRST_LOOK)
    after = dict(progress.after)
    found: list[Event] = []
    wanted = set(alert.events)
    sources: list[tuple[str, Source, str | None]] = []
    if "run_failure" in wanted:
        sources.append(("runs", failed_runs, None))
    if wanted & {"check_failure", "check_warning"}:
        sources.append(("checks", failed_checks, None))
    if wanted & {"stale", "recovery"}:
        sources.append(("freshness", stale_assets, None))
    if "sensor_failure" in wanted:
        sources.append(("ticks", failed_ticks, None))
    if wanted & {"breach", "recovery"}:
        sources += [(f"monitor {name}", breaches, name) for name in monitors]
    for name, read, about in sources:
        events, last = read(instance, project, after.get(name), about)
        after[name] = last
        found.extend(e for e in events if e.kind in wanted and e.at >= first_look)
    return sorted(found, key=lambda event: (event.at, event.id)), after


def _by_run(events: Iterable[Event]) -> list[list[Event]]:
    """A message per run and kind of news: a run that failed and why its checks did are one."""
    groups: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        failed = event.kind in _FAILURES
        key = (event.run_id, "" if failed else event.kind, "" if failed else event.block)
        groups.setdefault(key, []).append(event)
    return list(groups.values())


def _tell(
    context: dg.SensorEvaluationContext,
    project: Project,
    alert: Alert,
    news: Sequence[Sequence[Event]],
) -> tuple[list[Event], str | None]:
    """Delivers messages in order.

    Returns:
        The events delivered, and why the rest wasn't.
    """
    from liminal_assets.integrations.alerts import DeliveryError, deliver

    told: list[Event] = []
    started = time.monotonic()
    for place, events in enumerate(news):
        waiting = len(news) - place
        if time.monotonic() - started > _BUDGET:
            return told, f"{waiting} messages to {alert.alert} go out at the next evaluation"
        try:
            deliver(alert, message_of(project, events))
        except DeliveryError as error:
            return told, f"could not deliver to {error}; {waiting} wait, and it tries again"
        told.extend(events)
    return told, None
