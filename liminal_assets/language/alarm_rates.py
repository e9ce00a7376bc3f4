"""How long windows are, how often they come, and whether a rate of alarms makes sense for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.partitions import partitions_of

if TYPE_CHECKING:
    from liminal_assets.language.loading import Project
    from liminal_assets.language.monitors import Monitor

__all__ = [
    "DEFAULT_WINDOW",
    "alarm_mistake",
    "alarm_mistakes",
    "window_interval",
    "window_length",
]

DEFAULT_WINDOW = timedelta(days=7)
"""How far back a window of served rows reaches."""
_LENGTHS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=365.25 / 12),
}
_MOST = 0.5
"""A monitor of which more windows may alarm by chance says nothing."""


def window_length(project: Project, monitor: Monitor) -> timedelta | None:
    """How far a window reaches, on average; None where nothing says it."""
    return (monitor.partitions and monitor.window) or window_interval(project, monitor)


def window_interval(project: Project, monitor: Monitor) -> timedelta | None:
    """How often windows come, on average; None where nothing says it. Windows that reach further
    back than that share rows."""
    deployment = project.blocks.get(monitor.deployment)
    served = isinstance(deployment, Deployment) and deployment.batch is None
    if served and monitor.partitions is None:
        return monitor.window or DEFAULT_WINDOW
    partitions = partitions_of(project, monitor)
    if partitions is not None and partitions.every is not None:
        return _LENGTHS[partitions.every]
    return monitor.window


def alarm_mistake(project: Project, monitor: Monitor) -> tuple[str, str] | None:
    """What is wrong with the rate of a monitor, and what to do; None if nothing is."""
    if monitor.alarms is None:
        return None
    interval, rate = window_interval(project, monitor), monitor.alarms.at_most
    if interval is None:
        return (
            "a rate of alarms needs to know how often windows come",
            "partition the scores by time, or say how often they are made: 'window: 1d'",
        )
    if rate.within(interval) > _MOST:
        days = interval / timedelta(days=1)
        return (
            f"{rate} lets {min(rate.within(interval), 1.0):.0%} of the windows alarm by chance: "
            f"one comes every {days:.3g} days",
            f"ask for fewer, such as '{_fewer(days)}'",
        )
    return None


def _fewer(days: float) -> str:
    """A rate that lets about a twelfth of the windows alarm."""
    for size, unit in ((1.0, "day"), (7.0, "week"), (30.4, "month"), (365.0, "year")):
        if size >= 6 * days:
            return f"1 per {unit}"
    return "1 per 5 years"


def alarm_mistakes(project: Project) -> Iterator[Diagnostic]:
    """Rates of alarms that make no sense for the windows of their monitors."""
    for monitor in project.spec.monitors:
        if found := alarm_mistake(project, monitor):
            at = project.locate(monitor, "alarms", "at_most")
            yield Diagnostic(at, "alarms", *found)
