"""Partitions of the language → Dagster's."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import dagster as dg

from liminal_assets.factories.common import named_key
from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import KEY_FORMATS, partitions_of

__all__ = ["input_dep", "partitions_definition"]

_SHORTEST = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=28),
}


def partitions_definition(project: Project, block: Block) -> dg.PartitionsDefinition[str] | None:
    """Dagster's definition of a block's partitions; none for a block in one piece."""
    partitions = partitions_of(project, block)
    return _definition(partitions) if partitions else None


def input_dep(
    project: Project,
    block: Block,
    name: str,
    *,
    history: bool = False,
    reach: timedelta | None = None,
    window: timedelta | None = None,
) -> dg.AssetKey | dg.AssetDep:
    """What a block depends on when it reads an input, with the partitions that it reads.

    The mapping says what :func:`liminal_assets.steps.inputs.read_input` does, or more than that.

    Args:
        history: whether earlier partitions are read as well, for a point-in-time join.
        reach: how far back; default: everything, of which Dagster is told the partition before.
        window: how far back from its end a partition reads; default: as far as its beginning.
    """
    key = named_key(project, name)
    own = partitions_of(project, block)
    upstream = partitions_of(project, project.blocks[name]) if name in project.blocks else None
    if own is None or upstream is None:
        return key
    if own.every is None or upstream.every is None:
        if own == upstream:
            return key
        known = own.every is None and set(own.values or ()) <= set(upstream.values or ())
        mapping: dg.PartitionMapping = (
            dg.StaticPartitionMapping({value: value for value in own.values or ()})
            if known and upstream.every is None
            else dg.AllPartitionMapping()
        )
        return dg.AssetDep(key, partition_mapping=mapping)
    if own.timezone != upstream.timezone:
        # Dagster maps windows within one time zone; the step reads those that overlap
        return dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping())
    before = 0
    if history:
        before = math.ceil(reach / _SHORTEST[own.every]) if reach else 1
    elif window:
        before = math.ceil(window / _SHORTEST[own.every]) - 1
    if before:
        mapping = dg.TimeWindowPartitionMapping(
            start_offset=-before, allow_nonexistent_upstream_partitions=True
        )
        return dg.AssetDep(key, partition_mapping=mapping)
    if own == upstream:
        return key
    mapping = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
    return dg.AssetDep(key, partition_mapping=mapping)


@lru_cache(maxsize=256)
def _definition(partitions: Partitions) -> dg.PartitionsDefinition[str]:
    if partitions.every is None:
        return dg.StaticPartitionsDefinition(list(partitions.values or ()))
    start = _moment(partitions.start or "", partitions.timezone)
    end = _moment(partitions.end, partitions.timezone) if partitions.end else None
    minute, hour, day, weekday = start.minute, start.hour, start.day, start.isoweekday() % 7
    cron = {
        "hour": f"{minute} * * * *",
        "day": f"{minute} {hour} * * *",
        "week": f"{minute} {hour} * * {weekday}",
        "month": f"{minute} {hour} {day} * *",
    }[partitions.every]
    return dg.TimeWindowPartitionsDefinition(
        start=start,
        end=end,
        timezone=partitions.timezone,
        fmt=KEY_FORMATS[partitions.every],
        cron_schedule=cron,
    )


def _moment(text: str, timezone: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))
