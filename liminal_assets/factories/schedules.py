"""Schedules: blocks and everything upstream of them, refreshed at set times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as RANGE_END
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as RANGE_START

from liminal_assets.factories.common import asset_key, project_of, spec_of
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Schedule

__all__ = ["Stage", "schedule", "stages"]

_PRIORITY = "dagster/priority"
_STAGE = "liminal/stage"


@dataclass
class Stage:
    """Assets that one run can make: those in one piece, and those cut in one way."""

    keys: list[dg.AssetKey] = field(default_factory=list)
    partitions: dg.PartitionsDefinition[Any] | None = None

    def takes(self, partitions: dg.PartitionsDefinition[Any] | None) -> bool:
        """Whether an asset cut like that fits."""
        return partitions is None or self.partitions is None or partitions == self.partitions

    def add(self, key: dg.AssetKey, partitions: dg.PartitionsDefinition[Any] | None) -> None:
        """Adds an asset that fits."""
        self.keys.append(key)
        self.partitions = self.partitions or partitions


def schedule(
    spec: Schedule | Mapping[str, Any] | None = None,
    *,
    project: Project | str | None = None,
    selection: dg.AssetSelection | None = None,
    **keywords: Any,
) -> dg.ScheduleDefinition:
    """Refreshes blocks and everything upstream of them.

    Of what is cut by time it refreshes the newest partition that is complete at that moment; of
    what is cut by listed values all of them. A run makes assets that are cut in one way, along
    with those in one piece; blocks cut in several ways take a run each, in the order in which
    they depend on each other. They are queued at once with falling priority, and Dagster's queue
    of the package's ``dagster.yaml`` runs those of one schedule one at a time. A later run starts
    also when an earlier one failed, and reads the last good rows.

    >>> la.schedule(schedule="nightly", cron="0 2 * * *", timezone="America/New_York",
    ...             refresh=["churn_scores"], project="shop")

    Args:
        spec: the schedule; or ``keywords`` as in YAML.
        project: the project, or the name of one of its own.
        selection: what to refresh; default: the blocks of ``refresh`` and what is upstream.

    Raises:
        ValueError: the keywords make no schedule.
    """
    said = spec_of(Schedule, spec, **keywords)
    owner = project_of(project, said, "schedules")
    keys = [asset_key(owner, name) for name in said.refresh]
    # an op that makes several assets makes all of them
    chosen = selection or dg.AssetSelection.assets(*keys).upstream()
    chosen = chosen.required_multi_asset_neighbors()

    def evaluate(
        context: dg.ScheduleEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        graph = context.repository_def.asset_graph
        selected = chosen.resolve(graph) & graph.materializable_asset_keys
        moment = context.scheduled_execution_time
        requests = _requests(stages(graph, selected), moment)
        yield from requests
        if not requests:
            yield dg.SkipReason(f"no partition is complete at {moment.isoformat(sep=' ')}")

    return dg.ScheduleDefinition(
        name=f"{owner.name}__{said.schedule}",
        cron_schedule=said.cron,
        execution_timezone=said.timezone,
        # a job of its own can't hold assets that are cut in several ways
        **({"job_name": IMPLICIT_ASSET_JOB_NAME} if _mixed(owner, said) else {"target": chosen}),
        execution_fn=evaluate,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if said.running else dg.DefaultScheduleStatus.STOPPED
        ),
        description=said.description or f"Refreshes {', '.join(said.refresh)}.",
    )


def _mixed(project: Project, said: Schedule) -> bool:
    """Whether the blocks of a schedule and those upstream are cut in several ways."""
    cuts: set[Partitions] = set()
    seen: set[str] = set()
    todo = list(said.refresh)
    while todo:
        name = todo.pop()
        block = project.blocks.get(name)
        if block is None or name in seen:
            continue
        seen.add(name)
        todo.extend((*block.inputs, *project.awaited(block)))
        if cut := project.partitions[name]:
            cuts.add(cut)
    return len(cuts) > 1


def stages(graph: BaseAssetGraph[Any], selected: Set[dg.AssetKey]) -> list[Stage]:
    """Assets as runs, each of which needs only itself and those before it."""
    found: list[Stage] = []
    place: dict[dg.AssetKey, int] = {}
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(level & selected):
            partitions = graph.get(key).partitions_def
            above = [place[up] for up in graph.get(key).parent_keys if up in place]
            stage = max(above, default=0)
            while stage < len(found) and not found[stage].takes(partitions):
                stage += 1
            if stage == len(found):
                found.append(Stage())
            found[stage].add(key, partitions)
            place[key] = stage
    return found


def _requests(runs: Sequence[Stage], moment: datetime) -> list[dg.RunRequest]:
    requests: list[dg.RunRequest] = []
    for number, stage in enumerate(runs, 1):
        partition = _newest(stage.partitions, moment)
        if partition is None:
            continue
        # listed values have no newest one: all of them, in one run
        key, tags = (partition, {}) if isinstance(partition, str) else (None, partition)
        order = {_PRIORITY: str(len(runs) - number), _STAGE: f"{number} of {len(runs)}"}
        requests.append(
            dg.RunRequest(
                run_key=f"{moment.isoformat()}-{number}",
                asset_selection=stage.keys,
                partition_key=key or None,
                tags={**order, **tags},
            )
        )
    return requests


def _newest(
    partitions: dg.PartitionsDefinition[Any] | None, moment: datetime
) -> str | dict[str, str] | None:
    """The partition to refresh at a moment (empty: there are no partitions), or the tags of a run
    of all of them; None before the first is complete."""
    if partitions is None:
        return ""
    if isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        with dg.partition_loading_context(moment):
            return partitions.get_last_partition_key()
    keys = list(partitions.get_partition_keys())
    return {RANGE_START: keys[0], RANGE_END: keys[-1]} if keys else None
