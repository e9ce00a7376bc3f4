"""``liminal run --sensors``: sensors evaluated as the daemon would, nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus

from liminal_assets.cli import session as session_module
from liminal_assets.cli.execution import execute_requested
from liminal_assets.cli.processes import DIED_TAG, PROCESS_TAG, close_dead_runs, this_process
from liminal_assets.cli.sensors import evaluate_sensors, lost_requests, requested_keys
from liminal_assets.cli.session import Session, open_session
from liminal_assets.language.loading import load_project
from liminal_assets_tests.cli.conftest import Liminal

# a team's own code location around a project, with sensors that the language doesn't have
LOCATION = """\
import dagster as dg
import liminal_assets as la

STORES = [dg.AssetKey(["shop", "stores"])]

@dg.sensor(asset_selection=STORES, default_status=dg.DefaultSensorStatus.RUNNING)
def wants_stores(context):
    seen = int(context.cursor or 0) + 1
    context.update_cursor(str(seen))
    if seen > 2:
        return dg.SkipReason("seen twice")
    return dg.RunRequest(run_key="once", tags={"liminal/cause": "a breach"})

@dg.sensor(asset_selection=STORES, default_status=dg.DefaultSensorStatus.RUNNING)
def breaks(context):
    raise ValueError("no wifi")

@dg.sensor(asset_selection=STORES)
def is_off(context):
    return dg.RunRequest()

defs = dg.Definitions.merge(
    la.build_definitions("."), dg.Definitions(sensors=[wants_stores, breaks, is_off])
)
"""


@pytest.fixture
def session(shop: Path, monkeypatch: pytest.MonkeyPatch, liminal: Liminal) -> Iterator[Session]:
    """The shop's session, in a code location that has sensors of its own."""
    import sys

    (shop / "location_with_sensors.py").write_text(LOCATION)
    monkeypatch.syspath_prepend(shop)
    monkeypatch.setattr("liminal_assets.cli.sensors.CODE_LOCATION", "location_with_sensors")
    sys.modules.pop("location_with_sensors", None)
    import location_with_sensors  # type: ignore[import-not-found]

    monkeypatch.setattr(
        session_module, "build_definitions", lambda project: location_with_sensors.defs
    )
    with open_session(load_project(shop)) as opened:
        yield opened


def ticks(session: Session) -> dict[str, Any]:
    return {tick.sensor: tick for tick in evaluate_sensors(session)}


def test_each_sensor_that_is_on_is_evaluated_once(session: Session) -> None:
    found = ticks(session)
    assert set(found) == {"wants_stores", "breaks"}
    assert len(found["wants_stores"].requested) == 1
    assert found["breaks"].error == "ValueError: no wifi"


def test_a_requested_run_is_executed_with_its_cause(session: Session) -> None:
    (run_id,) = ticks(session)["wants_stores"].requested
    assert requested_keys(session, run_id) == {dg.AssetKey(["shop", "stores"])}
    (report,) = execute_requested(session, run_id, listen=lambda report: None)
    assert (report.name, report.status) == ("stores", "done")
    run = session.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.SUCCESS
    assert run.tags["liminal/cause"] == "a breach"
    assert run.tags["dagster/sensor_name"] == "wants_stores"


def test_a_run_key_is_honoured_once_and_the_cursor_goes_on(session: Session) -> None:
    (run_id,) = ticks(session)["wants_stores"].requested
    execute_requested(session, run_id, listen=lambda report: None)
    assert ticks(session)["wants_stores"].requested == ()
    third = ticks(session)["wants_stores"]
    assert (third.requested, third.reason) == ((), "seen twice")


def test_the_daemon_would_go_on_from_the_same_cursor(session: Session) -> None:
    ticks(session)
    states = {state.name: state for state in session.instance.all_instigator_state()}
    state = states["wants_stores"]
    assert state.instigator_data.cursor == "1"
    assert state.origin.location_name == "location_with_sensors"


def test_what_was_requested_before_the_process_died_is_requested_anew(session: Session) -> None:
    (run_id,) = ticks(session)["wants_stores"].requested
    instance = session.instance
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[PROCESS_TAG] == this_process()
    machine, number, _ = this_process().split("_")
    instance.add_run_tags(run_id, {PROCESS_TAG: f"{machine}_{number}_1"})
    assert close_dead_runs(instance) == [run_id]
    (again,) = lost_requests(session)
    new = instance.get_run_by_id(again)
    assert new is not None
    assert new.parent_run_id == run_id
    assert new.tags["liminal/cause"] == "a breach"
    assert DIED_TAG not in new.tags
    assert lost_requests(session) == []
    (report,) = execute_requested(session, again, listen=lambda report: None)
    assert report.status == "done"


def test_without_sensors_the_command_says_nothing_of_them(liminal: Liminal, shop: Path) -> None:
    done = liminal("run", "--select", "stores", "--sensors")
    assert done.code == 0
    assert "sensor" not in done.out
