"""The live versions of a worker: the next takes over whole, or the one before stays."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.control.live import Follower, read_workers
from liminal_assets.serving.control.plan import Plan, write_plan
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets_tests.serving.conftest import running
from liminal_assets_tests.serving.shelf import SIGNATURE, Constant, until


class Plans:
    """Plans to follow, and models to load; releases are called ``<version>-x``."""

    def __init__(self, root: Path) -> None:
        self.folders = ServingFolders(root)
        self.broken: set[str] = set()
        self.loads: Counter[str] = Counter()
        self.generation = 0
        self.live = Follower(self.folders, every=0.01, load=self.load)

    def write(self, stable: str | None, candidate: str | None = None, **said: Any) -> None:
        self.generation += 1
        keys = [f"{version}-x" if version else None for version in (stable, candidate)]
        write_plan(self.folders.plan, Plan(self.generation, *keys, **said))

    def load(self, folder: Path) -> ServedModel:
        version = folder.name.removesuffix("-x")
        self.loads[version] += 1
        if version in self.broken:
            raise la.StepError(f"the files of version {version} are missing")
        return ServedModel.of(
            Constant(float(version)), SIGNATURE, name="shop.late", version=version
        )

    @property
    def versions(self) -> tuple[str | None, str | None]:
        state = self.live.refresh()
        stable, candidate = state.model, state.candidate
        return stable and stable.version, candidate and candidate.version


@pytest.fixture
def plans(tmp_path: Path) -> Iterator[Plans]:
    plans = Plans(tmp_path)
    yield plans
    plans.live.stop()


def test_without_a_plan_it_waits(plans: Plans) -> None:
    assert plans.versions == (None, None)
    assert plans.live.state.problem == "the model is being loaded"
    plans.write(None, problem="late has no champion yet")
    assert plans.versions == (None, None)
    assert plans.live.state.problem == "late has no champion yet"


def test_the_next_version_takes_over_and_each_is_loaded_once(plans: Plans) -> None:
    for stable, candidate in [("1", None), ("1", None), ("1", "2"), ("2", None), ("2", "1")]:
        plans.write(stable, candidate)
        assert plans.versions == (stable, candidate)
        assert plans.versions == (stable, candidate)
    assert plans.loads == {"1": 2, "2": 1}


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(plans: Plans) -> None:
    plans.write("1")
    plans.live.refresh()
    plans.broken = {"2"}
    plans.write("2")
    assert plans.versions == plans.versions == ("1", None)
    assert plans.live.state.problem == (
        "version 2 can't be loaded; version 1 stays: the files of version 2 are missing"
    )
    assert plans.loads["2"] == 1
    plans.write("3")
    assert plans.versions == ("3", None)
    assert plans.live.state.problem is None


def test_what_could_not_be_loaded_is_tried_again_later(
    plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liminal_assets.serving.control.live._RETRY_SECONDS", 0.0)
    plans.broken = {"1"}
    plans.write("1")
    assert plans.versions == (None, None)
    plans.broken = set()
    assert plans.versions == ("1", None)


def test_a_worker_says_what_it_has_loaded(plans: Plans) -> None:
    plans.broken = {"2"}
    plans.write("1", "2")
    plans.live.refresh()
    (said,) = read_workers(plans.folders.workers).values()
    assert (said.generation, said.stable, said.candidate) == (1, "1-x", None)
    assert "version 2 can't be loaded; version 1 stays" in str(said.problem)


@pytest.mark.parametrize("text", ["{", '{"generation": "new"}', ""])
def test_a_plan_that_is_none_leaves_the_one_before(plans: Plans, text: str) -> None:
    plans.write("1")
    plans.live.refresh()
    plans.folders.plan.write_text(text)
    assert plans.versions == ("1", None)
    assert "is no traffic plan" in str(plans.live.state.problem)
    plans.folders.plan.unlink()
    assert plans.versions == ("1", None)


def test_readiness_says_what_the_server_waits_for(plans: Plans) -> None:
    plans.write(None, problem="late has no champion yet")
    with running(ServingApp(plans.live)) as client:
        until(lambda: "no champion" in client.get("/readyz").json()["problem"])
        assert client.get("/readyz").status_code == 503
        refused = client.post("/predict", json={"a": 1})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        assert client.get("/docs").status_code == 200
        plans.write("1", wanted="1")
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/predict", json={"a": 1}).json()["predictions"][0]["prediction"] == 1
        plans.broken = {"2"}
        plans.write("2", wanted="2")
        until(lambda: client.get("/info").json()["problem"])
        said = client.get("/info").json()
        assert (said["model_version"], said["champion"]) == ("1", "2")
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert "version 1 stays" in ready.json()["problem"]


def test_swaps_under_load_fail_no_request_and_mix_no_answer(plans: Plans) -> None:
    seen: Counter[str] = Counter()
    wrong: list[Any] = []
    over = threading.Event()

    def ask(client: Any) -> None:
        rows = [{"a": float(row)} for row in range(20)]
        while not over.is_set():
            response = client.post("/predict", json=rows)
            said = response.json()
            values = {row["prediction"] for row in said.get("predictions", ())}
            version = said.get("model_version")
            if response.status_code != 200 or values != {float(version)}:
                wrong.append(said)
            if response.headers["x-model-version"] != version:
                wrong.append(said)
            seen[version] += 1

    plans.write("1")
    with running(ServingApp(plans.live)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        clients = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for thread in clients:
            thread.start()
        for version in map(str, range(2, 22)):
            plans.write(version)
            until(lambda version=version: plans.live.state.model.version == version)  # type: ignore[misc]
            time.sleep(0.01)
        over.set()
        for thread in clients:
            thread.join()
    assert wrong == []
    assert len(seen) > 5
