"""Partitions of the language → Dagster's."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import dagster as dg

from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import KEY_FORMATS, partitions_of

__all__ = ["partitions_definition"]


def partitions_definition(project: Project, block: Block) -> dg.PartitionsDefinition[str] | None:
    """Dagster's definition of a block's partitions; none for a block in one piece."""
    partitions = partitions_of(project, block)
    return _definition(partitions) if partitions else None


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
