"""Which partitions a run makes: one, a range, or every one that there is by now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import click
import dagster as dg

from liminal_assets.language.diagnostics import did_you_mean

__all__ = ["Scope", "parse_scope"]

Partitions = dg.PartitionsDefinition[str]


@dataclass(frozen=True)
class Scope:
    """The partitions asked for: from the first key to the last, or all."""

    first: str | None = None
    last: str | None = None
    now: datetime | None = None
    """The moment that says which partitions by time are complete; default: now."""

    @property
    def everything(self) -> bool:
        """Whether no partition was named."""
        return self.first is None

    def __str__(self) -> str:
        return f"{self.first}..{self.last}" if self.first != self.last else str(self.first)

    def all_keys(self, partitions: Partitions) -> list[str]:
        """Every partition that there is by now: by time, those that are complete."""
        now = self.now or datetime.now(timezone.utc)
        return list(partitions.get_partition_keys(current_time=now))

    def keys(self, partitions: Partitions, others: Iterable[Partitions] = ()) -> list[str]:
        """The partitions asked for, in order.

        A key of one of ``others`` that are cut by time stands for the time that it covers.

        Raises:
            click.UsageError: the keys asked for are none of these partitions.
        """
        known = self.all_keys(partitions)
        if self.first is None or self.last is None:
            return known
        if self.first in known and self.last in known:
            return known[known.index(self.first) : known.index(self.last) + 1]
        return self._overlapping(partitions, known, others)

    def _overlapping(
        self, partitions: Partitions, known: Sequence[str], others: Iterable[Partitions]
    ) -> list[str]:
        if isinstance(partitions, dg.TimeWindowPartitionsDefinition):
            for other in others:
                if isinstance(other, dg.TimeWindowPartitionsDefinition) and self.fits(other):
                    start = other.time_window_for_partition_key(str(self.first)).start
                    end = other.time_window_for_partition_key(str(self.last)).end
                    windows = (
                        (key, partitions.time_window_for_partition_key(key)) for key in known
                    )
                    return [
                        key for key, window in windows if window.start < end > start < window.end
                    ]
        return []

    def fits(self, partitions: Partitions) -> bool:
        """Whether the keys asked for are keys of these partitions."""
        known = set(self.all_keys(partitions))
        return self.first in known and self.last in known

    def check(self, definitions: Sequence[Partitions]) -> None:
        """Fails for keys that fit none of the partitions of a selection.

        Raises:
            click.UsageError: with the closest key that there is.
        """
        if self.everything:
            return
        if not definitions:
            raise click.UsageError("nothing that is selected has partitions")
        for definition in definitions:
            if self.fits(definition):
                return
        known = self.all_keys(definitions[0])
        wrong = next((key for key in (self.first, self.last) if key not in known), self.first)
        hint = did_you_mean(str(wrong), known)
        if hint is None and known:
            hint = f"they go from {known[0]} to {known[-1]}"
        raise click.UsageError(f"there is no partition {wrong!r}" + (f" ({hint})" if hint else ""))


def parse_scope(partition: str | None, partition_range: str | None) -> Scope:
    """The scope that ``--partition`` or ``--partition-range`` asks for.

    Raises:
        click.UsageError: both are given, or the range is none.
    """
    if partition and partition_range:
        raise click.UsageError("--partition and --partition-range can't go together")
    if partition:
        return Scope(partition, partition)
    if partition_range:
        first, dots, last = partition_range.partition("..")
        if not (first and dots and last):
            raise click.UsageError(
                f"a range is written as FIRST..LAST, such as 2013-01..2013-06, not "
                f"{partition_range!r}"
            )
        return Scope(first, last)
    return Scope()
