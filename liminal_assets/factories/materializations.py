"""Materialisations of several partitions in one run, each with its own metadata and data version.

Dagster gives all partitions of a run the metadata and data version of the one result that the step
yields for an asset. Here each partition is an event of its own, at the moment it is published, so
that a run that fails half-way keeps what it made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_input_provenance_data,
)

__all__ = ["Materializations"]

# Dagster's own word for "this result's events were already told"
_TOLD = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}


@dataclass
class Materializations:
    """What a step materialised so far.

    A run of one partition, or of an asset in one piece, yields Dagster's usual result at its end;
    a run of several an event per partition as each is done.
    """

    context: dg.AssetExecutionContext
    several: bool
    _results: dict[dg.AssetKey, dg.MaterializeResult[Any]] = field(default_factory=dict)
    _partition: str | None = None

    @property
    def any(self) -> bool:
        """Whether there is any yet."""
        return bool(self._results)

    def add(
        self,
        key: dg.AssetKey,
        partition: str | None,
        metadata: Mapping[str, Any],
        data_version: str | None = None,
    ) -> Iterator[dg.AssetMaterialization]:
        """Tells Dagster of a partition, now or with the result at the end."""
        version = dg.DataVersion(data_version) if data_version else None
        self._partition = partition
        if self.several:
            self._results[key] = dg.MaterializeResult(asset_key=key, metadata=_TOLD)
            yield self._event(key, partition, metadata, version)
        else:
            self._results[key] = dg.MaterializeResult(
                asset_key=key, metadata=metadata, data_version=version
            )

    def again(
        self, key: dg.AssetKey, partition: str | None, metadata: Mapping[str, Any], version: str
    ) -> dg.AssetMaterialization:
        """An event of something that a run makes again besides what it is for."""
        return self._event(key, partition, metadata, dg.DataVersion(version))

    def _event(
        self,
        key: dg.AssetKey,
        partition: str | None,
        metadata: Mapping[str, Any],
        version: dg.DataVersion | None,
    ) -> dg.AssetMaterialization:
        tags = self._tags(key, version)
        return dg.AssetMaterialization(key, metadata=metadata, partition=partition, tags=tags)

    def _tags(self, key: dg.AssetKey, version: dg.DataVersion | None) -> dict[str, str]:
        """Data version, code version and those of the inputs, as Dagster records them."""
        if version is None:
            return {}
        step = self.context.op_execution_context.get_step_execution_context()
        step.wipe_input_asset_version_info(key)
        code_version = step.job_def.asset_layer.get(key).code_version or self.context.run_id
        inputs = _get_input_provenance_data(key, step)
        return _build_data_version_tags(version, code_version, inputs, True)

    def results(
        self, checks: Sequence[dg.AssetCheckResult] = ()
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetMaterialization | dg.AssetCheckResult]:
        """The step's results, with those of the checks of each asset.

        What a run makes along with the assets that it selected is told as well.
        """
        selected = self.context.selected_asset_keys
        yield from (check for check in checks if check.asset_key not in selected)
        for key, result in self._results.items():
            if key in selected:
                own = [check for check in checks if check.asset_key == key]
                yield result._replace(check_results=own)
            elif not self.several:
                yield self._event(key, self._partition, result.metadata or {}, result.data_version)
