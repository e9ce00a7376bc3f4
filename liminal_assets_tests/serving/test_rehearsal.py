"""A version is loaded by a process that answers nobody before workers get it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from liminal_assets.serving import rehearsal
from liminal_assets.serving.rehearsal import rehearse
from liminal_assets_tests.serving.shelf import (
    Constant,
    Shelf,
    journal_of,
    make_release,
    serving,
    until,
)


def release(root: Path, model: Constant) -> Path:
    folders = Shelf(root).folders
    return folders.releases / make_release(folders, "1", model).key


@pytest.mark.slow
def test_a_model_that_ends_its_process_is_told_with_how_often_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_PAUSE_SECONDS", 0.0)
    crash = rehearse(release(tmp_path, Constant(1.0, kills="loading")))
    assert crash
    assert (crash.how, crash.times) == ("it ended by signal 9", 3)


@pytest.mark.slow
def test_one_that_loads_or_says_why_it_cannot_is_left_to_the_workers(tmp_path: Path) -> None:
    folder = release(tmp_path, Constant(1.0, kills="answering"))
    assert rehearse(folder) is None
    (folder / "model.pkl").write_bytes(b"other")
    assert rehearse(folder) is None


@pytest.mark.slow
def test_a_champion_that_kills_what_loads_it_never_reaches_a_worker(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.promote("1")
    with serving(tmp_path) as server:
        workers = server.workers()
        shelf.promote("2", kills="loading")

        def taken_back() -> bool:
            # every answer meanwhile is one of the version before
            assert server.ask().headers["x-model-version"] == "1"
            return shelf.newest() == "1"

        until(taken_back)
        until(lambda: journal_of(tmp_path).last().action == "rollback")  # type: ignore[union-attr]
        assert workers <= server.workers()
    last = journal_of(tmp_path).last()
    assert last
    assert (last.version, last.champion) == (2, 1)
    assert "signal 9" in last.reason


@pytest.mark.slow
def test_a_candidate_that_kills_workers_as_it_answers_is_taken_back(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.promote("1")
    canary = {"strategy": "canary", "steps": [50, 100], "min_requests": 1000}
    with serving(tmp_path, rollout=canary) as server:
        shelf.promote("2", kills="answering")

        def taken_back() -> bool:
            # what is for the candidate takes the worker with it
            with suppress(httpx.TransportError):
                server.ask()
            return shelf.newest() == "1"

        until(taken_back)
        until(server.ready)
        assert {server.ask().headers["x-model-version"] for _ in range(5)} == {"1"}
        places = server.client.get("/readyz").json()["workers"]
    assert places["of"] == 1
    assert places["each"][0]["restarts"] >= 3
    assert places["each"][0]["ended"] == "by signal 9"
    last = journal_of(tmp_path).last()
    assert last
    assert (last.action, last.version, last.champion) == ("rollback", 2, 1)
    assert last.reason == "3 workers ended with it, the last one by signal 9"
