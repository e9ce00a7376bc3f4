"""The controller: what the registry decides is carried out once, whenever it is cut off."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import liminal_assets as la
from liminal_assets.language.deployments import Rollout
from liminal_assets.serving.control import controller as controllers
from liminal_assets.serving.control.controller import Controller
from liminal_assets.serving.control.live import Follower
from liminal_assets.serving.control.plan import Plan, read_plan, version_of
from liminal_assets.serving.control.supervisor import Ended
from liminal_assets.serving.observing.counts import Counts, PairCounts, VersionCounts
from liminal_assets.serving.rehearsal import Crash
from liminal_assets.steps.side_by_side import Measured, SideBySide
from liminal_assets.storage.journal import APPROVE, FINISH
from liminal_assets_tests.serving.shelf import Shelf, journal_of

CANARY = {
    "strategy": "canary",
    "steps": [10, 50],
    "min_requests": 10,
    "rollback_on": {"error_rate": 0.1},
}


class Deployed:
    """A deployment with one worker, which follows the plan whenever it is asked to."""

    def __init__(self, root: Path, **rollout: Any) -> None:
        self.root = root
        self.shelf = Shelf(root)
        self.folders = self.shelf.folders
        self.journal = journal_of(root)
        self.rollout = Rollout.model_validate(rollout)
        self.worker = Follower(self.folders)
        self.counts = Counts({}, {})
        self.ended: list[Ended] = []
        self.crash: Crash | None = None
        self.labelled: SideBySide | None = None
        self.now = 1_000_000.0
        self.controller = self.started()

    def started(self) -> Controller:
        """A controller that starts, in the place of the one before."""
        self.controller = Controller(
            self.folders,
            self.shelf,
            self.journal,
            self.rollout,
            workers=lambda: {os.getpid()},
            every=0.0,
            counts=lambda folder: self.counts,
            ended=lambda: self.ended,
            rehearsing=lambda folder: self.crash,
            labels=lambda stable, candidate, began: self.labelled,
            clock=lambda: self.now,
        )
        return self.controller

    def go(self, ticks: int = 8) -> Plan:
        for _ in range(ticks):
            self.controller.tick()
            self.worker.refresh()
        return read_plan(self.folders.plan)

    def count(self, pair: PairCounts | None = None, **versions: VersionCounts) -> None:
        pairs = {("1", "2"): pair} if pair else {}
        self.counts = Counts({name[1:]: said for name, said in versions.items()}, pairs)

    @property
    def decisions(self) -> list[tuple[str, int | None, int | None]]:
        return [(one.action, one.version, one.champion) for one in self.journal.decisions()]

    def answering(self) -> str | None:
        model = self.worker.refresh().model
        return model.version if model else None


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_PAUSE_SECONDS", 0.0)


@pytest.fixture
def canary(tmp_path: Path) -> Deployed:
    """A canary of version 2 in its first step, with 1 as the stable version."""
    deployed = Deployed(tmp_path, **CANARY)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    deployed.go()
    return deployed


def test_without_a_champion_it_says_what_is_missing(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    assert deployed.go().problem == "late has no champion yet"
    deployed.shelf.promote("1")
    assert deployed.go().problem is None
    assert deployed.answering() == "1"


def test_the_specification_of_features_moves_with_the_version(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    seen = []
    for version, specification in (("1", "abc"), ("2", "def"), ("1", "abc")):
        deployed.shelf.promote(version, specification=specification)
        deployed.go()
        model = deployed.worker.refresh().model
        last = deployed.journal.last()
        assert model is not None
        assert model.features is not None
        assert last is not None
        seen.append((model.features.specification, last.evidence["feature_specification"]))
    assert seen == [("abc", "abc"), ("def", "def"), ("abc", "abc")]


def test_each_champion_takes_over_and_the_journal_knows_it_once(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    for version in ("1", "2", "3"):
        deployed.shelf.promote(version)
        deployed.go()
        deployed.started()
        assert deployed.answering() == version
    assert deployed.decisions == [("deploy", 1, 1), ("deploy", 2, 2), ("deploy", 3, 3)]
    # the one that answers and the one before are kept
    kept = {version_of(path.name) for path in deployed.folders.releases.iterdir()}
    assert kept == {"2", "3"}


def test_what_cannot_be_served_leaves_the_version_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.say(missing=["2"])
    deployed.shelf.promote("2")
    plan = deployed.go()
    assert (version_of(plan.stable), plan.wanted) == ("1", "2")
    assert plan.problem == (
        "version 2 can't be loaded; version 1 stays: the files of version 2 are missing"
    )
    deployed.shelf.say(missing=[])
    monkeypatch.setattr(controllers, "_RETRY_SECONDS", 0.0)
    deployed.started()
    assert deployed.go().problem is None
    assert deployed.answering() == "2"


def test_a_version_that_workers_cannot_load_never_answers(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2", fails=True)
    deployed.controller.tick()
    key = str(deployed.controller.plan.candidate)
    (deployed.folders.releases / key / "model.pkl").write_bytes(b"")
    plan = deployed.go()
    assert version_of(plan.stable) == "1"
    assert "version 2 can't be loaded; version 1 stays" in str(plan.problem)
    assert deployed.decisions == [("deploy", 1, 1)]


def test_an_unreachable_registry_leaves_the_version_and_is_told(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.say(unreachable=True)
    assert deployed.go().problem == "the registry can't be read: no route to the registry"
    assert deployed.answering() == "1"
    deployed.shelf.say(unreachable=False)
    assert deployed.go().problem is None


def test_a_canary_goes_step_by_step_and_the_journal_has_the_evidence(canary: Deployed) -> None:
    plan = canary.go()
    assert (version_of(plan.stable), version_of(plan.candidate), plan.share) == ("1", "2", 10)
    canary.count(_1=VersionCounts(90), _2=VersionCounts(10))
    assert canary.go().share == 50
    # the second step needs requests of its own
    assert canary.go().share == 50
    canary.count(_1=VersionCounts(100), _2=VersionCounts(20))
    plan = canary.go()
    assert (version_of(plan.stable), plan.candidate, plan.share) == ("2", None, 0)
    assert canary.decisions[1:] == [("canary", 2, 1), ("canary", 2, 1), ("deploy", 2, 2)]
    last = canary.journal.last()
    assert last
    assert last.evidence["candidate"]["requests"] == 10
    assert last.evidence["stable"]["requests"] == 100
    assert last.actor == "rollout"


def test_a_canary_that_fails_goes_back_with_the_alias(canary: Deployed) -> None:
    canary.count(_1=VersionCounts(90), _2=VersionCounts(3, 0, 2))
    plan = canary.go()
    assert (version_of(plan.stable), plan.candidate) == ("1", None)
    assert canary.shelf.newest() == "1"
    assert "late_api: error rate 0.4 of 5" in canary.shelf.said["reason"]
    assert canary.decisions[-1] == ("rollback", 2, 1)
    # and a second promotion of it is a new decision
    canary.counts = Counts({}, {})
    canary.shelf.promote("2")
    assert canary.go().share == 10


@pytest.mark.parametrize(
    ("limits", "candidate", "pair"),
    [
        (
            {"p99_ms": 1.0},
            VersionCounts(20, 0, 0, 20, 1.0, (0,) * 20 + (20,) + (0,) * 6),
            PairCounts(),
        ),
        ({"disagreement": 0.1}, VersionCounts(20), PairCounts(10, 10)),
    ],
    ids=["latency", "disagreement"],
)
def test_latency_and_disagreement_take_a_canary_back(
    tmp_path: Path, limits: dict[str, float], candidate: VersionCounts, pair: PairCounts
) -> None:
    deployed = Deployed(tmp_path, **{**CANARY, "rollback_on": limits})
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    assert deployed.go().shadow == (100 if "disagreement" in limits else 0)
    deployed.count(pair, _2=candidate)
    deployed.go()
    assert deployed.shelf.newest() == "1"
    assert deployed.decisions[-1] == ("rollback", 2, 1)


def test_a_restart_in_the_middle_of_a_canary_goes_on_with_it(canary: Deployed) -> None:
    canary.count(_2=VersionCounts(10))
    assert canary.go().share == 50
    rollout = canary.controller.plan.rollout
    canary.counts = Counts({}, {})
    canary.started()
    plan = canary.go()
    assert (plan.share, plan.rollout) == (50, rollout)
    canary.count(_2=VersionCounts(10))
    assert version_of(canary.go().stable) == "2"
    assert [action for action, _, _ in canary.decisions] == ["deploy", "canary", "canary", "deploy"]


def test_going_back_ends_a_canary_at_once(canary: Deployed) -> None:
    canary.shelf.promote("1")
    plan = canary.go()
    assert (version_of(plan.stable), plan.candidate, plan.share) == ("1", None, 0)
    assert canary.decisions[-1] == ("cancel", 2, 1)


def test_another_champion_ends_a_canary_and_begins_its_own(canary: Deployed) -> None:
    canary.shelf.promote("3")
    plan = canary.go()
    assert (version_of(plan.stable), version_of(plan.candidate), plan.share) == ("1", "3", 10)
    assert canary.decisions[-2:] == [("cancel", 2, 1), ("canary", 3, 1)]


def test_what_was_gone_back_to_answers_at_once(canary: Deployed) -> None:
    canary.count(_2=VersionCounts(10))
    canary.go()
    canary.count(_2=VersionCounts(20))
    assert version_of(canary.go().stable) == "2"
    canary.shelf.say(wanted="1", back="1", missing=["1"])
    # from the release that is kept, even if the registry has lost it
    assert version_of(canary.go().stable) == "1"
    assert canary.decisions[-1] == ("deploy", 1, 1)


def test_a_decision_to_finish_skips_what_is_left(canary: Deployed) -> None:
    canary.journal.append(FINISH, version=2, champion=1, previous=1, actor="me")
    assert version_of(canary.go().stable) == "2"
    last = canary.journal.last()
    assert last
    assert last.reason == "it was told to take over"


def test_a_promotion_with_now_skips_the_rollout_that_begins_after_it(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, **CANARY)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    deployed.journal.append(FINISH, version=2, champion=1, previous=1, actor="me")
    assert version_of(deployed.go().stable) == "2"
    # and no later one
    deployed.shelf.promote("3")
    assert deployed.go().share == 10


def test_a_shadow_answers_nothing_until_it_takes_over(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, strategy="shadow", share=50, min_requests=10)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    plan = deployed.go()
    assert (plan.share, plan.shadow, version_of(plan.candidate)) == (0, 50, "2")
    deployed.count(PairCounts(9, 1, 0, 0, {"carrier=AA": (4, 1)}))
    assert version_of(deployed.go().stable) == "2"
    last = deployed.journal.last()
    assert last
    assert last.evidence["compared"]["slices"]["carrier=AA"]["disagreement"] == 0.2


def test_a_shadow_that_waits_takes_over_when_it_is_told_to(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, strategy="shadow", then="wait", min_requests=10)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    deployed.go()
    deployed.count(PairCounts(100))
    assert version_of(deployed.go().stable) == "1"
    deployed.journal.append(FINISH, version=2, champion=1, previous=1, actor="me")
    assert version_of(deployed.go().stable) == "2"


def test_a_shadow_that_was_approved_takes_over_once_it_has_seen_enough(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, strategy="shadow", then="wait", min_requests=10)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    deployed.journal.append(APPROVE, version=2, champion=1, previous=1, actor="me")
    assert version_of(deployed.go().stable) == "1"
    deployed.count(PairCounts(100))
    assert version_of(deployed.go().stable) == "2"
    # and what is promoted later is to be approved anew
    deployed.shelf.promote("3")
    deployed.go()
    deployed.counts = Counts({}, {("2", "3"): PairCounts(100)})
    assert version_of(deployed.go().stable) == "2"


def test_labels_take_a_canary_back_and_are_its_evidence(tmp_path: Path) -> None:
    limits = {"metric": "roc_auc", "worse_by": 0.05}
    deployed = Deployed(tmp_path, **{**CANARY, "rollback_on": limits, "min_labels": 50})
    deployed.shelf.promote("1")
    deployed.go()
    deployed.shelf.promote("2")
    # both versions are asked the same
    assert deployed.go().shadow == 100
    deployed.count(PairCounts(40), _2=VersionCounts(40))
    deployed.labelled = SideBySide("roc_auc", Measured(49, 0.8, 0.6, 0.2, 0.01))
    deployed.go()
    assert deployed.shelf.newest() == "2"
    slices = {"carrier=AA": Measured(30, 0.8, 0.7, 0.1, 0.05)}
    deployed.labelled = SideBySide("roc_auc", Measured(50, 0.8, 0.6, 0.2, 0.01), slices)
    deployed.go()
    assert deployed.shelf.newest() == "1"
    last = deployed.journal.last()
    assert last
    assert last.reason == ("roc_auc 0.6 against 0.8 of 50 labels: worse by 0.2, limit 0.05")
    assert last.evidence["labelled"]["slices"]["carrier=AA"]["worse_by"] == 0.1


def test_a_version_that_ends_what_loads_it_is_taken_back_before_a_worker_has_it(
    tmp_path: Path,
) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.crash = Crash("it ended by signal 11", 3, "Segmentation fault")
    deployed.shelf.promote("2")
    plan = deployed.go()
    assert (version_of(plan.stable), plan.candidate, plan.problem) == ("1", None, None)
    assert deployed.shelf.newest() == "1"
    last = deployed.journal.last()
    assert last
    assert (last.action, last.version, last.champion) == ("rollback", 2, 1)
    assert last.reason == "it ends the process that loads it (it ended by signal 11)"
    assert last.evidence["crashes"] == 3
    assert last.evidence["last_words"] == "Segmentation fault"


def test_a_candidate_with_which_workers_end_is_taken_back(canary: Deployed) -> None:
    ended = [Ended(canary.now + at, "by signal 9") for at in (-1.0, 1.0, 2.0, 3.0)]
    canary.now += 10
    # one of before doesn't count
    canary.ended = ended[:3]
    assert version_of(canary.go().candidate) == "2"
    canary.ended = ended
    plan = canary.go()
    assert (version_of(plan.stable), plan.candidate) == ("1", None)
    assert canary.shelf.newest() == "1"
    last = canary.journal.last()
    assert last
    assert (last.action, last.reason) == (
        "rollback",
        "3 workers ended with it, the last one by signal 9",
    )


def test_workers_that_ended_long_ago_say_nothing_of_a_candidate(canary: Deployed) -> None:
    canary.ended = [Ended(canary.now + at, "by signal 9") for at in (1.0, 200.0, 400.0)]
    canary.now += 401
    assert version_of(canary.go().candidate) == "2"


def test_a_first_version_that_ends_workers_is_given_up_for_a_while(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    deployed.controller.tick()
    deployed.ended = [Ended(deployed.now, "by signal 9")] * 3
    plan = deployed.go()
    assert (plan.stable, plan.candidate) == (None, None)
    assert plan.problem == (
        "version 1 can't be loaded: 3 workers ended with it, the last one by signal 9"
    )
    assert deployed.decisions == []


class KilledError(BaseException):
    """Stands for kill -9."""


def effects(deployed: Deployed) -> list[tuple[Any, str]]:
    """Everything by which the controller changes something outside of itself."""
    return [
        (controllers, "write_plan"),
        (deployed.shelf, "prepare"),
        (deployed.shelf, "take_back"),
        (deployed.journal, "append"),
    ]


def die_at(deployed: Deployed, count: int, when: str, patch: pytest.MonkeyPatch) -> None:
    """Kills the controller before or after its ``count``-th effect."""
    left = [count]

    def fatal(real: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and when == "before":
                raise KilledError
            done = real(*args, **kwargs)
            if left[0] == 0:
                raise KilledError
            return done

        return effect

    for owner, name in effects(deployed):
        patch.setattr(owner, name, fatal(getattr(owner, name)))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fate", ["promoted", "taken back"])
def test_killed_at_any_point_of_a_rollout_the_next_controller_ends_it(
    tmp_path: Path, fate: str, when: str
) -> None:
    failed = 0 if fate == "promoted" else 5
    for point in itertools.count(1):
        deployed = Deployed(tmp_path / str(point), **CANARY)
        deployed.root.mkdir()
        deployed.shelf.promote("1")
        deployed.go()
        deployed.shelf.promote("2")
        with pytest.MonkeyPatch.context() as patch:
            die_at(deployed, point, when, patch)
            try:
                for requests in (0, 20, 40, 60):
                    deployed.count(_2=VersionCounts(requests, 0, failed if requests else 0))
                    deployed.go(4)
            except KilledError:
                pass
            else:
                # there is no later point
                assert point > 5
                return
        # whatever is on the disk is a plan of whole releases
        plan = read_plan(deployed.folders.plan)
        assert version_of(plan.stable) in ("1", "2")
        deployed.started()
        deployed.counts = Counts({}, {})
        deployed.go()
        for requests in (20, 40, 60):
            deployed.count(_2=VersionCounts(requests, 0, failed))
            deployed.go()
        final = "1" if failed else "2"
        plan = deployed.go()
        assert (version_of(plan.stable), plan.candidate, plan.decided) == (final, None, None)
        assert deployed.shelf.newest() == final
        assert deployed.answering() == final
        last = deployed.journal.last()
        assert last
        assert last.champion == int(final)
        # each decision once
        told = [
            (one.action, one.evidence.get("step"), one.evidence["rollout"])
            for one in deployed.journal.decisions()
        ]
        assert len(told) == len(set(told))


def test_a_plan_that_is_none_begins_anew(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    deployed.go()
    deployed.folders.plan.write_text("{")
    deployed.started()
    assert version_of(deployed.go().stable) == "1"


def test_a_release_that_was_changed_is_made_again(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    plan = deployed.go()
    (deployed.folders.releases / str(plan.stable) / "model.pkl").write_bytes(b"other")
    deployed.started()
    deployed.worker = Follower(deployed.folders)
    assert deployed.go().problem is None
    assert deployed.answering() == "1"


def test_a_server_on_trial_decides_nothing(tmp_path: Path) -> None:
    deployed = Deployed(tmp_path)
    deployed.shelf.promote("1")
    trial = Controller(
        deployed.folders,
        deployed.shelf,
        None,
        deployed.rollout,
        workers=lambda: {os.getpid()},
        every=0.0,
    )
    deployed.controller = trial
    assert version_of(deployed.go().stable) == "1"
    assert deployed.decisions == []


def test_a_journal_that_cannot_be_written_is_told_and_tried_again(
    canary: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise la.StepError("no space left on device")

    canary.count(_2=VersionCounts(10))
    with monkeypatch.context() as patch:
        patch.setattr(canary.journal, "append", full)
        plan = canary.go()
        assert (plan.share, plan.problem) == (50, "no space left on device")
    canary.go()
    assert canary.decisions[-1] == ("canary", 2, 1)


def test_the_plan_of_a_later_program_is_no_plan() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"generation": 1, "unheard_of": 2}', type=Plan)


def test_what_nobody_foresaw_is_told_and_logged_once(
    canary: Deployed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(controllers, "_TICK_SECONDS", 0.001)
    looks: list[Path] = []

    def wrong(folder: Path) -> Counts:
        looks.append(folder)
        raise KeyError("version")

    canary.controller._evidence._read_counts = wrong
    canary.controller.start()
    try:
        while len(looks) < 5:
            time.sleep(0.01)
        assert read_plan(canary.folders.plan).problem == "KeyError: 'version'"
        assert [one.getMessage() for one in caplog.records].count("unexpected") == 1
        canary.controller._evidence._read_counts = lambda folder: canary.counts
        while read_plan(canary.folders.plan).problem is not None:
            time.sleep(0.01)
    finally:
        canary.controller.stop()
