"""``status``, ``promote``, ``rollback``, ``history`` over two trained versions."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from pathlib import Path

import pytest

from liminal_assets.cli.main import _run
from liminal_assets.language.loading import load_project
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
    assert liminal("promote", "late", "--to", "2", "--now").code == 2
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


def test_a_version_that_there_is_not_is_one_message(liminal: Liminal, shop: Path) -> None:
    done = liminal("rollback", "late_api", "--to", "9")
    assert done.code == 1
    assert "late has no version 9" in done.err
    assert "there are versions 1, 2, 3" in done.err


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
    assert (scored["deployment"], scored["health"], scored["traffic"]) == (
        "late_scores",
        "scored",
        "100 %",
    )
    assert scored["monitors"]["watch"]["breaches"] == []
    lines = liminal("status").out.split("\n")
    assert lines[0].split() == [
        "deployment", "model", "version", "traffic", "health", "refreshed", "monitors",
    ]  # fmt: skip
