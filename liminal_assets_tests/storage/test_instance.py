"""Dagster's state: SQLite below the project, PostgreSQL by an environment variable."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
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


def server_binaries() -> Path | None:
    """PostgreSQL's programs; Debian keeps them out of PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server of its own."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here")
    data = tmp_path / "data"
    data.mkdir()
    run: list[str] = []
    if os.getuid() == 0:
        # the server refuses to be root
        run = ["runuser", "-u", "postgres", "--"]
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder.name.startswith("pytest-"):
                folder.chmod(0o755)
        tmp_path.chmod(0o755)
        shutil.chown(data, "postgres")
    user = "postgres" if run else getpass.getuser()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    initdb = [str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", user, "--no-sync"]
    subprocess.run([*run, *initdb], check=True, capture_output=True, cwd="/")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data} -c fsync=off"
    control = [*run, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log")]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
    try:
        yield f"postgresql://{user}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd="/")


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
