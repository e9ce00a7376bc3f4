"""Fixtures that several parts share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from liminal_assets.language.loading import Project
from liminal_assets.storage.locks import file_lock
from liminal_assets.storage.spark import mark_missing_spark_connect
from liminal_assets.storage.tracking import tracking_client

pytest_plugins = ["liminal_assets_tests.champions", "liminal_assets_tests.databases"]

# tests that import Great Expectations themselves run in processes that PySpark would end
mark_missing_spark_connect()


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Alembic imports all files of MLflow's or Dagster's migrations whenever a database is opened,
    and Dagster has a database for each run: here it does so once for each folder of them."""
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """An empty MLflow database, made once for all workers: MLflow takes seconds for it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if worker_id != "master" else base) / "mlflow"
    with file_lock(shared.with_suffix(".lock")):
        project = Project.of("shared", shared)
        tracking_client(project)
    return project.state / "mlflow" / "mlflow.db"


@pytest.fixture(scope="session")
def with_mlflow(mlflow_database: Path) -> Callable[[Path], Path]:
    """Gives a project's folder an MLflow database without waiting for MLflow to make one."""

    def give(folder: Path) -> Path:
        target = folder / ".liminal" / "mlflow" / "mlflow.db"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mlflow_database, target)
        return folder

    return give
