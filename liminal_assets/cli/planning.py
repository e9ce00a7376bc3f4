"""What a run would do and why: Dagster's own staleness, and what Dagster can't see.

Dagster tells missing assets, changed code and changed inputs. Added here: files that changed,
attempts that failed, partitions that a model hasn't learned from yet, and what follows from all of
these downstream.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleCause,
    StaleCauseCategory,
    StaleStatus,
    extract_data_provenance_from_entry,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.loader import LoadingContext
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from liminal_assets.cli.batches import Wanted
from liminal_assets.cli.output import label_of
from liminal_assets.cli.scope import Scope
from liminal_assets.cli.session import Session
from liminal_assets.errors import StepError
from liminal_assets.factories.models import until_of
from liminal_assets.language.datasets import Dataset
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor

__all__ = ["Plan", "Planned", "make_plan"]

_SOURCE_VERSION = "liminal/source_version"
_FAILED = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Planned:
    """One asset that a run would make."""

    key: dg.AssetKey
    state: str
    """``new`` (never made), ``missing`` (some partitions) or ``changed``."""
    partitions: tuple[str, ...] | None
    """The partitions to make; None for an asset in one piece."""
    reasons: tuple[str, ...]
    """Why, most of all first; partitions that share a reason name it once."""


@dataclass(frozen=True)
class Plan:
    """What a run would make, in the order of the graph, and what it would leave."""

    planned: tuple[Planned, ...]
    fresh: tuple[dg.AssetKey, ...]

    @property
    def wanted(self) -> dict[dg.AssetKey, Sequence[str] | None]:
        """The assets and partitions to make."""
        return {entry.key: entry.partitions for entry in self.planned}


def make_plan(session: Session, wanted: Wanted, scope: Scope) -> Plan:
    """Which of the assets and partitions of ``wanted`` a run would make."""
    with partition_loading_context(dynamic_partitions_store=session.instance):
        return _Planner(session, wanted, scope).plan()


class _Loading(LoadingContext):
    """What Dagster's loaders need: the instance, and a place for what they loaded."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[type, Any] = {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict[type, Any]:
        return self._loaders


@dataclass
class _Planner:
    session: Session
    wanted: Wanted
    scope: Scope
    todo: dict[dg.AssetKey, dict[str | None, list[str]]] = field(default_factory=dict)
    """Per asset, the partitions to make and why."""

    def __post_init__(self) -> None:
        instance = self.session.instance
        self.graph = self.session.graph
        self.resolver = CachingStaleStatusResolver(instance, self.graph, _Loading(instance))
        self.records = {
            record.asset_entry.asset_key: record
            for record in instance.get_asset_records(list(self.wanted))
        }

    def plan(self) -> Plan:
        order = [key for key in self.graph.toposorted_asset_keys if key in self.wanted]
        for key in order:
            found = self._of_asset(key)
            if found:
                self.todo[key] = found
        for key in order:
            self._share(key)
        planned = tuple(self._entry(key) for key in order if key in self.todo)
        return Plan(planned, tuple(key for key in order if key not in self.todo))

    def _share(self, key: dg.AssetKey) -> None:
        """Assets that one step makes together are all made when one of them is."""
        for sibling in sorted(self.session.together({key}) - {key}):
            if sibling in self.todo and sibling in self.wanted:
                mine = self.todo.setdefault(key, {})
                for partition in self.todo[sibling]:
                    mine.setdefault(partition, [f"is made with {label_of(sibling)}"])

    def _entry(self, key: dg.AssetKey) -> Planned:
        reasons = self.todo[key]
        keys = self.wanted[key]
        partitions = None if keys is None else tuple(k for k in keys if k in reasons)
        never = (
            key not in self.records or self.records[key].asset_entry.last_materialization is None
        )
        missing = any("is missing" in text for texts in reasons.values() for text in texts)
        state = "new" if never else "missing" if missing else "changed"
        if never:
            return Planned(key, state, partitions, ("was never made",))
        return Planned(key, state, partitions, tuple(_in_words(reasons)))

    def _of_asset(self, key: dg.AssetKey) -> dict[str | None, list[str]]:
        keys = self.wanted[key]
        made = self._made(key)
        failed = self._failed(key)
        todo: dict[str | None, list[str]] = {}
        for partition in keys if keys is not None else [None]:
            if partition not in made:
                reasons = ["is missing"]
            else:
                reasons = list(self._changes(key, partition))
                if partition in failed:
                    reasons.append("its last attempt failed")
            reasons.extend(self._follows(key, partition))
            if reasons:
                todo[partition] = list(dict.fromkeys(reasons))
        return todo

    def _made(self, key: dg.AssetKey) -> Collection[str | None]:
        """The partitions that were materialised; None stands for an asset in one piece."""
        if self.graph.get(key).is_partitioned:
            return self.session.instance.get_materialized_partitions(key)
        status = self.resolver.get_status(key)
        return () if status == StaleStatus.MISSING else (None,)

    def _failed(self, key: dg.AssetKey) -> Collection[str | None]:
        """The partitions whose newest attempt failed."""
        instance, partitions = self.session.instance, self.graph.get(key).partitions_def
        if partitions is not None:
            status = get_and_update_asset_status_cache_value(instance, key, partitions)
            if status is None:
                return ()
            return set(status.deserialize_failed_partition_subsets(partitions).get_partition_keys())
        entry = self.records[key].asset_entry if key in self.records else None
        if entry is None or entry.last_run_id is None or entry.last_materialization is None:
            return ()
        if entry.last_run_id == entry.last_materialization.run_id:
            return ()
        run = instance.get_run_by_id(entry.last_run_id)
        return (None,) if run is not None and run.status in _FAILED else ()

    def _changes(self, key: dg.AssetKey, partition: str | None) -> Iterator[str]:
        """Why something that was made is out of date."""
        for cause in self.resolver.get_stale_causes(key, partition):
            if (
                not self._within_step(cause)
                and not self._beyond(key, cause.dependency)
                and not self._answered_before(key, cause.dependency_asset_key)
            ):
                yield self._cause(key, partition, cause)
        yield from self._changed_source(key, partition)
        yield from self._unseen(key, partition)

    def _within_step(self, cause: StaleCause) -> bool:
        """Whether it is about an asset that the same step makes, which can't be out of step."""
        other = cause.dependency_asset_key
        return other is not None and other in self.session.together({cause.asset_key})

    def _answered_before(self, key: dg.AssetKey, other: dg.AssetKey | None) -> bool:
        """Whether an input is the server whose answers a monitor judges by partition: what it
        answers by from now on changes nothing of a window that is over."""
        block = self.session.project.blocks.get(label_of(key))
        if not isinstance(block, Monitor) or block.partitions is None or other is None:
            return False
        return label_of(other) == block.deployment

    def _cause(self, key: dg.AssetKey, partition: str | None, cause: StaleCause) -> str:
        if cause.category == StaleCauseCategory.CODE:
            return self._code_cause(key, partition)
        other = cause.dependency_asset_key
        name = label_of(other) if other else ""
        if cause.category == StaleCauseCategory.DATA:
            return f"{name} has new data"
        if cause.reason.startswith("removed"):
            return f"no longer depends on {name}"
        return f"depends on {name} now"

    def _code_cause(self, key: dg.AssetKey, partition: str | None) -> str:
        """Whether the YAML or the code changed: the two halves of a code version."""
        record = self.session.instance.get_latest_data_version_record(key, False, partition)
        provenance = extract_data_provenance_from_entry(record.event_log_entry) if record else None
        before, now = (
            provenance.code_version if provenance else "",
            self.graph.get(key).code_version,
        )
        if not before or not now or len(before) != len(now):
            return "its code or configuration changed"
        half = len(now) // 2
        changed = [
            what
            for what, part in (("configuration", slice(half)), ("code", slice(half, None)))
            if before[part] != now[part]
        ]
        return f"its {' and '.join(changed)} changed"

    def _changed_source(self, key: dg.AssetKey, partition: str | None) -> Iterator[str]:
        block = self.session.project.blocks.get(label_of(key))
        if not isinstance(block, Dataset) or block.fetch is None or not block.fetch.file:
            return
        from liminal_assets.steps.fetch import source_version

        try:
            now = source_version(self.session.project, block, partition)
        except StepError as error:
            yield f"its files can't be found: {error.message}"
            return
        record = self.session.instance.get_latest_data_version_record(key, False, partition)
        made = record.event_log_entry.asset_materialization if record else None
        before = made.metadata.get(_SOURCE_VERSION) if made else None
        if before is not None and before.value != now:
            yield "its files changed"

    def _unseen(self, key: dg.AssetKey, partition: str | None) -> Iterator[str]:
        """Partitions with data that an asset in one piece hasn't seen, which Dagster doesn't
        look at."""
        if partition is not None:
            return
        entry = self.records[key].asset_entry.last_materialization
        if entry is None:
            return
        provenance = extract_data_provenance_from_entry(entry)
        for parent in sorted(self.graph.get(key).parent_keys):
            partitions = self.graph.get(parent).partitions_def
            if partitions is None or provenance is None:
                continue
            if not provenance.has_input_asset(parent):
                continue
            learned = self._learned(key, entry.run_id, partitions)
            found = [
                child
                for child in self._visible(key, parent, partitions)
                if child not in learned
                or self.resolver._is_dep_updated(provenance, AssetKeyPartitionKey(parent, child))
            ]
            if found:
                yield f"{label_of(parent)} has new data in {_spans(found)}"

    def _visible(
        self, key: dg.AssetKey, parent: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
    ) -> list[str]:
        """The existing partitions of an input that an asset in one piece reads in this scope."""
        existing = self.session.instance.get_materialized_partitions(parent)
        known = self.scope.all_keys(partitions)
        if self._is_model(key) and not self.scope.everything and self.scope.fits(partitions):
            known = known[: known.index(str(self.scope.last)) + 1]
        return [child for child in known if child in existing]

    def _learned(
        self, key: dg.AssetKey, run_id: str, partitions: dg.PartitionsDefinition[str]
    ) -> Set[str]:
        """The partitions that were there for a model to learn from: in a run of partitions, or
        one that a sensor asked for, those up to its end."""
        known = self.scope.all_keys(partitions)
        run = self.session.instance.get_run_by_id(run_id) if self._is_model(key) else None
        end = until_of(run.tags) if run else None
        return frozenset(known[: known.index(end) + 1] if end in known else known)

    def _is_model(self, key: dg.AssetKey) -> bool:
        return isinstance(self.session.project.blocks.get(label_of(key)), Model)

    def _beyond(self, key: dg.AssetKey, dependency: AssetKeyPartitionKey | None) -> bool:
        """Whether a model's input lies after the end of the scope, as if it weren't known yet."""
        if dependency is None or dependency.partition_key is None or not self._is_model(key):
            return False
        partitions = self.graph.get(dependency.asset_key).partitions_def
        if partitions is None or self.scope.everything or not self.scope.fits(partitions):
            return False
        return dependency.partition_key not in self._visible(key, dependency.asset_key, partitions)

    def _follows(self, key: dg.AssetKey, partition: str | None) -> Iterator[str]:
        """What is made first and read by this."""
        siblings = self.session.together({key})
        for parent in sorted(self.graph.get(key).parent_keys - siblings):
            planned = self.todo.get(parent)
            if self._answered_before(key, parent):
                continue
            if planned and (
                None in planned or self._reads(key, partition, parent) & planned.keys()
            ):
                yield f"{label_of(parent)} is made first"

    def _reads(
        self, key: dg.AssetKey, partition: str | None, parent: dg.AssetKey
    ) -> Set[str | None]:
        mapped = self.graph.get_parent_partition_keys_for_child(partition, parent, key)
        return frozenset(mapped.partitions_subset.get_partition_keys())


def _in_words(reasons: Mapping[str | None, Sequence[str]]) -> Iterator[str]:
    """Each reason once, with the partitions that it holds for where there are several."""
    partitions: dict[str, list[str]] = {}
    for partition, texts in reasons.items():
        for text in texts:
            partitions.setdefault(text, []).append(partition or "")
    for text, keys in partitions.items():
        shared = len(keys) == len(reasons)
        yield text if shared else f"{text} ({_spans(keys)})"


def _spans(keys: Sequence[str]) -> str:
    """A few keys as they are, many as the first, the last and how many."""
    return ", ".join(keys) if len(keys) <= 3 else f"{keys[0]}..{keys[-1]}, {len(keys)} partitions"
