"""The live version: the next one takes over whole, or the one before stays."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.live import LiveModel
from liminal_assets.serving.model import ServedModel
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.conftest import running

SIGNATURE = Signature((Field("a", "double"),))


class Constant:
    """A model whose answers are its version's number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def predict(self, frame: pd.DataFrame) -> Any:
        return np.full(len(frame), self.number)


class Shelf:
    """Versions to choose from."""

    def __init__(self) -> None:
        self.wanted: str | None = None
        self.broken: set[str] = set()
        self.unreachable = False
        self.loads: Counter[str] = Counter()

    def newest(self) -> str | None:
        if self.unreachable:
            raise la.StepError("no route to the registry")
        return self.wanted

    def load(self, version: str) -> ServedModel:
        self.loads[version] += 1
        if version in self.broken:
            raise la.StepError(f"the files of version {version} are missing")
        return ServedModel.of(
            Constant(float(version)), SIGNATURE, name="shop.late", version=version
        )

    def waiting_for(self) -> str:
        return "late has no champion yet"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_without_a_champion_it_waits_and_says_so(shelf: Shelf) -> None:
    live = LiveModel(shelf)
    assert live.refresh().model is None
    assert live.state.problem == "late has no champion yet"
    shelf.wanted = "1"
    assert live.refresh().problem is None
    assert live.state.model
    assert live.state.model.version == "1"


def test_the_next_version_takes_over_and_is_loaded_once(shelf: Shelf) -> None:
    live = LiveModel(shelf)
    for wanted in ("1", "1", "2", "2", "1"):
        shelf.wanted = wanted
        state = live.refresh()
        assert state.model
        assert state.model.version == state.wanted == wanted
    assert shelf.loads == {"1": 2, "2": 1}


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(shelf: Shelf) -> None:
    live = LiveModel(shelf)
    shelf.wanted = "1"
    live.refresh()
    shelf.wanted, shelf.broken = "2", {"2"}
    for _ in range(3):
        state = live.refresh()
    assert state.model
    assert (state.model.version, state.wanted) == ("1", "2")
    assert state.problem == (
        "version 2 can't be loaded; version 1 stays: the files of version 2 are missing"
    )
    assert shelf.loads["2"] == 1
    shelf.wanted = "3"
    assert live.refresh().problem is None


def test_a_version_that_does_not_answer_leaves_the_one_before(shelf: Shelf) -> None:
    live = LiveModel(shelf)
    shelf.wanted = "1"
    live.refresh()
    shelf.wanted = "nan"
    state = live.refresh()
    assert state.model
    assert state.model.version == "1"
    assert "no finite answer for its example row" in str(state.problem)


def test_a_version_that_could_not_be_loaded_is_tried_again_later(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liminal_assets.serving.live._RETRY_SECONDS", 0.0)
    live = LiveModel(shelf)
    shelf.wanted, shelf.broken = "1", {"1"}
    assert live.refresh().model is None
    shelf.broken = set()
    assert live.refresh().model is not None


def test_an_unreachable_registry_leaves_the_version_and_is_told(shelf: Shelf) -> None:
    live = LiveModel(shelf)
    shelf.wanted = "1"
    live.refresh()
    shelf.unreachable = True
    state = live.refresh()
    assert state.model
    assert "no route to the registry" in str(state.problem)
    shelf.unreachable = False
    assert live.refresh().problem is None


def test_readiness_and_version_say_what_the_server_waits_for(shelf: Shelf) -> None:
    live = LiveModel(shelf, every=0.02)
    with running(ServingApp(live)) as client:
        _until(lambda: "no champion" in client.get("/readyz").json()["problem"])
        assert client.get("/readyz").status_code == 503
        refused = client.post("/predict", json={"a": 1})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        assert client.get("/docs").status_code == 200
        shelf.wanted = "1"
        _until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/predict", json={"a": 1}).json()["predictions"][0]["prediction"] == 1
        shelf.wanted, shelf.broken = "2", {"2"}
        _until(lambda: client.get("/info").json()["problem"])
        version = client.get("/info").json()
        assert (version["model_version"], version["champion"]) == ("1", "2")
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert "version 1 stays" in ready.json()["problem"]


def test_swaps_under_load_fail_no_request_and_mix_no_answer(shelf: Shelf) -> None:
    shelf.wanted = "1"
    live = LiveModel(shelf, every=0.01)
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

    with running(ServingApp(live)) as client:
        _until(lambda: client.get("/readyz").status_code == 200)
        clients = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for thread in clients:
            thread.start()
        for version in range(2, 22):
            shelf.wanted = str(version)
            _until(lambda: live.state.model.version == shelf.wanted)  # type: ignore[union-attr]
        over.set()
        for thread in clients:
            thread.join()
    assert wrong == []
    assert len(seen) > 5
    assert sum(seen.values()) > 100


def _until(done: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)
