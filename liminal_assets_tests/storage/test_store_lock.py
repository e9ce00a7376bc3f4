"""Deciding in a storage that can't create exclusively: nothing is lost, nothing decided twice."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from liminal_assets.language.loading import Project
from liminal_assets.storage import journal as journals
from liminal_assets.storage import store_lock as locks
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.store_lock import store_lock


class PlainStore(MemoryFileSystem):  # type: ignore[misc]
    """Whole objects and nothing else: what is written replaces what was there, whatever is asked
    for, and every request takes a moment, in which others get theirs."""

    protocol = "plain"
    store: dict[str, Any] = {}  # as its base has it
    pseudo_dirs: list[str] = [""]
    chance = random.Random(5)

    def _request(self) -> None:
        time.sleep(self.chance.uniform(0, 0.002))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        self._request()
        super().pipe_file(path, value, mode="overwrite")

    def cat_file(self, path: str, *args: Any, **more: Any) -> Any:
        self._request()
        return super().cat_file(path, *args, **more)

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        self._request()
        return super().ls(path, detail=detail, **more)


@pytest.fixture(autouse=True)
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.002)
    fsspec.register_implementation("plain", PlainStore, clobber=True)
    yield f"plain://{tmp_path.name}"
    PlainStore.store.clear()


def journal_of(root: Path, bucket: str) -> Journal:
    return Journal(Project.of("shop", root, storage={"data": bucket}, check=False), "late_api")


def at_once(*tasks: Callable[[], None]) -> None:
    """Runs them in threads that begin together; what one raises is raised."""
    start = threading.Barrier(len(tasks))
    failed: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        start.wait()
        try:
            task()
        except BaseException as error:  # raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_the_storage_of_these_tests_creates_nothing_exclusively(bucket: str) -> None:
    filesystem, path = fsspec.url_to_fs(f"{bucket}/x")
    filesystem.pipe_file(path, b"1", mode="create")
    filesystem.pipe_file(path, b"2", mode="create")
    assert filesystem.cat_file(path) == b"2"


def test_only_one_is_inside(bucket: str) -> None:
    inside = most = 0

    def enter() -> None:
        nonlocal inside, most
        filesystem, folder = fsspec.url_to_fs(f"{bucket}/lock")
        for _ in range(5):
            with store_lock(filesystem, folder):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    at_once(*[enter] * 4)
    assert most == 1
    filesystem, folder = fsspec.url_to_fs(f"{bucket}/lock")
    assert filesystem.ls(folder) == []


def test_writers_at_a_time_lose_no_decision_and_share_no_number(
    tmp_path: Path, bucket: str
) -> None:
    def decide(name: str) -> Callable[[], None]:
        def task() -> None:
            journal = journal_of(tmp_path, bucket)
            for number in range(6):
                journal.append("note", version=number, champion=1, actor=name)

        return task

    at_once(*map(decide, "abc"))
    decisions = journal_of(tmp_path, bucket).decisions()
    assert [decision.number for decision in decisions] == list(range(1, 19))
    for name in "abc":
        assert [one.version for one in decisions if one.actor == name] == list(range(6))


def test_what_two_find_to_be_decided_is_decided_once(tmp_path: Path, bucket: str) -> None:
    def carry_out() -> None:
        journal = journal_of(tmp_path, bucket)
        for version in range(1, 6):
            with journal.lock():
                last = journal.last()
                if last is None or (last.champion or 0) < version:
                    journal.append("deploy", version=version, champion=version)

    at_once(carry_out, carry_out)
    assert [one.champion for one in journal_of(tmp_path, bucket).decisions()] == [1, 2, 3, 4, 5]


def test_without_any_lock_no_decision_is_lost_still(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that stood still for longer than the others wait writes beside them."""
    monkeypatch.setattr(journals, "store_lock", lambda *args: nullcontext())
    seen = threading.Barrier(2)

    class Together(Journal):
        def _commit(self, decision: Any) -> Any:
            # both have read the same last decision
            seen.wait()
            return super()._commit(decision)

    def decide(name: str) -> Callable[[], None]:
        project = Project.of("shop", tmp_path, storage={"data": bucket}, check=False)
        journal = Together(project, "late_api")

        def task() -> None:
            for number in range(3):
                journal.append(f"{name}{number}", version=number, champion=number)

        return task

    at_once(decide("a"), decide("b"))
    decisions = journal_of(tmp_path, bucket).decisions()
    assert sorted(one.action for one in decisions) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert [one.number for one in decisions] == [1, 1, 2, 2, 3, 3]
    assert sorted(decisions, key=lambda one: one.at) == decisions


def test_one_that_died_inside_is_removed_after_its_lease(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.1)
    filesystem, folder = fsspec.url_to_fs(f"{bucket}/lock")
    for name, number in (("dead", 1), ("chose", 0)):
        said = json.dumps({"number": number, "beat": 1}).encode()
        filesystem.pipe_file(f"{folder}/{name}.json", said)
    began = time.monotonic()
    with store_lock(filesystem, folder):
        assert time.monotonic() - began > 0.1
    assert filesystem.ls(folder) == []


def test_one_that_lives_is_waited_for_however_long_it_takes(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(locks, "_RENEW_SECONDS", 0.02)
    filesystem, folder = fsspec.url_to_fs(f"{bucket}/lock")
    left = threading.Event()
    entered = threading.Event()

    def stay() -> None:
        with store_lock(filesystem, folder):
            entered.set()
            time.sleep(1.3)
            left.set()

    def wait() -> None:
        entered.wait()
        with store_lock(filesystem, folder):
            assert left.is_set()

    at_once(stay, wait)


def test_a_journal_of_before_is_read_with_what_comes_after(tmp_path: Path, bucket: str) -> None:
    journal = journal_of(tmp_path, bucket)
    first = journal.append("deploy", version=1, champion=1)
    filesystem, folder = journal._remote()
    (path,) = [one for one in filesystem.ls(folder, detail=False) if one.endswith(".json")]
    # as it was named before names had the decision's id
    filesystem.mv(path, f"{folder}/00000001.json")
    second = journal.append("deploy", version=2, champion=2)
    assert journal.decisions() == [first, second]
    assert journal.at(datetime.now(timezone.utc) + timedelta(days=1)) == second
