"""The journal: append-only, ordered, whole after a crash, and it answers what was in use when."""

from __future__ import annotations

import multiprocessing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.storage import journal as journals
from liminal_assets.storage.journal import Decision, Journal


@pytest.fixture(params=["folder", "object storage"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    if request.param == "folder":
        return Journal(Project.of("shop", tmp_path), "returned")
    where = f"memory://{tmp_path.name}"
    return Journal(Project.of("shop", tmp_path, storage={"data": where}), "returned")


def promote(journal: Journal, version: int) -> Decision:
    return journal.append("promote", version=version, champion=version, evidence={"auc": 0.7})


def test_decisions_are_kept_in_order_with_their_evidence(journal: Journal) -> None:
    made = [promote(journal, version) for version in (1, 2, 3)]
    assert journal.decisions() == made
    assert [decision.number for decision in made] == [1, 2, 3]
    assert made[0].evidence == {"auc": 0.7}
    assert journal.last() == made[-1]


def test_it_answers_what_was_in_use_at_a_moment(journal: Journal) -> None:
    first, second = promote(journal, 1), promote(journal, 2)
    assert journal.at(first.at - timedelta(seconds=1)) is None
    assert journal.at(first.at) == first
    assert journal.at(second.at.replace(tzinfo=None)) == second
    assert journal.at(datetime.now(timezone.utc)) == second


def test_a_clock_that_jumps_back_does_not_change_the_order(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(journal, 1)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return first.at - timedelta(days=1)

    monkeypatch.setattr(journals, "datetime", Earlier)
    assert promote(journal, 2).at > first.at


def test_a_change_that_fails_leaves_no_decision(journal: Journal) -> None:
    promote(journal, 1)
    with (
        pytest.raises(RuntimeError),
        journal.lock(),
        journal.changing("promote", version=2, previous=1),
    ):
        raise RuntimeError
    journal.recover(champion=1)
    assert [decision.version for decision in journal.decisions()] == [1]


def test_a_crash_after_the_change_is_mended_with_its_evidence(journal: Journal) -> None:
    with (
        pytest.raises(RuntimeError),
        journal.lock(),
        journal.changing("promote", version=2, previous=None, evidence={"auc": 0.8}) as made,
    ):
        raise RuntimeError
    journal.recover(champion=2)
    journal.recover(champion=2)
    assert journal.decisions() == [made]


def test_a_champion_that_something_else_chose_is_noted(journal: Journal) -> None:
    promote(journal, 1)
    journal.recover(champion=7)
    last = journal.last()
    assert last is not None
    assert (last.action, last.champion, last.previous) == ("outside", 7, 1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    journal = Journal(Project.of("shop", tmp_path), "returned")
    promote(journal, 1)
    (path,) = (tmp_path / ".liminal").rglob("00000001.json")
    path.write_text("{")
    with pytest.raises(la.StepError, match=r"00000001\.json"):
        journal.decisions()


def test_who_holds_the_lock_takes_it_again(journal: Journal) -> None:
    with journal.lock():
        promote(journal, 1)
        with journal.lock():
            promote(journal, 2)
    assert [decision.champion for decision in journal.decisions()] == [1, 2]


def _append_many(folder: Path) -> None:
    for _ in range(20):
        Journal(Project.of("shop", folder), "returned").append("note", version=1, champion=1)


def test_processes_that_write_at_a_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(tmp_path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    decisions = Journal(Project.of("shop", tmp_path), "returned").decisions()
    assert [decision.number for decision in decisions] == list(range(1, 61))
