"""Real servers under load: promotions, canaries and kills lose and mix no answer."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from liminal_assets.serving.control.plan import read_plan, version_of
from liminal_assets_tests.serving.shelf import Serving, Shelf, journal_of, log_of, serving, until

CANARY = {
    "strategy": "canary",
    "steps": [20, 60],
    "min_requests": 20,
    "rollback_on": {"error_rate": 0.1},
    "sticky": "x-caller",
}


class Load:
    """Clients that ask without pause and check every answer.

    Args:
        lossy: whether a connection may end without one, as those of what is killed do.
    """

    def __init__(self, server: Serving, clients: int = 3, *, lossy: bool = False) -> None:
        self._lossy = lossy
        self.asked = 0
        self.ids: list[str] = []
        """Of the rows that were answered."""
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._url = str(server.client.base_url)
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        rows = [{"a": float(row)} for row in range(5)]
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.is_set():
                with self._lock:
                    self.asked += 1
                caller = f"{number}-{self.asked % 50}"
                try:
                    response = client.post("/predict", json=rows, headers={"x-caller": caller})
                except httpx.TransportError as error:
                    if not self._lossy:
                        self.wrong.append(repr(error))
                    continue
                said = response.json()
                version = said.get("model_version")
                values = {row["prediction"] for row in said.get("predictions", ())}
                if response.status_code != 200 or values != {float(version)}:
                    self.wrong.append(response.text[:300])
                elif response.headers["x-model-version"] != version:
                    self.wrong.append(f"header {response.headers['x-model-version']}: {version}")
                with self._lock:
                    self.answers[version] += 1
                    self.ids += [row["prediction_id"] for row in said.get("predictions", ())]


def logged(root: Path) -> list[str]:
    """The ids of the rows in the prediction log."""
    rows = log_of(root).read().to("arrow")
    found: list[str] = rows["prediction_id"].to_pylist()
    return found


@pytest.mark.slow
def test_promotions_under_load_lose_and_mix_no_answer_and_log_each_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.promote("1")
    with serving(tmp_path, workers=2, log="memory") as server:
        with Load(server) as load:
            for version in ("2", "3", "1"):
                shelf.promote(version)
                before = load.answers[version]
                until(lambda v=version, n=before: load.answers[v] > n + 5)  # type: ignore[misc]
            until(lambda: read_plan(shelf.folders.plan).decided is None)
        server.end()
    assert load.wrong == []
    assert sorted(logged(tmp_path)) == sorted(load.ids)
    assert sum(load.answers.values()) == load.asked
    assert set(load.answers) == {"1", "2", "3"}
    champions = [one.champion for one in journal_of(tmp_path).decisions()]
    assert champions == [1, 2, 3, 1]


@pytest.mark.slow
def test_a_canary_takes_over_under_load_and_one_that_fails_goes_back(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.promote("1")
    with serving(tmp_path, workers=2, rollout=CANARY) as server:
        with Load(server) as load:
            shelf.promote("2")
            until(lambda: version_of(read_plan(shelf.folders.plan).stable) == "2")
        assert load.wrong == []
        assert sum(load.answers.values()) == load.asked
        with Load(server) as load:
            shelf.promote("3", fails=True)
            until(lambda: shelf.newest() == "2")
            until(lambda: journal_of(tmp_path).newest().__next__().action == "rollback")
        # only the candidate failed, and it is gone
        assert load.answers["2"] > 0
        assert all('"code":"internal"' in said for said in load.wrong)
        with Load(server) as load:
            until(lambda: load.asked > 30)
        assert load.wrong == []
    last = journal_of(tmp_path).last()
    assert last
    assert (last.action, last.version, last.champion) == ("rollback", 3, 2)
    assert last.evidence["candidate"]["failed"] >= 3
    assert last.evidence["stable"]["failed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["server", "worker"])
def test_killed_in_the_middle_of_a_swap_old_or_new_answers_and_the_journal_agrees(
    tmp_path: Path, killed: str
) -> None:
    """Every single write is in ``test_whole_moves``; this is the whole server under load, whose
    callers ask on while another one takes over. What they were told is in the log, once."""
    shelf = Shelf(tmp_path)
    shelf.promote("1")
    with ExitStack() as whole:
        server = whole.enter_context(serving(tmp_path, workers=2, log="durable"))
        with Load(server, lossy=True) as load:
            worker = min(server.workers())
            shelf.promote("2")
            # the plan names the new version, as one that is tried or already as the one that
            # answers
            until(lambda: _planned(shelf, "2"))
            port = int(server.client.base_url.port or 0)
            os.kill(worker if killed == "worker" else server.pid, signal.SIGKILL)
            if killed == "server":
                # its workers answer what is under way and leave the port
                until(lambda: not _listening(port))
                assert version_of(read_plan(shelf.folders.plan).stable) in ("1", "2")
                server = whole.enter_context(serving(tmp_path, workers=1, port=port, log="durable"))
            before = load.answers["2"]
            until(lambda: load.answers["2"] > before + 5)
            until(lambda: read_plan(shelf.folders.plan).decided is None)
        server.end()
    assert load.wrong == []
    assert set(load.answers) <= {"1", "2"}
    assert [one.champion for one in journal_of(tmp_path).decisions()] == [1, 2]
    kept = Counter(logged(tmp_path))
    assert set(kept.values()) == {1}
    # one that was answered while its connection ended is kept too
    assert set(load.ids) <= set(kept)


def _planned(shelf: Shelf, version: str) -> bool:
    plan = read_plan(shelf.folders.plan)
    return version in (version_of(plan.candidate), version_of(plan.stable))


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
