"""Evaluates a project's sensors once, as Dagster's daemon would: same cursors, ticks and run keys.

What they request is recorded as requested before it is executed, so that nothing is lost when the
process dies, and nothing happens twice beside a daemon.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.sensor_definition import DefaultSensorStatus
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.instance.instance import DagsterInstance
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickStatus,
)
from dagster._core.storage.dagster_run import DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG, SENSOR_NAME_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import _process_tick_generator

from liminal_assets.cli.execution import keys_of
from liminal_assets.cli.instance import HeldRuns
from liminal_assets.cli.processes import DIED_TAG
from liminal_assets.cli.session import CODE_LOCATION, Session

__all__ = ["Tick", "evaluate_sensors", "lost_requests"]


@dataclass(frozen=True)
class Tick:
    """What one sensor said."""

    sensor: str
    requested: tuple[str, ...] = ()
    """The ids of the runs that it requests."""
    reason: str | None = None
    """Why it requests none."""
    error: str | None = None
    """What went wrong in it."""


def evaluate_sensors(session: Session) -> Iterator[Tick]:
    """Evaluates every sensor that is switched on, whatever its interval."""
    # sensors live in the code location that the daemon would load
    session.expose()
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=CODE_LOCATION)
    origin = InProcessCodeLocationOrigin(target, location_name=CODE_LOCATION)
    load = InProcessWorkspaceLoadTarget(origin)
    with WorkspaceProcessContext(session.instance, load) as workspace:
        location = workspace.create_request_context().get_code_location(CODE_LOCATION)
        for repository in location.get_repositories().values():
            for sensor in repository.get_sensors():
                # those of declarative automation belong to another daemon
                if not sensor.sensor_type.is_handled_by_asset_daemon:
                    tick = _evaluate(session.instance, workspace, sensor)
                    if tick is not None:
                        yield tick


def _evaluate(
    instance: DagsterInstance, workspace: WorkspaceProcessContext, sensor: RemoteSensor
) -> Tick | None:
    state = _due(instance, sensor)
    if state is None:
        return None
    coordinator = instance.run_coordinator
    held = coordinator.held if isinstance(coordinator, HeldRuns) else []
    before = len(held)
    logger = logging.getLogger("liminal.sensors")
    retention = instance.get_tick_retention_settings(InstigatorType.SENSOR)
    with redirect_to_file(sys.stderr, _log_file(instance)):
        told = list(
            _process_tick_generator(
                workspace, logger, sensor, state, None, retention, submit_threadpool_executor=None
            )
        )
    errors = [error for error in told if error is not None]
    requested = tuple(held[before:])
    last = next(
        iter(instance.get_ticks(sensor.get_remote_origin_id(), sensor.selector_id, limit=1)), None
    )
    error = errors[0] if errors else None
    if last is not None and last.status == TickStatus.FAILURE:
        error = error or last.error
    while error is not None and error.cause is not None:
        error = error.cause
    message = error.message.strip().split("\n")[0] if error else None
    return Tick(sensor.name, requested, last.skip_reason if last else None, message)


def _log_file(instance: DagsterInstance) -> str:
    """Where what sensors log is kept; what came of them is shown."""
    folder = Path(instance.root_directory) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / "sensors.log")


def _due(instance: DagsterInstance, sensor: RemoteSensor) -> InstigatorState | None:
    """The state of a sensor that is switched on, as if its interval had passed."""
    origin_id, selector_id = sensor.get_remote_origin_id(), sensor.selector_id
    state = instance.get_instigator_state(origin_id, selector_id)
    if not sensor.get_current_instigator_state(state).is_running:
        return None
    if state is None:
        if sensor.default_status != DefaultSensorStatus.RUNNING:
            return None
        state = InstigatorState(
            sensor.get_remote_origin(),
            InstigatorType.SENSOR,
            InstigatorStatus.DECLARED_IN_CODE,
            SensorInstigatorData(
                min_interval=sensor.min_interval_seconds, sensor_type=sensor.sensor_type
            ),
        )
        return instance.add_instigator_state(state)
    data = state.instigator_data
    if isinstance(data, SensorInstigatorData):
        state = state.with_data(
            data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
        )
        instance.update_instigator_state(state)
    return state


def lost_requests(session: Session) -> list[str]:
    """Runs that sensors requested and whose process died, requested anew.

    Returns:
        The ids of the new runs.
    """
    instance = session.instance
    names = {sensor.name for sensor in session.repository.sensor_defs}
    found = instance.get_runs(
        RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={DIED_TAG: "true"})
    )
    again = []
    for run in found:
        if run.tags.get(SENSOR_NAME_TAG) not in names:
            continue
        job = session.repository.get_job(run.job_name)
        if selected := run.asset_selection:
            job = job.get_subset(asset_selection=set(selected))
        tags = {key: value for key, value in run.tags.items() if not key.startswith("liminal/died")}
        new = instance.create_run_for_job(
            job,
            run_config=run.run_config,
            tags={
                **tags,
                PARENT_RUN_ID_TAG: run.run_id,
                ROOT_RUN_ID_TAG: run.root_run_id or run.run_id,
            },
            root_run_id=run.root_run_id or run.run_id,
            parent_run_id=run.run_id,
            asset_selection=run.asset_selection,
            remote_job_origin=run.remote_job_origin,
            repository_load_data=session.repository.repository_load_data,
        )
        instance.add_run_tags(run.run_id, {DIED_TAG: new.run_id})
        again.append(new.run_id)
    return again


def requested_keys(session: Session, run_id: str) -> frozenset[dg.AssetKey]:
    """The assets that a requested run makes."""
    run = session.instance.get_run_by_id(run_id)
    if run is None:
        return frozenset()
    return frozenset(run.asset_selection or keys_of(session.repository.get_job(run.job_name)))
