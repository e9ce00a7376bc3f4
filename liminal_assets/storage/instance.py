"""Dagster's own state: SQLite in the state folder, PostgreSQL by environment variable."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._cli.utils import TMP_DAGSTER_HOME_PREFIX
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator.base import RunCoordinator, SubmitRunContext
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from liminal_assets.language.loading import home_of

__all__ = ["POSTGRES_URL", "LiminalInstance", "dagster_home", "open_instance"]

POSTGRES_URL = "LIMINAL_POSTGRES_URL"
"""The environment variable that moves Dagster's runs, events and schedules to PostgreSQL."""

_TEMPLATE = Path(__file__).with_name("dagster.yaml")


class LiminalInstance(dg.DagsterInstance):
    """The instance that ``dagster.yaml`` asks for by ``instance_class``.

    It decides where state lives when the instance is first loaded; Dagster hands the answer, plain
    storages with absolute paths, on to its daemon, webserver and run processes.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Keys of ``dagster.yaml`` besides Dagster's own: none."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """The storages used where ``dagster.yaml`` names none.

        Args:
            base_dir: ``DAGSTER_HOME``. Without one ``dagster dev`` makes up a folder that it
                deletes at the end; the state folder takes its place.
        """
        if Path(base_dir).name.startswith(TMP_DAGSTER_HOME_PREFIX):
            base_dir = str(home_of(Path(base_dir).parent) / ".liminal" / "dagster")
            Path(base_dir).mkdir(parents=True, exist_ok=True)
        defaults = dict(InstanceRef.config_defaults(base_dir))
        if os.environ.get(POSTGRES_URL):
            # the variable's name, not its value: a reference is shown in command lines
            config = yaml.dump({"postgres_url": {"env": POSTGRES_URL}})
            for key, name in _POSTGRES.items():
                defaults[key] = ConfigurableClassData("dagster_postgres", name, config)
        return defaults


_POSTGRES = {
    "storage": "DagsterPostgresStorage",
    "run_storage": "PostgresRunStorage",
    "event_log_storage": "PostgresEventLogStorage",
    "schedule_storage": "PostgresScheduleStorage",
}


def dagster_home(home: Path) -> Path:
    """The folder of Dagster's state for projects whose state is below ``home``, ready for use.

    ``DAGSTER_HOME`` wins where it is set. Otherwise it is ``.liminal/dagster``, configured by the
    ``dagster.yaml`` in ``home`` or, without one, by the package's own.
    """
    if chosen := os.environ.get("DAGSTER_HOME"):
        return Path(chosen).expanduser()
    folder = home / ".liminal" / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    source = home / "dagster.yaml"
    target = folder / "dagster.yaml"
    if source.is_file() or not target.is_file():
        text = (source if source.is_file() else _TEMPLATE).read_text(encoding="utf-8")
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            fresh = target.with_suffix(f".{os.getpid()}")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(target)
    return folder


class FileLogs(LocalComputeLogManager):
    """Keeps what steps print in the files where the UI looks for it, and there only.

    Dagster's own would start four processes per run to print it a second time.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> FileLogs:
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        paths = [
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        ]
        Path(paths[0]).parent.mkdir(parents=True, exist_ok=True)
        with redirect_to_file(sys.stdout, paths[0]), redirect_to_file(sys.stderr, paths[1]):
            yield CapturedLogContext(log_key)
        Path(self.complete_artifact_path(log_key)).touch()  # type: ignore[no-untyped-call]


def open_instance(home: Path, *, outside_of_ui: bool = False) -> dg.DagsterInstance:
    """The persistent instance of projects whose state is below ``home``.

    A context manager; leaving it closes the databases.

    Args:
        outside_of_ui: runs are executed by a command that shows its own progress: what steps
            print goes to the files that the UI shows, and runs that sensors request are kept for
            the command instead of queued.
    """
    folder = str(dagster_home(home))
    if not outside_of_ui:
        return dg.DagsterInstance.from_config(folder)
    module = __name__
    ref = InstanceRef.from_dir(folder)
    logs = ref.compute_logs_data
    if (logs.module_name, logs.class_name) == _LOCAL_LOGS:
        ref = ref._replace(
            compute_logs_data=ConfigurableClassData(module, FileLogs.__name__, logs.config_yaml)
        )
    coordinator = ConfigurableClassData(module, HeldRuns.__name__, yaml.dump({}))
    return dg.DagsterInstance.from_ref(ref._replace(run_coordinator_data=coordinator))


_LOCAL_LOGS = ("dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager")


class HeldRuns(RunCoordinator, ConfigurableClass):
    """Keeps submitted runs for the command that evaluates sensors, which executes them itself."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self.held: list[str] = []
        """The ids of submitted runs, oldest first."""
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> HeldRuns:
        return cls(inst_data)

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        self.held.append(context.dagster_run.run_id)
        return context.dagster_run

    def cancel_run(self, run_id: str) -> bool:
        if run_id not in self.held:
            return False
        self.held.remove(run_id)
        return True
