"""Deployments as assets."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.storage.journal import Journal
from liminal_assets_tests.champions import PARTITIONS, Shop


def materialised(served: Shop, name: str, **options: Any) -> dg.ExecuteInProcessResult:
    (asset,) = la.deployment_assets(served.project.block(name), project=served.project)
    with dg.instance_for_test() as instance:
        return dg.materialize(
            [asset], instance=instance, selection=[asset], raise_on_error=False, **options
        )


def metadata_of(result: dg.ExecuteInProcessResult, name: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(f"shop__{name}")
    return {key: value.value for key, value in event.metadata.items()}


def test_a_server_depends_on_its_champion_and_stands_in_the_phase_of_deployment(
    served: Shop,
) -> None:
    (asset,) = la.deployment_assets(served.project.block("late_api"), project=served.project)
    (spec,) = asset.specs
    assert spec.group_name == "deploy"
    assert [dep.asset_key.path for dep in spec.deps] == [["shop", "late__champion"]]
    assert spec.partitions_def is None
    assert "rest" in spec.kinds


def test_batch_scores_are_partitioned_as_their_feature(served: Shop) -> None:
    (asset,) = la.deployment_assets(served.project.block("late_scores"), project=served.project)
    (spec,) = asset.specs
    assert spec.group_name == "inference"
    deps = {dep.asset_key.path[-1] for dep in spec.deps}
    assert deps == {"late__champion", "flight_features"}
    assert spec.partitions_def
    assert list(spec.partitions_def.get_partition_keys()) == [*PARTITIONS, "2026-03"]


def test_deployment_assets_work_alone() -> None:
    (asset,) = la.deployment_assets(deployment="api", model="late", serve={"port": 0})
    assert asset.key.path == ["liminal", "api"]
    with pytest.raises(ValueError, match="needs one of serve, batch"):
        la.deployment_assets(deployment="api", model="late")


@pytest.mark.slow
def test_materialising_a_server_records_what_it_answered(served: Shop) -> None:
    result = materialised(served, "late_api")
    assert result.success
    metadata = metadata_of(result, "late_api")
    assert set(metadata["first_prediction"]) == {"prediction", "probability", "prediction_id"}
    assert metadata["model_version"] == "1"
    assert metadata["latency_p50_ms"] > 0
    decision = Journal(served.project, "late_api").last()
    assert decision
    assert decision.champion == 1
    assert metadata["form"] == metadata["certificate"]["form"] == "onnxruntime"
    assert metadata["certificate"] == decision.evidence["certificate"]
    # the registry's file was written by cloudpickle
    assert "runs code" in metadata["warning"]


def test_materialising_a_partition_scores_it(served: Shop) -> None:
    result = materialised(served, "late_scores", partition_key=PARTITIONS[0])
    assert result.success
    metadata = metadata_of(result, "late_scores")
    assert metadata["dagster/row_count"] == 200
    assert metadata["delivered_to"] == "warehouse: scores"
    assert metadata["distribution"].startswith("![Distribution of the probability](data:image/png")
    assert served.store.partitions("late_scores") == [PARTITIONS[0]]
    assert Journal(served.project, "late_scores").last().champion == 1  # type: ignore[union-attr]


def test_a_run_of_several_partitions_tells_of_each(served: Shop) -> None:
    tags = {
        "dagster/asset_partition_range_start": PARTITIONS[0],
        "dagster/asset_partition_range_end": PARTITIONS[1],
    }
    result = materialised(served, "late_scores", tags=tags)
    assert result.success
    events = result.asset_materializations_for_node("shop__late_scores")
    told = {event.partition: event.metadata["dagster/row_count"].value for event in events}
    assert told == dict.fromkeys(PARTITIONS, 200)


def test_a_failure_names_the_block_and_its_line(served: Shop) -> None:
    served.store.delete("flight_features", PARTITIONS[0])
    result = materialised(served, "late_scores", partition_key=PARTITIONS[0])
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert "shop/late_scores: flight_features has no rows for partition 2026-01" in description
    assert "liminal.yml:22" in description
