"""The same value in training and serving: joined as of a moment, learned, kept, looked up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project, load_project
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.features.lookups import Lookups
from liminal_assets.serving.features.settings import lookup_config
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.serving.releases.release import Release
from liminal_assets.storage.online import OnlineStore
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.runs import Run, run, table_assets, write_project
from liminal_assets_tests.serving.conftest import running

YAML = """
name: shop
datasets:
  - {dataset: orders, fetch: {file: orders.parquet}, timestamp: at}
  - {dataset: rates, fetch: {file: rates.parquet}, timestamp: since}
features:
  - feature: order_features
    from: {orders: {}, rates: {as_of: at, by: currency, columns: [rate]}}
    entity: [shop, order]
    timestamp: at
    python: features:build
    online: true
models:
  - model: costly
    features: order_features
    target: costly
    estimator: sklearn.linear_model.LogisticRegression
    columns: {numeric: [value, items, rate], categorical: [currency]}
deployments:
  - {deployment: api, model: costly, serve: {port: 0}}
  - {deployment: scores, model: costly, batch: {from: order_features}}
"""
FEATURES = """
def build(orders):
    return orders.assign(value=orders["amount"] * orders["rate"] / 3)
"""


def write_inputs(folder: Path) -> None:
    random = np.random.default_rng(0)
    moments = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(240), "h")
    amounts = random.gamma(2.0, 10.0, 240)
    orders = pd.DataFrame(
        {
            "shop": np.where(np.arange(240) % 2, "a", "b"),
            "order": np.arange(240) // 2,
            "at": moments,
            "currency": random.choice(["EUR", "USD"], 240),
            "amount": amounts,
            "items": pd.array(random.integers(1, 9, 240), dtype="Int64"),
            "costly": amounts + random.normal(0, 5, 240) > 20,
        }
    )
    orders.loc[::5, "items"] = pd.NA
    days = pd.date_range("2025-12-31", periods=12, tz=None)
    rates = pd.DataFrame(
        [
            {"currency": name, "since": day, "rate": rate + 0.01 * number}
            for number, day in enumerate(days)
            for name, rate in (("EUR", 1.0), ("USD", 0.9))
        ]
    )
    orders.to_parquet(folder / "orders.parquet")
    rates.to_parquet(folder / "rates.parquet")


def materialise(project: Project, selection: str = "*") -> Run:
    (model,) = project.spec.models
    assets: list[Any] = [*table_assets(project), *la.model_assets(model, project=project)]
    assets += la.deployment_assets(project.spec.deployments[1], project=project)
    done = run(project, selection, assets=assets)
    assert done.succeeded, done.failures
    return done


@pytest.fixture(scope="module")
def learned(
    tmp_path_factory: pytest.TempPathFactory, with_mlflow: Callable[[Path], Path]
) -> Project:
    """A project with a champion and scores."""
    folder = with_mlflow(tmp_path_factory.mktemp("learned") / "shop")
    write_inputs(folder)
    project = write_project(folder, YAML, features=FEATURES)
    materialise(project)
    return project


@pytest.fixture
def project(learned: Project, tmp_path: Path) -> Project:
    """A copy of it."""
    return load_project(shutil.copytree(learned.root, tmp_path / "shop"))


def release_of(project: Project) -> Release:
    champion = ModelRegistry(project).champion("costly")
    assert champion is not None
    return prepare_release(project, project.spec.deployments[0], champion)


def asked(project: Project, rows: list[dict[str, Any]]) -> list[float]:
    config = lookup_config(project, project.spec.deployments[0])
    assert config is not None
    live = LiveModel.fixed(ServedModel.from_release(release_of(project)))
    with running(ServingApp(live, lookups=Lookups(config))) as client:
        response = client.post("/predict", json=rows)
    assert response.status_code == 200, response.text
    return [row["probability"] for row in response.json()["predictions"]]


def scored(project: Project) -> pd.DataFrame:
    return TableStore(project).read("scores").to("pandas").sort_values(["shop", "order"])


def test_training_batch_scores_and_entities_have_the_same_values(project: Project) -> None:
    scores = scored(project)
    keys = scores[["shop", "order"]].to_dict("records")
    inputs = [name for name in scores.columns if name in ("value", "items", "rate", "currency")]
    rows = scores[["shop", "order", *inputs]].astype(object)
    whole = rows.where(rows.notna(), None).to_dict("records")
    by_entity = asked(project, keys)
    assert by_entity == asked(project, whole)
    np.testing.assert_allclose(by_entity, scores["probability"], rtol=0, atol=1e-9)
    # joined as of each order's moment, not as of the last rate
    assert scores["rate"].nunique() > 2


@pytest.mark.slow
def test_a_changed_definition_waits_for_the_version_that_learns_from_it(project: Project) -> None:
    keys = scored(project)[["shop", "order"]].head(20).to_dict("records")
    before, first = asked(project, keys), release_of(project)
    assert first.features is not None
    (project.root / "features.py").write_text(FEATURES.replace("/ 3", "* 7"))
    project = load_project(project.root)
    materialise(project, "key:shop/order_features")
    # the champion reads what it learned from, not what the store was refreshed with
    state = OnlineStore(project).state("order_features")
    assert len(state.kinds) == 2
    assert state.newest != first.features["specification"]
    assert asked(project, keys) == before
    materialise(project, 'key:"shop/costly*" or key:shop/scores')
    second = release_of(project)
    assert second.features is not None
    assert second.features["specification"] == state.newest
    assert second.evidence == {"feature_specification": state.newest}
    np.testing.assert_allclose(
        asked(project, keys), scored(project)["probability"].head(20), rtol=0, atol=1e-9
    )
    ModelRegistry(project).rollback("costly")
    assert release_of(project).features == first.features
    assert asked(project, keys) == before


@pytest.mark.slow
def test_rows_that_are_older_than_the_code_are_learned_as_what_they_are(project: Project) -> None:
    specification = OnlineStore(project).state("order_features").newest
    (project.root / "features.py").write_text(FEATURES.replace("/ 3", "* 7"))
    project = load_project(project.root)
    # trained again on rows that the changed code hasn't made
    materialise(project, 'key:"shop/costly*"')
    version = ModelRegistry(project).challenger("costly")
    assert version is not None
    release = prepare_release(project, project.spec.deployments[0], version)
    assert release.features is not None
    assert release.features["specification"] == specification
