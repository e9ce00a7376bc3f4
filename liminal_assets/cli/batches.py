"""Assets and partitions → the Dagster runs that make them.

One run holds assets of one way of being cut and one stretch of partitions, and assets in one piece
beside them. What doesn't fit into one run is cut into several, in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from liminal_assets.cli.scope import Scope

__all__ = ["Batch", "batches_of", "by_pipeline"]

Wanted = Mapping[dg.AssetKey, Sequence[str] | None]
"""The assets to make and the partitions of each; None for an asset in one piece."""

_Signature = tuple[dg.PartitionsDefinition[str], tuple[str, ...]] | None


@dataclass(frozen=True)
class Batch:
    """What one Dagster run makes."""

    keys: Set[dg.AssetKey]
    first: str | None = None
    last: str | None = None
    """The stretch of partitions; none for assets in one piece that learn from everything."""
    partitioned: bool = True
    """Whether any of the assets is cut, or the stretch only says what is known."""
    job: str | None = None
    """The job whose assets these are, all of them: a pipeline's, which has a run of its own."""

    @property
    def tags(self) -> dict[str, str]:
        """How Dagster is told the partitions."""
        if self.first is None or self.last is None:
            return {}
        if self.first == self.last and self.partitioned:
            return {PARTITION_NAME_TAG: self.first}
        return {
            ASSET_PARTITION_RANGE_START_TAG: self.first,
            ASSET_PARTITION_RANGE_END_TAG: self.last,
        }

    @property
    def stretch(self) -> str:
        """The partitions as ``--partition`` or ``--partition-range`` takes them."""
        if self.first is None:
            return ""
        return self.first if self.first == self.last else f"{self.first}..{self.last}"


def batches_of(graph: AssetGraph, wanted: Wanted, scope: Scope) -> list[Batch]:
    """The runs that make ``wanted``, in the order in which they must happen."""
    steps = _steps(graph, wanted)
    remaining = list(_in_order(graph, wanted, steps))
    batches: list[Batch] = []
    while remaining:
        joined = _next(remaining, scope)
        batches.extend(_cut(joined, scope))
        remaining = [step for step in remaining if step not in joined]
    return batches


def _next(remaining: Sequence[_Step], scope: Scope) -> list[_Step]:
    """The steps of the next run: as many as fit into one. Those in one piece go first where they
    can't share a run of partitions, for others may wait for them."""
    signatures = list(dict.fromkeys(step.signature for step in remaining))
    most = max(signatures, key=lambda signature: len(_joined(remaining, signature, scope)))
    whole = _joined(remaining, None, scope)
    return _joined(remaining, most, scope) if _in_one_run(most, scope) or not whole else whole


def by_pipeline(
    batch: Batch, jobs: Mapping[str, Set[dg.AssetKey]], graph: AssetGraph
) -> list[Batch]:
    """A batch as the jobs of whole pipelines, in the order in which they must happen, if it holds
    nothing else; pipelines that wait for each other's tasks stay together.

    Args:
        jobs: the assets of each pipeline's job.
    """
    found = {name: keys for name, keys in jobs.items() if keys <= batch.keys}
    if batch.first is not None or frozenset().union(*found.values()) != batch.keys:
        return [batch]
    ordered: list[Batch] = []
    made: set[dg.AssetKey] = set()
    while found:
        ready = [
            name
            for name, keys in found.items()
            if all(graph.get(key).parent_keys & batch.keys <= made | keys for key in keys)
        ]
        if not ready:
            return [batch]
        keys = found.pop(ready[0])
        ordered.append(Batch(keys, job=ready[0]))
        made |= keys
    return ordered


@dataclass(frozen=True, eq=False)
class _Step:
    """Assets that are made together, and the steps that come before."""

    keys: Set[dg.AssetKey]
    signature: _Signature
    before: Set[int]
    """Ids of the wanted steps that it reads, also through assets that aren't wanted."""


def _steps(graph: AssetGraph, wanted: Wanted) -> dict[dg.AssetKey, Set[dg.AssetKey]]:
    """For every wanted asset, those that the same step makes."""
    together: dict[dg.AssetKey, Set[dg.AssetKey]] = {}
    for key in wanted:
        assets = graph.get(key).assets_def
        together[key] = frozenset(assets.keys & wanted.keys()) if not assets.can_subset else {key}
    return together


def _in_order(
    graph: AssetGraph, wanted: Wanted, together: Mapping[dg.AssetKey, Set[dg.AssetKey]]
) -> Iterator[_Step]:
    steps: dict[dg.AssetKey, _Step] = {}
    before: dict[dg.AssetKey, Set[int]] = {}
    for key in graph.toposorted_asset_keys:
        parents = graph.get(key).parent_keys
        read = frozenset().union(
            *({id(steps[p])} if p in steps else before.get(p, frozenset()) for p in parents)
        )
        before[key] = read
        if key in wanted and key not in steps:
            siblings = together[key]
            partitions = graph.get(key).partitions_def
            keys = wanted[key]
            signature = (partitions, tuple(keys)) if partitions and keys is not None else None
            others = (p for s in siblings for p in graph.get(s).parent_keys if p not in siblings)
            read |= frozenset(id(steps[p]) for p in others if p in steps)
            step = _Step(siblings, signature, read)
            steps.update(dict.fromkeys(siblings, step))
            yield step


def _joined(remaining: Sequence[_Step], signature: _Signature, scope: Scope) -> list[_Step]:
    """The steps that can go with the first partitions of ``signature``, in order."""
    whole = signature is None or _in_one_run(signature, scope)
    waiting = {id(step) for step in remaining}
    joined = []
    for step in remaining:
        fits = step.signature == signature or (step.signature is None and whole)
        if fits and not step.before & waiting:
            joined.append(step)
            waiting.discard(id(step))
    return joined


def _in_one_run(signature: _Signature, scope: Scope) -> bool:
    """Whether assets in one piece may share the run: it ends where everything known ends."""
    if signature is None:
        return True
    partitions, keys = signature
    known = scope.all_keys(partitions)
    ends = known if scope.everything or not scope.fits(partitions) else scope.keys(partitions)
    return len(list(_stretches(keys, known))) == 1 and keys[-1] == ends[-1]


def _cut(joined: Sequence[_Step], scope: Scope) -> Iterator[Batch]:
    keys = frozenset().union(*(step.keys for step in joined))
    signature = next((step.signature for step in joined if step.signature), None)
    if signature is None:
        yield Batch(keys, scope.first, scope.last, partitioned=False)
        return
    partitions, wanted = signature
    for first, last in _stretches(wanted, scope.all_keys(partitions)):
        yield Batch(keys, first, last)


def _stretches(keys: Sequence[str], known: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys as runs of neighbours."""
    at = {key: index for index, key in enumerate(known)}
    first = previous = keys[0]
    for key in keys[1:]:
        if at[key] != at[previous] + 1:
            yield first, previous
            first = key
        previous = key
    yield first, previous
