"""How blocks are cut into partitions: their own way, or that of what they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Dataset, Partitions
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.features import Feature
from liminal_assets.language.monitors import Monitor

if TYPE_CHECKING:
    from liminal_assets.language.loading import Project

__all__ = [
    "KEY_FORMATS",
    "ended_key",
    "inherited_partitions",
    "moment_before",
    "moments_of",
    "newest_key",
    "overlapping",
    "partitions_of",
    "window_of",
]

KEY_FORMATS = {
    "hour": "%Y-%m-%d-%H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
}
"""How a partition's first moment is written as its key."""

_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}


def partitions_of(project: Project, block: Block) -> Partitions | None:
    """How a block is cut: a dataset as it says or as its inputs are, a feature as its first
    input, batch scores as the feature, a monitor as it says or as the batch scores are; models are
    whole."""
    name = getattr(block, "name", None)
    if name is not None and project.blocks.get(name) is block:
        return project.partitions[name]
    return inherited_partitions({**project.blocks, "": block})[""]


def inherited_partitions(blocks: Mapping[str, Any]) -> dict[str, Partitions | None]:
    """How each of some blocks is cut, by the same names."""
    found: dict[str, Partitions | None] = {}
    for start in blocks:
        # iterative, for a chain may be thousands of blocks deep
        path = [start]
        while path:
            name = path[-1]
            block = blocks[name]
            own = block.partitions if isinstance(block, Dataset | Monitor) else None
            sources = () if own else [source for source in _sources(block) if source in blocks]
            following = next((s for s in sources if s not in found and s not in path), None)
            if following is not None:
                path.append(following)
                continue
            found[name] = own or next((cut for s in sources if (cut := found.get(s))), None)
            path.pop()
    return found


def _sources(block: Block) -> tuple[str, ...]:
    """The blocks whose partitions one takes over."""
    if isinstance(block, Dataset):
        return block.inputs
    if isinstance(block, Feature):
        return (block.spine,)
    if isinstance(block, Deployment):
        return (block.batch.from_,) if block.batch else ()
    if isinstance(block, Monitor):
        return (block.deployment,)
    return ()


def window_of(partitions: Partitions, key: str) -> tuple[str, str]:
    """The first moment of a partition and the one after its last, as wall-clock time of the
    partitions' time zone; for listed values the key itself twice.

    Raises:
        ValueError: ``key`` is no key of these partitions.
    """
    if partitions.every is None:
        if key not in (partitions.values or ()):
            raise ValueError(f"{key!r} is none of {', '.join(partitions.values or ())}")
        return key, key
    start, end = moments_of(partitions, key)
    zone = ZoneInfo(partitions.timezone)
    return _wall_clock(start.astimezone(zone)), _wall_clock(end.astimezone(zone))


def _wall_clock(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ")


def moments_of(partitions: Partitions, key: str) -> tuple[datetime, datetime]:
    """The first moment of a partition by time and the one after its last, in UTC.

    A wall-clock time that daylight saving skips is moved behind the gap; one that it repeats is the
    second of the two, and of hours the first. So does Dagster.

    Raises:
        ValueError: ``key`` is no key of these partitions, or they aren't cut by time.
    """
    every = partitions.every
    if every is None:
        raise ValueError("partitions by listed values have no moments")
    zone = ZoneInfo(partitions.timezone)
    origin = _in_zone(partitions.start or key, zone)
    if every == "hour":
        start = _hour(key, zone)
        return start, start + _LENGTHS[every]
    wall = datetime.strptime(key, KEY_FORMATS[every])
    wall = wall.replace(hour=origin.hour, minute=origin.minute)
    if every == "month":
        wall = wall.replace(day=origin.day)
        end = wall.replace(year=wall.year + wall.month // 12, month=wall.month % 12 + 1)
    else:
        if every == "week" and wall.weekday() != origin.weekday():
            raise ValueError(f"{key!r} is no {origin:%A}, on which these weeks begin")
        end = wall + _LENGTHS[every]
    return _moment(wall, zone, fold=1), _moment(end, zone, fold=1)


def newest_key(partitions: Partitions, moment: datetime) -> str | None:
    """The key of the newest partition by time that is complete at a moment; None before the first
    is. So does Dagster."""
    zone = ZoneInfo(partitions.timezone)
    moment = moment.astimezone(timezone.utc)
    if partitions.end:
        moment = min(moment, _moment(_in_zone(partitions.end, zone), zone, fold=1))
    key = ended_key(partitions, moment)
    start = _moment(_in_zone(partitions.start or key, zone), zone, fold=1)
    return key if moments_of(partitions, key)[0] >= start else None


def ended_key(partitions: Partitions, moment: datetime) -> str:
    """The key of the newest partition by time that has ended by a moment, as if partitions had
    neither a first nor a last.

    Raises:
        ValueError: they aren't cut by time.
    """
    every = partitions.every
    if every is None or partitions.start is None:
        raise ValueError("partitions by listed values don't end")
    zone = ZoneInfo(partitions.timezone)
    origin = _in_zone(partitions.start, zone)
    if every == "hour":
        last = (moment.astimezone(timezone.utc) - _LENGTHS[every]).astimezone(zone)
        into = timedelta(
            minutes=(last.minute - origin.minute) % 60,
            seconds=last.second,
            microseconds=last.microsecond,
        )
        start = (last.astimezone(timezone.utc) - into).astimezone(zone)
        # of an hour that daylight saving repeats the second is told by its offset
        return start.strftime(KEY_FORMATS[every] + ("%z" if start.fold else ""))
    day = moment.astimezone(zone).replace(tzinfo=None)
    if every == "week":
        day -= timedelta(days=(day.date() - origin.date()).days % 7)
    elif every == "month":
        day = day.replace(day=1)
    while True:
        key = day.strftime(KEY_FORMATS[every])
        if moments_of(partitions, key)[1] <= moment.astimezone(timezone.utc):
            return key
        day -= _LENGTHS.get(every, timedelta(days=1))
        day = day.replace(day=1) if every == "month" else day


def moment_before(partitions: Partitions, moment: datetime, length: timedelta) -> datetime:
    """The moment that lies a length of time before another. Whole days are counted on the wall
    clock, where one may have 23 hours or 25, as partitions are."""
    if length % _LENGTHS["day"]:
        return moment - length
    zone = ZoneInfo(partitions.timezone)
    return _moment(moment.astimezone(zone).replace(tzinfo=None) - length, zone, fold=1)


def _in_zone(text: str, zone: ZoneInfo) -> datetime:
    """A moment as it is written, as wall-clock time of a time zone."""
    found = datetime.fromisoformat(text)
    return found.astimezone(zone).replace(tzinfo=None) if found.tzinfo else found


def _hour(key: str, zone: ZoneInfo) -> datetime:
    """The hour repeated when daylight saving ends has its offset in its key."""
    written, offset = key[:16], key[16:]
    if offset:
        return datetime.strptime(written + offset, "%Y-%m-%d-%H:%M%z").astimezone(timezone.utc)
    return _moment(datetime.strptime(written, KEY_FORMATS["hour"]), zone)


def _moment(wall: datetime, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    # skipped by daylight saving: the first wall-clock time that exists again
    while not _exists(wall, zone):
        wall = wall.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    there = wall.replace(tzinfo=zone).astimezone(timezone.utc)
    return there.astimezone(zone).replace(tzinfo=None) == wall


def overlapping(
    upstream: Partitions, keys: Iterable[str], start: datetime | None, end: datetime
) -> list[str]:
    """The keys whose windows share a moment with ``[start, end)``; no start: all before ``end``."""
    found = []
    for key in keys:
        first, after = moments_of(upstream, key)
        if first < end and (start is None or after > start):
            found.append(key)
    return found
