"""How blocks are cut into partitions: their own way, or that of what they read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from liminal_assets.language.base import Block
from liminal_assets.language.datasets import Dataset, Partitions
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.features import Feature
from liminal_assets.language.monitors import Monitor

if TYPE_CHECKING:
    from liminal_assets.language.loading import Project

__all__ = ["KEY_FORMATS", "inherited_partitions", "partitions_of", "window_of"]

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
    input, batch scores as the feature, a monitor as the batch scores; models are whole."""
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
            own = block.partitions if isinstance(block, Dataset) else None
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
    every = partitions.every
    if every is None:
        if key not in (partitions.values or ()):
            raise ValueError(f"{key!r} is none of {', '.join(partitions.values or ())}")
        return key, key
    origin = datetime.fromisoformat(partitions.start or key)
    start = datetime.strptime(key, KEY_FORMATS[every])
    if every != "hour":
        start = start.replace(hour=origin.hour, minute=origin.minute)
    if every == "month":
        start = start.replace(day=origin.day)
        end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    else:
        end = start + _LENGTHS[every]
    return start.isoformat(sep=" "), end.isoformat(sep=" ")
