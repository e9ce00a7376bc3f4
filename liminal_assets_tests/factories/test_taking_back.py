"""A promoted version that does worse on live rows goes back to the one before, once."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.factories.models import model_assets
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.factories.sensors import retraining_sensor
from liminal_assets.language.monitors import Monitor
from liminal_assets.serving.control.plan import Plan, write_plan
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets_tests.champions import Shop

MONITOR = """
monitors:
  - monitor: late_watch
    deployment: late_scores
    performance:
      metric: roc_auc
      at_least: 0.0
      labels: {from: truths, key: flight_id, column: late}
    retrain: {model: late, when: [], rollback: {by: 0.05, windows: 2}}
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def shop(served: Shop) -> Shop:
    """Version 2 took the place of version 1; version 1 was right in both months before."""
    truths = "\n  - {dataset: truths, fetch: {file: truths.parquet}}\nfeatures:\n"
    served.project.file.write_text(served.project.file.read_text() + MONITOR)
    shop = served.rewritten("\nfeatures:\n", truths)
    shop = shop.rewritten("end: '2026-04-01'", "end: '2026-09-01'")
    second = shop.register(promote=False)
    shop.registry.accept(second)
    shop.registry.promote("late", second, "better", {"metrics": {"roc_auc": 0.9}})
    return shop


def window(shop: Shop, instance: dg.DagsterInstance, month: str, version: int, right: bool) -> None:
    """A month of scores by a version, right or not, is judged."""
    random = np.random.default_rng(int(month[-2:]))
    truth = random.random(300) > 0.5
    chance = random.random(300)
    frame = pd.DataFrame(
        {
            "flight_id": [f"{month}-{i}" for i in range(300)],
            "prediction": truth.astype(int),
            "probability": np.where(truth, 0.5 + chance / 2, chance / 2) if right else chance,
            "model_version": str(version),
        }
    )
    shop.store.write("late_scores", month, frame)
    known = pd.DataFrame({"flight_id": frame["flight_id"], "late": truth.astype(int)})
    if shop.store.exists("truths"):
        known = pd.concat([shop.store.read("truths").to("pandas"), known])
    shop.store.write("truths", None, known)
    block = shop.project.block("late_watch")
    assert isinstance(block, Monitor)
    job = dg.Definitions(assets=[monitor_asset(block, project=shop.project)])
    done = job.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key=month
    )
    assert done.success


def look(shop: Shop, instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[str, str]:
    """What the sensor says, and its cursor."""
    block = shop.project.block("late_watch")
    assert isinstance(block, Monitor)
    definitions = la.build_definitions(shop.project)
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=definitions.get_repository_def()
    )
    seen = retraining_sensor(block, project=shop.project).evaluate_tick(context)
    assert not seen.run_requests
    return seen.skip_message or "", seen.cursor or ""


def champion(shop: Shop) -> int:
    found = shop.registry.champion("late")
    assert found is not None
    return found.version


def test_it_goes_back_once_with_its_evidence(shop: Shop, instance: dg.DagsterInstance) -> None:
    window(shop, instance, "2026-03", 1, right=True)
    window(shop, instance, "2026-04", 2, right=False)
    said, cursor = look(shop, instance)
    assert said == "nothing to do: 2026-03, 2026-04 are within bounds"
    window(shop, instance, "2026-05", 2, right=False)
    folders = ServingFolders.of(shop.project.state, "late_api")
    write_plan(folders.plan, Plan(generation=1, stable="2-ab", candidate="3-cd", share=5))
    said, cursor = look(shop, instance, cursor)
    assert "the rollback of version 2 waits: late_api is trying version 3" in said
    assert champion(shop) == 2
    write_plan(folders.plan, Plan(generation=2, stable="2-ab"))
    said, _ = look(shop, instance, cursor)
    assert said.startswith("version 2 does worse than asked: roc_auc ")
    assert champion(shop) == 1
    decision = shop.registry.history("late")[-1]
    assert (decision.action, decision.actor) == ("rollback", "sensor of late_watch")
    assert decision.reason == said
    assert set(decision.evidence["windows"]) == {"2026-04", "2026-05"}
    assert decision.evidence["predecessor"] == 1.0
    # the cursor of before, or none: as after a kill
    for lost in (cursor, None):
        look(shop, instance, lost)
    assert shop.registry.history("late")[-1] == decision


def test_a_version_that_was_taken_back_is_not_promoted_again_by_a_run(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.registry.challenge(shop.registry.version("late", 2))
    shop.registry.rollback("late", reason="it did worse")
    model = shop.project.block("late")
    promote = model_assets(model, project=shop.project)[-1]  # type: ignore[arg-type]
    done = dg.materialize([promote], instance=instance)
    (event,) = done.asset_materializations_for_node("shop__late__champion")
    assert event.metadata["reason"].value == "version 2 was taken back: it did worse"
    assert champion(shop) == 1
    shop.registry.promote("late", 2, "by hand")
    assert shop.registry.taken_back(shop.registry.version("late", 2)) is None
