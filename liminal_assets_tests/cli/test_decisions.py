"""``status``, ``promote``, ``rollback``, ``history`` over two trained versions."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from liminal_assets.cli.main import _run
from liminal_assets.language.loading import load_project
from liminal_assets.serving.control.evidence import Report
from liminal_assets.serving.control.live import WorkerState
from liminal_assets.serving.control.plan import Plan, Progress, write_plan
from liminal_assets.serving.control.rollout import Seen, evidence_of
from liminal_assets.serving.control.team import Place, Team, write_team
from liminal_assets.serving.observing.counts import PairCounts, VersionCounts
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.preparation import prepare_release
from liminal_assets.serving.server import sole_controller
from liminal_assets.steps.side_by_side import Measured, SideBySide
from liminal_assets.storage.journal import Decision, Journal
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets_tests.cli.conftest import Liminal

pytestmark = pytest.mark.slow

PROJECT = """\
name: shop
datasets:
  - dataset: sales
    fetch: {python: 'rows:fetch'}
models:
  - model: late
    features: sales
    target: late
    estimator: sklearn.linear_model.LogisticRegression
    validate: [{metric: roc_auc, at_least: 0.5}]
deployments:
  - {deployment: late_api, model: late, serve: {port: 9}}
  - {deployment: late_scores, model: late, batch: {from: sales}}
monitors:
  - {monitor: watch, deployment: late_scores, drift: {threshold: 0.5}}
"""
ROWS = """\
import numpy as np
import pandas as pd

def fetch():
    x = np.linspace(-1, 1, 200)
    return pd.DataFrame({"x": x, "late": x > 0.1})
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with version 1 as its champion, 2 promoted after it, and 3 rejected."""
    folder = tmp_path_factory.mktemp("decisions") / "shop"
    folder.mkdir()
    (folder / "liminal.yml").write_text(PROJECT)
    (folder / "rows.py").write_text(ROWS)
    sys.modules.pop("rows", None)
    training = "late or late__evaluation or late__champion"
    for selection in (f"sales or {training} or late_scores or watch", training):
        assert _run(["run", "--project", str(folder), "--json", "--select", selection]) == 0
    text = PROJECT.replace("at_least: 0.5", "at_most: 0.5")
    (folder / "liminal.yml").write_text(text)
    assert _run(["run", "--project", str(folder), "--json", "--select", training]) == 1
    (folder / "liminal.yml").write_text(PROJECT)
    return folder


@pytest.fixture
def shop(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, liminal: Liminal) -> Path:
    folder = tmp_path / "shop"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


def champion(folder: Path) -> int:
    found = ModelRegistry(load_project(folder)).champion("late")
    assert found is not None
    return found.version


def test_history_tells_each_decision_with_who_and_why(liminal: Liminal, shop: Path) -> None:
    decisions = json.loads(liminal("history", "late_api", "--json").out)
    assert [(d["action"], d["version"], d["champion"]) for d in decisions] == [
        ("promote", 1, 1),
        ("promote", 2, 2),
        ("reject", 3, 2),
    ]
    assert all(d["reason"] and d["actor"] and d["at"] for d in decisions)
    assert liminal("history", "late", "--limit", "1", "--json").out.count('"number"') == 1
    assert "reject" in liminal("history", "late_api").out


def test_now_is_a_decision_of_the_deployment_and_history_says_what_was_in_use_when(
    liminal: Liminal, shop: Path
) -> None:
    decided = json.loads(liminal("history", "late_api", "--json").out)
    assert liminal("promote", "late_api", "--to", "2", "--now", "--reason", "sure").code == 0
    last = json.loads(liminal("history", "late_api", "--json").out)[-1]
    assert (last["of"], last["action"], last["version"], last["reason"]) == (
        "late_api",
        "finish",
        2,
        "sure",
    )
    # the moments of the decisions, as a wall clock here shows them
    first, second = (datetime.fromisoformat(one["at"]).astimezone() for one in decided[:2])
    wall = first.replace(tzinfo=None).isoformat(" ")
    (then,) = json.loads(liminal("history", "late_api", "--at", wall, "--json").out)["in_use"]
    assert (then["of"], then["champion"]) == ("late", 1)
    assert "late: version 2 (promote" in liminal("history", "late", "--at", str(second)).out
    assert "nothing was in use" in liminal("history", "late", "--at", "2001-01-01").out
    assert liminal("history", "late", "--at", "Tuesday").code == 2


def test_rollback_goes_to_the_champion_before_with_a_reason(liminal: Liminal, shop: Path) -> None:
    done = liminal("rollback", "late_api", "--reason", "complaints")
    assert done.code == 0
    assert "version 1 is the champion now (before: version 2)" in done.out
    assert champion(shop) == 1
    last = json.loads(liminal("history", "late", "--json").out)[-1]
    assert (last["action"], last["reason"]) == ("rollback", "complaints")
    assert last["actor"].endswith("(liminal)")


def test_promote_takes_any_version_that_passed(liminal: Liminal, shop: Path) -> None:
    assert liminal("promote", "late_scores", "--to", "1", "--reason", "better").code == 0
    assert champion(shop) == 1
    again = liminal("promote", "late_scores", "--to", "1")
    assert "version 1 is the champion already" in again.out


def test_a_version_that_failed_its_validation_needs_force(liminal: Liminal, shop: Path) -> None:
    done = liminal("promote", "late_api")
    assert done.code == 1
    assert "version 3 of late failed its validation" in done.err
    assert champion(shop) == 2
    assert liminal("promote", "late_api", "--force", "--reason", "we know").code == 0
    assert champion(shop) == 3
    last = json.loads(liminal("history", "late", "--json").out)[-1]
    assert last["evidence"]["forced"] is True


@pytest.mark.parametrize("verb", ["promote", "rollback"])
@pytest.mark.parametrize("version", ["9", "0", "two", "", "99999999999999999999"])
def test_a_version_that_there_is_not_is_a_wrong_argument(
    liminal: Liminal, shop: Path, verb: str, version: str
) -> None:
    done = liminal(verb, "late_api", "--to", version)
    assert done.code == 2
    assert f"late has no version {version}" in done.err
    assert "there are versions 1, 2, 3" in done.err
    assert champion(shop) == 2


def test_now_of_a_model_is_refused_before_anything_is_promoted(
    liminal: Liminal, shop: Path
) -> None:
    done = liminal("promote", "late", "--to", "1", "--now")
    assert done.code == 2
    assert "--now needs a deployment" in done.err
    assert champion(shop) == 2


def test_a_name_that_is_no_deployment_is_wrong_input(liminal: Liminal, shop: Path) -> None:
    done = liminal("promote", "late_ap")
    assert done.code == 2
    assert "did you mean 'late_api'?" in done.err


def test_status_shows_version_health_refresh_and_drift(liminal: Liminal, shop: Path) -> None:
    served, scored = json.loads(liminal("status", "--json").out)
    assert (served["deployment"], served["version"], served["health"]) == (
        "late_api",
        2,
        "not running",
    )
    assert served["refreshed"] is None
    assert (served["candidate"], served["workers"], served["problem"]) == (None, [], None)
    assert (scored["deployment"], scored["health"], scored["traffic"]) == (
        "late_scores",
        "scored",
        "100 %",
    )
    watched = scored["monitors"]["watch"]
    assert watched["breaches"] == []
    assert watched["judged"] is True
    assert [window["verdict"] for window in watched["history"]] == ["within bounds"]
    assert watched["history"][0]["rows"] > 0
    lines = liminal("status").out.split("\n")
    assert any(line.startswith("watch ") and "verdict" in line for line in lines)
    alone = json.loads(liminal("status", "--json", "--windows", "0").out)[1]
    assert alone["monitors"]["watch"]["history"] == []
    assert lines[0].split() == [
        "deployment", "model", "version", "form", "since", "traffic", "health", "refreshed",
        "monitors",
    ]  # fmt: skip


def test_status_shows_the_form_that_answers_and_its_certificate(
    liminal: Liminal, shop: Path
) -> None:
    project = load_project(shop)
    served, scored = json.loads(liminal("status", "--json").out)
    assert (served["certificate"], scored["certificate"]) == (None, None)
    release = prepare_release(project, project.spec.deployments[0], 2)
    served, _ = json.loads(liminal("status", "--json").out)
    assert served["certificate"] == release.certificate
    assert served["certificate"]["rows"] > 0
    assert "numpy (≤ " in liminal("status").out.split("\n")[1]
    shutil.rmtree(release.folder)


def canary_under_way(shop: Path) -> ServingFolders:
    """The files of a server whose second worker ended, 40 s into the first step of a canary."""
    folders = ServingFolders.of(load_project(shop).state, "late_api")
    now = time.time()
    progress = Progress("r1", now - 60, 0, now - 40)
    plan = Plan(9, stable="1-abc", candidate="2-def", share=25, wanted="2", rollout=progress)
    write_plan(folders.plan, plan)
    places = (Place(11, now - 90), Place(None, now - 90, 4, "by signal 9"))
    write_team(folders, Team(1, now - 90, places))
    folders.workers.mkdir(parents=True)
    said = WorkerState(11, 9, "1-abc", "2-def", None, "1", now - 90)
    (folders.workers / "11.json").write_bytes(msgspec.json.encode(said))
    (folders.workers / "11.beat").touch()
    slices = {"x=1": Measured(20, 0.8, 0.75, 0.05, 0.02)}
    seen = Seen(
        40.0,
        VersionCounts(300),
        VersionCounts(97, 0, 3),
        PairCounts(90, 10, slices={"x=1": (5, 5)}),
        SideBySide("roc_auc", Measured(50, 0.8, 0.79, 0.01, 0.02), slices),
    )
    report = Report("r1", now, "97 of 200 requests answered", evidence_of(seen))
    folders.report.write_bytes(msgspec.json.encode(report))
    return folders


def test_status_shows_a_rollout_its_evidence_and_each_worker(liminal: Liminal, shop: Path) -> None:
    with sole_controller(canary_under_way(shop), "late_api"):
        served, _ = json.loads(liminal("status", "--json").out)
        text = liminal("status").out
    assert (served["running_version"], served["health"]) == (
        "1",
        "1 of 2 workers ready (restarting)",
    )
    assert (served["traffic"], served["share"]) == ("75 %, 25 % to 2", 75)
    tried = served["candidate"]
    assert (tried["version"], tried["step"], tried["share"]) == ("2", 1, 25)
    assert tried["evidence"]["labelled"]["slices"]["x=1"]["candidate"] == 0.75
    assert [
        (w["state"], w["version"], w["candidate"], w["restarts"]) for w in served["workers"]
    ] == [
        ("ready", "1", "2", 0),
        ("restarting", None, None, 4),
    ]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any("97 of 200 requests answered" in line for line in lines)
    assert "2 100 0.03" in lines
    assert "all 100 0.1 50 0.8 0.79" in lines
    assert "x=1 10 0.5 20 0.8 0.75" in lines
    assert any(line.startswith("late_api 11 ready 1 2") for line in lines)
    assert any("ended by signal 9" in line for line in lines)


def test_a_shadow_that_waits_is_let_take_over_by_promoting_it_again(
    liminal: Liminal, shop: Path
) -> None:
    file = shop / "liminal.yml"
    waits = "{port: 9}, rollout: {strategy: shadow, then: wait}"
    file.write_text(PROJECT.replace("{port: 9}", waits))
    # the first promotion begins the shadow, and is no approval of what it will show
    assert liminal("promote", "late_api", "--to", "1").code == 0
    assert [one["action"] for one in decisions(liminal, "late_api")] == []
    again = liminal("promote", "late_api", "--to", "1", "--reason", "looks good")
    assert "late_api: version 1 takes over when its shadow has seen what it must" in again.out
    (approved,) = decisions(liminal, "late_api")
    assert (approved["action"], approved["version"], approved["reason"]) == (
        "approve",
        1,
        "looks good",
    )


def decisions(liminal: Liminal, of: str) -> list[dict[str, Any]]:
    told = json.loads(liminal("history", of, "--json").out)
    return [one for one in told if one["of"] == of]


def test_history_says_what_was_in_production_at_a_moment_and_on_which_evidence(
    liminal: Liminal, shop: Path
) -> None:
    journal = Journal(load_project(shop), "late_api")
    seen = Seen(600.0, VersionCounts(300), VersionCounts(100))
    tuesday = datetime(2026, 11, 24, 14, 5).astimezone()
    for minutes, action, version, champion in (
        (-60, "deploy", 1, 1),
        (-10, "canary", 2, 1),
        (10, "deploy", 2, 2),
    ):
        made = Decision(
            number=minutes + 100,
            at=tuesday + timedelta(minutes=minutes),
            action=action,
            version=version,
            champion=champion,
            previous=None,
            reason="25 % of requests" if action == "canary" else "within its limits",
            actor="rollout",
            evidence=evidence_of(seen) if action == "canary" else {},
        )
        journal._commit(made)
    text = liminal("history", "late_api", "--at", "2026-11-24T14:05").out
    (line,) = (line for line in text.splitlines() if "late_api" in line)
    assert line.startswith("Tuesday, 2026-11-24 14:05:00")
    assert "late_api: version 1 (canary of 2026-11-24 13:55:00 by rollout: 25 % of" in line
    assert "  candidate: requests 100, refused 0, failed 0, error_rate 0" in text
    told = json.loads(liminal("history", "late_api", "--at", "2026-11-24T14:20", "--json").out)
    of_deployment = next(one for one in told["in_use"] if one["of"] == "late_api")
    assert of_deployment["champion"] == 2
