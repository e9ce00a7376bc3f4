"""A project with rows and registered versions, made without waiting for a training."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from liminal_assets.language.loading import Project, load_project
from liminal_assets.steps.score import Scorer
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore
from liminal_assets.storage.tracking import import_mlflow, tracking_client

INPUTS = ["distance", "stops", "carrier", "wind"]
PARTITIONS = ["2026-01", "2026-02"]

YAML = """
name: shop
connections:
  - {connection: warehouse, url: duckdb://warehouse.duckdb}
datasets:
  - dataset: flights
    fetch: {sql: "SELECT 1"}
    partitions: {every: month, start: '2026-01-01', end: '2026-04-01'}
features:
  - {feature: flight_features, from: flights, entity: flight_id, timestamp: departs_at}
models:
  - model: late
    features: flight_features
    target: late
    estimator: sklearn.ensemble.HistGradientBoostingClassifier
deployments:
  - deployment: late_api
    model: late
    serve: {port: 0, reload_every: 200ms}
  - deployment: late_scores
    model: late
    batch: {from: flight_features, to: {connection: warehouse, table: scores}}
"""


def flights(rows: int = 200, seed: int = 0, start: str = "2026-01-01") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    distance = random.uniform(100, 3000, rows)
    wind = random.normal(10, 4, rows)
    wind[::7] = np.nan
    return pd.DataFrame(
        {
            "flight_id": [f"F{seed}-{i}" for i in range(rows)],
            "departs_at": pd.Timestamp(start) + pd.to_timedelta(np.arange(rows), "min"),
            "distance": distance,
            "stops": random.integers(0, 3, rows),
            "carrier": random.choice(["AA", "UA", "DL"], rows).astype(object),
            "wind": wind,
            "late": (distance + random.normal(0, 300, rows) > 1500).astype(int),
        }
    )


def fitted(seed: int = 0) -> Pipeline:
    frame = flights(seed=seed)
    return make_pipeline(
        make_column_transformer(
            (StandardScaler(), ["distance", "stops", "wind"]),
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["carrier"]),
        ),
        HistGradientBoostingClassifier(max_iter=5),
    ).fit(frame[INPUTS], frame["late"])


class Shop:
    """The project of these tests and what was registered in it."""

    def __init__(self, project: Project, models: Path) -> None:
        self.project = project
        self.registry = ModelRegistry(project)
        self.store = TableStore(project)
        self._models = models
        self._client = tracking_client(project)
        found = self._client.get_experiment_by_name("shop.late")
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment("shop.late")
        )

    def fill(self) -> None:
        """Feature rows for every partition."""
        for number, partition in enumerate(PARTITIONS):
            rows = flights(seed=number + 10, start=f"{partition}-01")
            self.store.write("flight_features", partition, rows)

    def register(
        self,
        pipeline: Pipeline | None = None,
        *,
        promote: bool = True,
        serialization: str = "cloudpickle",
    ) -> ModelVersion:
        """A version, champion unless told otherwise, with its training reference."""
        seed = len(self.registry.versions("late"))
        pipeline = pipeline or fitted(seed)
        frame = flights(50, seed=99)
        folder = self._models / f"{self.project.root.name}-{seed}"
        mlflow = import_mlflow()
        with warnings.catch_warnings():
            # MLflow would rather have whole numbers as floats
            warnings.simplefilter("ignore")
            signature = mlflow.models.infer_signature(frame[INPUTS])
        mlflow.sklearn.save_model(
            pipeline,
            str(folder),
            pip_requirements=["scikit-learn"],
            serialization_format=serialization,
            signature=signature,
        )
        run = self._client.create_run(self._experiment)
        version = self.registry.register("late", str(folder), run_id=run.info.run_id, tags={})
        answered = frame[[*INPUTS, "late"]].assign(**Scorer(pipeline)(frame[INPUTS]).columns)
        self.store.write("late__reference", version.partition, answered)
        if promote:
            self.registry.promote("late", version)
        return version

    def rewritten(self, before: str, after: str) -> Shop:
        """The same after a change of its ``liminal.yml``."""
        file = self.project.file
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))
        return Shop(load_project(file), self._models)

    def pipeline(self, version: ModelVersion) -> Any:
        return self.registry.load(version)


@pytest.fixture(scope="session")
def served_template(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Path:
    """A project with rows and one champion, to be copied."""
    folder = tmp_path_factory.mktemp("template") / "shop"
    database = folder / ".liminal" / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    shutil.copyfile(mlflow_database, database)
    (folder / "liminal.yml").write_text(YAML)
    shop = Shop(load_project(folder), tmp_path_factory.mktemp("models"))
    shop.fill()
    shop.register()
    return folder


@pytest.fixture
def served(served_template: Path, tmp_path: Path) -> Shop:
    """A project with feature rows and one champion."""
    folder = tmp_path / "shop"
    shutil.copytree(served_template, folder)
    return Shop(load_project(folder), tmp_path)
