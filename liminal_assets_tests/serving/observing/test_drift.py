"""Drift in ``/metrics``: logged rows by the bins of the training reference."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

import liminal_assets as la
from liminal_assets.language.deployments import Deployment
from liminal_assets.serving.log.recording import drain_of
from liminal_assets.serving.log.records import Answered
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.steps.baseline import baseline
from liminal_assets.steps.distances import psi
from liminal_assets.storage.ids import new_id, row_ids
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table
from liminal_assets_tests.champions import INPUTS, Shop, flights

Bins = dict[str, dict[str, float]]


def api(shop: Shop) -> tuple[Deployment, ServingFolders]:
    (block,) = (block for block in shop.project.spec.deployments if block.name == "late_api")
    return block, ServingFolders.of(shop.project.state, block.name)


def read(folders: ServingFolders, name: str) -> Bins:
    """A metric by column and bin."""
    text = Metrics(folders.metrics, besides=[folders.drift]).exposition()[0].decode()
    found: Bins = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels["column"]][sample.labels["bin"]] = sample.value
    return found


def serve(shop: Shop, frame: pd.DataFrame, *, parts: int = 4) -> pd.DataFrame:
    """Answers rows as a server of version 1 does, brings them to the log, and returns them with
    the answers."""
    block, folders = api(shop)
    model = ServedModel.from_release(prepare_release(shop.project, block, 1))
    answered = []
    drain = drain_of(shop.project, block)
    for part in np.array_split(np.arange(len(frame)), parts):
        some = frame.iloc[part]
        columns: dict[str, Any] = {
            name: [None if value != value else value for value in some[name].tolist()]
            for name in INPUTS
        }
        scores = model.predict(columns, len(some))
        columns |= {"flight_id": some["flight_id"].tolist(), "departs_at": [None] * len(some)}
        ids = row_ids(new_id(), len(some))
        spool = Spool(folders.spool)
        spool.add(Answered(model, columns, scores, ids, 1e9, 1e9))
        spool.close()
        assert drain.merge()
        answered.append(some[INPUTS].assign(**scores.columns))
    return pd.concat(answered)


def test_what_prometheus_computes_is_the_psi_of_a_monitor(served: Shop) -> None:
    moved = flights(120, seed=7)
    moved["distance"] += 900
    moved.loc[moved.index[:30], "carrier"] = "never seen"
    rows = serve(served, moved)
    _, folders = api(served)
    counted = read(folders, "liminal_column_rows_total")
    shares = read(folders, "liminal_reference_ratio")
    reference = served.store.read("late__reference", ["1"]).to("pandas")
    report = la.steps.drift(reference[rows.columns], rows)
    assert set(counted) == set(rows.columns) == set(shares)
    for column, bins in counted.items():
        assert sum(bins.values()) == len(rows)
        assert sum(shares[column].values()) == pytest.approx(1)
        before = [round(shares[column][label] * len(reference)) for label in bins]
        assert psi(before, list(bins.values())) == pytest.approx(report[column].distance)
    assert report["distance"].distance > 0.2  # type: ignore[operator]
    assert counted["carrier"]["(other)"] == 30
    assert counted["wind"]["(missing)"] == moved["wind"].isna().sum()


def test_a_masked_column_is_in_neither_release_nor_metrics(served: Shop) -> None:
    shop = served.rewritten("reload_every: 200ms", "log_predictions: {mask: {carrier: hash}}")
    serve(shop, flights(20, seed=3))
    block, folders = api(shop)
    release = prepare_release(shop.project, block, 1)
    assert "carrier" not in [said["column"] for said in release.baseline]
    assert "carrier" not in read(folders, "liminal_column_rows_total")
    assert "distance" in read(folders, "liminal_column_rows_total")


def test_a_version_without_a_reference_is_not_counted(served: Shop) -> None:
    served.store.delete("late__reference", "1")
    serve(served, flights(8, seed=3))
    assert read(api(served)[1], "liminal_column_rows_total") == {}


def test_rare_categories_have_no_name() -> None:
    frame = pd.DataFrame(
        {"who": ["a"] * 500 + [f"person {n}" for n in range(99)] + [None], "n": [1.0] * 600}
    )
    with session() as connection:
        who, numbers = baseline(Table.from_rows(frame).relation(connection))
    assert who["labels"] == ["a", "(other)", "(missing)"]
    assert who["rows"] == [500, 99, 1]
    # a constant has a bin of its own, and its neighbours
    assert sum(numbers["rows"]) == 600
    assert numbers["rows"][numbers["labels"].index("= 1")] == 600


def test_a_wide_table_has_so_many_bins_and_no_more() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(1e9, 1e-3, (400, 80)), columns=[f"c{n}" for n in range(80)])
    with session() as connection:
        found = baseline(Table.from_rows(frame).relation(connection))
    assert len(found) == 50
    for column in found:
        assert len(column["labels"]) == len(set(column["labels"])) <= 12
