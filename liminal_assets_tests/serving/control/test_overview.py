"""What a server's files tell of it: who answers, what is tried, how each worker is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from liminal_assets.serving.control.overview import Overview, overview
from liminal_assets.serving.control.team import Place, Team, WorkerHealth, health_of, write_team
from liminal_assets.serving.observing.counts import PairCounts, VersionCounts
from liminal_assets.serving.server import sole_controller
from liminal_assets_tests.serving.control.test_controller import CANARY, Deployed
from liminal_assets_tests.serving.shelf import Shelf

ME = os.getpid()


def seen(deployed: Deployed) -> Overview:
    with sole_controller(deployed.folders, "late_api"):
        found = overview(deployed.folders)
    assert found
    return found


def test_a_server_that_does_not_run_has_nothing_to_tell(tmp_path: Path) -> None:
    folders = Shelf(tmp_path).folders
    assert overview(folders) is None
    with sole_controller(folders, "late_api"):
        assert overview(folders)
    assert overview(folders) is None


def test_a_rollout_is_told_with_its_step_its_share_and_what_it_has_shown(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, **CANARY)
    deployed.shelf.promote("1")
    deployed.go()
    assert seen(deployed).candidate is None
    deployed.shelf.promote("2")
    deployed.controller.tick()
    loading = seen(deployed).candidate
    assert loading
    assert (loading.step, loading.verdict) == (0, "workers load it")
    deployed.go()
    deployed.now += 30
    deployed.count(
        PairCounts(4, 1, slices={"carrier=AA": (1, 1)}), _1=VersionCounts(90), _2=VersionCounts(9)
    )
    deployed.go()
    found = seen(deployed)
    assert (found.version, found.champion, found.problem) == ("1", "2", None)
    trial = found.candidate
    assert trial
    assert (trial.version, trial.step, trial.share) == ("2", 1, 10)
    assert trial.step_began == deployed.now - 30
    assert trial.verdict == "9 of 10 requests answered"
    assert trial.evidence["candidate"]["requests"] == 9
    assert trial.evidence["compared"]["slices"]["carrier=AA"]["disagreement"] == 0.5
    # what the next step shows is its own
    deployed.count(_1=VersionCounts(90), _2=VersionCounts(10))
    deployed.controller.tick()
    assert deployed.controller.plan.share == 50


def note(deployed: Shelf, pid: int, **said: Any) -> None:
    folder = deployed.folders.workers
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{pid}.json").write_bytes(msgspec.json.encode({"pid": pid, "generation": 1, **said}))
    (folder / f"{pid}.beat").touch()


def test_each_worker_is_told_with_its_versions_and_what_became_of_those_before(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path)
    began = time.time()
    places = (
        Place(11, began),
        Place(12, began, 2, "by signal 9"),
        Place(None, began, 1, "with code 1"),
    )
    write_team(shelf.folders, Team(ME, began, places))
    note(
        shelf,
        11,
        stable="3-abc",
        version="3",
        candidate="4-def",
        since=17.0,
        problem="version 5 can't be loaded",
    )
    assert health_of(shelf.folders) == [
        WorkerHealth(11, "ready", "3", "4", 17.0, problem="version 5 can't be loaded"),
        WorkerHealth(12, "loading", restarts=2, ended="by signal 9"),
        WorkerHealth(None, "restarting", restarts=1, ended="with code 1"),
    ]
    os.utime(shelf.folders.workers / "11.beat", (began - 60, began - 60))
    assert [one.state for one in health_of(shelf.folders)] == ["silent", "loading", "restarting"]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["ready"], "ready"),
        (["ready", "ready"], "ready (2 workers)"),
        (["ready", "loading", "silent"], "1 of 3 workers ready (loading, silent)"),
        ([], "starting"),
    ],
)
def test_health_is_that_of_all_workers(states: list[Any], said: str) -> None:
    workers = [WorkerHealth(number, state) for number, state in enumerate(states)]
    assert Overview("1", None, "1", None, workers).health == said
