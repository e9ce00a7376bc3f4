"""Dagster's instance as a command uses it that executes runs itself and shows their progress."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator.base import RunCoordinator, SubmitRunContext
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from liminal_assets.cli.processes import PROCESS_TAG, this_process
from liminal_assets.storage.instance import dagster_home

__all__ = ["FileLogs", "HeldRuns", "open_command_instance"]


def open_command_instance(home: Path) -> dg.DagsterInstance:
    """The persistent instance of projects whose state is below ``home``, for a command.

    The same state as :func:`~liminal_assets.storage.instance.open_instance`, but what steps print
    goes to the files that the UI shows and nowhere else, and runs that sensors request are kept for
    the command instead of queued.
    """
    ref = InstanceRef.from_dir(str(dagster_home(home)))
    logs = ref.compute_logs_data
    if (logs.module_name, logs.class_name) == _LOCAL_LOGS:
        ref = ref._replace(
            compute_logs_data=ConfigurableClassData(__name__, FileLogs.__name__, logs.config_yaml)
        )
    coordinator = ConfigurableClassData(__name__, HeldRuns.__name__, yaml.dump({}))
    return dg.DagsterInstance.from_ref(ref._replace(run_coordinator_data=coordinator))


_LOCAL_LOGS = ("dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager")


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
        run_id = context.dagster_run.run_id
        # if this process dies before it executes the run, the next one sees that it's lost
        self._instance.add_run_tags(run_id, {PROCESS_TAG: this_process()})
        self.held.append(run_id)
        return context.dagster_run

    def cancel_run(self, run_id: str) -> bool:
        if run_id not in self.held:
            return False
        self.held.remove(run_id)
        return True
