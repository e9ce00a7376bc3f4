"""Fixtures that several parts share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from liminal_assets.language.loading import Project
from liminal_assets.storage.locks import file_lock
from liminal_assets.storage.spark import mark_missing_spark_connect
from liminal_assets.storage.tracking import tracking_client
from liminal_assets_tests.commands import Done, liminal
from liminal_assets_tests.shop import LEARN, Learned, write_shop

pytest_plugins = [
    "liminal_assets_tests.champions",
    "liminal_assets_tests.databases",
    "liminal_assets_tests.forking",
]

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
def of_all_workers(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of what is made once, behind a lock, for all workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if worker_id != "master" else base


@pytest.fixture(scope="session")
def mlflow_database(of_all_workers: Path) -> Path:
    """An empty MLflow database, made once for all workers: MLflow takes seconds for it."""
    shared = of_all_workers / "mlflow"
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


@pytest.fixture(scope="session")
def learned_shop(of_all_workers: Path, with_mlflow: Callable[[Path], Path]) -> Learned:
    """The shop after it learned from two months, made once for all workers; to be copied."""
    shared = of_all_workers / "learned"
    kept = shared / "done.json"
    with file_lock(shared.with_suffix(".lock")):
        if not kept.exists():
            shop = with_mlflow(write_shop(shared / "shop"))
            done = liminal("run", "--project", shop, "--changed", "--json", *LEARN)
            kept.write_text(json.dumps(asdict(done)))
    return Learned(shared / "shop", Done(**json.loads(kept.read_text())))
