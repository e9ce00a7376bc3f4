"""When the windows of served rows begin and end: one that slides, or one per partition."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from liminal_assets.errors import StepError
from liminal_assets.language.alarm_rates import DEFAULT_WINDOW
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import (
    ended_key,
    moment_before,
    moments_of,
    newest_key,
)
from liminal_assets.steps.observation import Window

__all__ = [
    "partition_window",
    "served_window",
    "sliding_window",
    "window_before",
    "window_of_key",
]

_MONDAY = datetime(1970, 1, 5, tzinfo=timezone.utc)
_DAY = timedelta(days=1)


def served_window(project: Project, monitor: Monitor, key: str | None, now: datetime) -> Window:
    """The window of served rows that is to be judged.

    Args:
        key: the partition; default: the newest that is complete, or without partitions the window
            that ends now.

    Raises:
        StepError: there is no such partition, or it isn't over.
    """
    cut = monitor.partitions
    if cut is None:
        if key is None:
            return sliding_window(monitor, now)
        raise StepError(
            f"the windows of {monitor.name} have no partitions: {key!r} is none of them",
            location=project.locate(monitor),
            hint="judge the newest rows, or say 'partitions: {every: day, start: …}'",
        )
    newest = newest_key(cut, now)
    at = project.locate(monitor, "partitions")
    if key is None and newest is None:
        message = f"no partition of {monitor.name} is complete yet"
        raise StepError(message, location=at, hint=f"they begin at {cut.start}")
    key = key or newest or ""
    hint = f"the newest that is complete is {newest}" if newest else f"they begin at {cut.start}"
    try:
        window = partition_window(monitor, cut, key)
    except ValueError:
        message = f"{monitor.name} has no partition {key!r}"
        raise StepError(message, location=at, hint=hint) from None
    if window.until and window.until > now:
        ends = window.until.astimezone(ZoneInfo(cut.timezone)).isoformat(
            sep=" ", timespec="minutes"
        )
        message = f"the window of {key} can't be judged before it ends, at {ends}"
        raise StepError(message, location=at, hint=hint)
    return window


def sliding_window(monitor: Monitor, now: datetime) -> Window:
    """The newest rows, as far back as ``window`` says.

    It slides, but its name is the period of that length in which it ends (weeks begin on
    Mondays): however often it is judged within one, a breach is the same breach.
    """
    length = monitor.window or DEFAULT_WINDOW
    begin = _MONDAY + length * ((now - _MONDAY) // length)
    form = "%Y-%m-%d" if not length % _DAY else "%Y-%m-%dT%H:%M:%S"
    key = "..".join(moment.strftime(form) for moment in (begin, begin + length))
    return Window(key, now - length, now)


def partition_window(monitor: Monitor, cut: Partitions, key: str) -> Window:
    """The window of a partition: up to its end, from as far back as ``window`` says.

    Raises:
        ValueError: ``key`` is none of the partitions.
    """
    window = window_of_key(monitor, cut, key)
    if window.until is None or newest_key(cut, window.until) != key:
        raise ValueError(f"{key!r} is no key of these partitions")
    return window


def window_before(monitor: Monitor, window: Window) -> Window:
    """The newest window that shares no row with another: that of the newest partition which ended
    when it begins, also before the first; without partitions the one directly before."""
    since = window.since or window.until or datetime.now(timezone.utc)
    if monitor.partitions is None:
        return sliding_window(monitor, since)
    return window_of_key(monitor, monitor.partitions, ended_key(monitor.partitions, since))


def window_of_key(monitor: Monitor, cut: Partitions, key: str) -> Window:
    """The same of a key that may lie before the first partition."""
    since, until = moments_of(cut, key)
    if monitor.window:
        since = moment_before(cut, until, monitor.window)
    return Window(key, since, until, key)
