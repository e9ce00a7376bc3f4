"""What a step reads: the partitions of its inputs that belong to the partition it makes."""

from __future__ import annotations

from datetime import timedelta

from liminal_assets.errors import StepError
from liminal_assets.language.base import Block
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import moments_of, overlapping, partitions_of
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["read_input", "read_inputs"]


def read_inputs(
    project: Project, block: Block, names: tuple[str, ...], partition: str | None
) -> dict[str, Table]:
    """The rows of some inputs of a block that one of its partitions is made of.

    Raises:
        StepError: an input has no rows for it yet.
    """
    return {name: read_input(project, block, name, partition) for name in names}


def read_input(
    project: Project,
    block: Block,
    name: str,
    partition: str | None,
    *,
    history: bool = False,
    reach: timedelta | None = None,
    location: Location | None = None,
) -> Table:
    """The rows of one input.

    Of an input that is cut alike it is the same partition, of one cut by other times those that
    overlap it, otherwise everything that there is.

    Args:
        history: read earlier partitions as well, for a point-in-time join.
        reach: how far back; default: everything earlier.

    Raises:
        StepError: there are no such rows yet.
    """
    store = TableStore(project)
    upstream = partitions_of(project, project.block(name)) if name in project.blocks else None
    own = partitions_of(project, block)
    try:
        if partition is None or own is None or upstream is None:
            return store.read(name)
        if upstream.every is None or own.every is None:
            known = upstream.every is None and partition in (upstream.values or ())
            return store.read(name, [partition] if known else None)
        if upstream == own and not history:
            return store.read(name, [partition])
        start, end = moments_of(own, partition)
        first = None if history and reach is None else start - (reach or timedelta())
        existing = store.partitions(name)
        keys = overlapping(upstream, existing, first, end)
        if existing and not keys and not history:
            raise StepError(
                f"{name} has no rows for partition {partition}",
                hint=f"materialise {name} for it first",
            )
        # where nothing was known yet, some later partition tells the columns
        return store.read(name, keys or existing[:1] or None)
    except StepError as error:
        raise error.at(location or project.locate(block, "from", name, key=True)) from None
