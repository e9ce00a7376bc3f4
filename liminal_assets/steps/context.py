"""What a user function learns about the step it runs in."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from liminal_assets.language.base import Block
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import moments_of, partitions_of

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

__all__ = ["StepContext"]


@dataclass(frozen=True)
class StepContext:
    """The parameter ``context`` of a user function.

    The same in a Dagster step, a notebook and an Airflow task.
    """

    project: Project
    block: Block
    partition_key: str | None = None
    """The partition to make; none for a block in one piece."""
    log: logging.Logger = field(default=logging.getLogger("liminal"), repr=False, compare=False)
    """Writes to the step's log in the Dagster UI."""
    dagster: Any = field(default=None, repr=False, compare=False)
    """Dagster's own context; none outside of a run."""

    @property
    def partition_start(self) -> datetime | None:
        """The first moment of a partition by time, in UTC."""
        return window[0] if (window := self._window()) else None

    @property
    def partition_end(self) -> datetime | None:
        """The moment after the last of a partition by time, in UTC."""
        return window[1] if (window := self._window()) else None

    def _window(self) -> tuple[datetime, datetime] | None:
        partitions = partitions_of(self.project, self.block)
        if partitions is None or partitions.every is None or self.partition_key is None:
            return None
        return moments_of(partitions, self.partition_key)

    def connect(self, name: str | None = None, *, read_only: bool = True) -> BaseBackend:
        """The Ibis backend of a connection of the project; the only one for None.

        Raises:
            StepError: there is no such connection, or it can't be reached.
        """
        from liminal_assets.storage.connections import connect_to

        return connect_to(self.project, name, read_only=read_only)
