"""Dagster's state: SQLite below the project, PostgreSQL by an environment variable."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from liminal_assets.storage.instance import (
    POSTGRES_URL,
    LiminalInstance,
    dagster_home,
    open_instance,
)

TOP = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_instance_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "LIMINAL_HOME", POSTGRES_URL):
        monkeypatch.delenv(name, raising=False)


def test_without_settings_the_state_is_sqlite_below_the_project(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        assert isinstance(instance, LiminalInstance)
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 4
        instance.add_dynamic_partitions("seen", ["one"])
    assert (tmp_path / ".liminal/dagster/history/runs.db").is_file()
    with open_instance(tmp_path) as instance:
        assert instance.get_dynamic_partitions("seen") == ["one"]


def test_a_dagster_yaml_beside_workspace_yaml_configures_the_instance(tmp_path: Path) -> None:
    text = (TOP / "dagster.yaml").read_text()
    dagster_home(tmp_path)
    (tmp_path / "dagster.yaml").write_text(
        text.replace("max_concurrent_runs: 4", "max_concurrent_runs: 9")
    )
    with open_instance(tmp_path) as instance:
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 9


def test_changes_to_the_state_folders_own_dagster_yaml_stay(tmp_path: Path) -> None:
    file = dagster_home(tmp_path) / "dagster.yaml"
    file.write_text(file.read_text() + "# ours\n")
    assert (dagster_home(tmp_path) / "dagster.yaml").read_text().endswith("# ours\n")


def test_dagster_home_of_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    assert dagster_home(tmp_path) == tmp_path / "elsewhere"


def test_dagster_dev_without_dagster_home_uses_the_state_folder(tmp_path: Path) -> None:
    shutil.copy(TOP / "dagster.yaml", tmp_path)
    (tmp_path / "workspace.yaml").touch()
    made_up = tmp_path / ".tmp_dagster_home_x1"
    made_up.mkdir()
    ref = InstanceRef.from_dir(str(made_up), config_dir=str(tmp_path))
    with dg.DagsterInstance.from_ref(ref) as instance:
        assert instance.root_directory == str(tmp_path / ".liminal/dagster")
        instance.add_dynamic_partitions("seen", ["one"])
    with open_instance(tmp_path) as instance:
        assert instance.get_dynamic_partitions("seen") == ["one"]


@pytest.mark.slow
def test_with_the_variable_set_the_state_is_in_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str
) -> None:
    monkeypatch.setenv(POSTGRES_URL, postgres)

    @dg.asset
    def numbers() -> None: ...

    home = tmp_path / "home"
    with open_instance(home) as instance:
        assert dg.materialize([numbers], instance=instance).success
        assert "127.0.0.1" not in str(instance.get_ref())
    assert not (home / ".liminal/dagster/history").exists()
    import psycopg2

    with psycopg2.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT status FROM runs")
        assert cursor.fetchall() == [("SUCCESS",)]
