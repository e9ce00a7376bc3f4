"""``liminal backtest``: what it prints and writes, and what it says of wrong input."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from liminal_assets.cli.grids import parse_grid
from liminal_assets_tests.commands import Done, liminal
from liminal_assets_tests.replaying import MONTHS, WATCH, project_in, write_world

STALLING = '''\
"""An estimator that never comes to an end, and says when it begins."""

import time
from pathlib import Path

from sklearn.linear_model import LogisticRegression


class Stalling(LogisticRegression):
    def fit(self, *rows, **options):
        Path(__file__).with_name("fitting").touch()
        time.sleep(600)
'''
RANGE = f"{MONTHS[2]}..{MONTHS[4]}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = project_in(tmp_path_factory.mktemp("shop"))
    write_world(project, MONTHS[4])
    return project.root


@pytest.fixture(scope="module")
def done(shop: Path) -> Done:
    asked = ("--grid", "when=breach,{fresh: 2}", "--grid", "cooldown=60d")
    report = ("--output", shop / "report.html")
    return liminal(
        "backtest", "returned_watch", "--project", shop, "--partition-range", RANGE, *asked, *report
    )


def test_it_prints_the_windows_the_policies_and_the_best(done: Done) -> None:
    assert done.code == 0, done.err
    for key in MONTHS[2:5]:
        assert re.search(rf"^{key} .*0\.\d{{4}}", done.out, re.MULTILINE)
    for policy in ("as the project has it", "never", "every window", "oracle", "any breach"):
        assert re.search(rf"^{policy}", done.out, re.MULTILINE), policy
    assert "2 new partitions" not in done.out.partition("policy ")[2], "it led to the same"
    assert "(and 1 alike)" in done.out
    assert "of the policies with at least half of the largest gain" in done.out.lower()


def test_the_yaml_of_the_best_can_be_read_back(done: Done) -> None:
    said = yaml.safe_load(done.out[done.out.index("monitors:") :].partition("report:")[0])
    (monitor,) = said["monitors"]
    assert monitor["monitor"] == "returned_watch"
    assert monitor["retrain"]["model"] == "returned"


def test_the_report_is_one_file_that_asks_for_nothing(shop: Path, done: Done) -> None:
    assert f"report: {shop / 'report.html'}" in done.out
    text = (shop / "report.html").read_text()
    assert "<svg" in text
    assert "What drifted, and when" in text
    assert not re.search(r"<script|src=|href=|@import", text)
    assert not list(shop.glob("*.draft"))


def test_json_is_all_that_is_printed(shop: Path) -> None:
    asked = ("--partition-range", f"{MONTHS[2]}..{MONTHS[3]}", "--json")
    found = liminal("backtest", "returned_watch", "--project", shop, *asked)
    assert found.code == 0, found.err
    assert found.json["windows"] == list(MONTHS[2:4])
    assert {replay["kind"] for replay in found.json["replays"]} == {"project", "baseline", "oracle"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["returned_wach"],
            "no monitor is called 'returned_wach' (did you mean 'returned_watch'?)",
        ),
        (["returned_watch", "--grid", "treshold=1"], "there is no parameter 'treshold' to vary"),
        (["returned_watch", "--grid", "nofile.yml"], "nofile.yml: it is no file and no PARAMETER="),
        (["returned_watch", "--grid", "when=[[{"], "its values can't be read as YAML"),
        (["returned_watch", "--partition-range", "2024-03"], "a range is written as FIRST..LAST"),
        (["returned_watch", "--partition-range", "2024-03..2025-01"], "no window '2025-01'"),
        (["returned_watch", "--output", "/nowhere/at/all.html"], "there is no folder /nowhere/at"),
    ],
    ids=["monitor", "parameter", "file", "values", "range", "window", "folder"],
)
def test_wrong_input_is_told_at_once(shop: Path, arguments: list[str], message: str) -> None:
    found = liminal("backtest", *arguments, "--project", shop)
    assert (found.code, found.out) == (2, "")
    assert message in found.err


def test_without_labels_it_says_so_at_the_line(tmp_path: Path) -> None:
    unlabelled = WATCH[: WATCH.index("    performance:")] + "    retrain: {model: returned}\n"
    project = project_in(tmp_path, unlabelled)
    write_world(project, MONTHS[1])
    found = liminal("backtest", "returned_watch", "--project", tmp_path)
    assert found.code == 2
    line = project.locate(project.block("returned_watch")).line
    assert f"liminal.yml:{line}:" in found.err
    assert "returned_watch has no labels" in found.err


@pytest.mark.slow
def test_an_interrupt_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    project = project_in(tmp_path / "shop")
    write_world(project, MONTHS[3])
    file, temporary = project.root / "liminal.yml", tmp_path / "temporary"
    text = file.read_text()
    file.write_text(text.replace("sklearn.linear_model.LogisticRegression", "stalling.Stalling"))
    (project.root / "stalling.py").write_text(STALLING)
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "liminal_assets.cli.main", "backtest", "returned_watch"],
        cwd=project.root,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(temporary),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    began, fitting = time.monotonic(), project.root / "fitting"
    while not fitting.exists() and process.poll() is None and time.monotonic() < began + 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "error: interrupted"
    assert not list(temporary.iterdir())
    assert not (project.state / "data" / "_journal").exists()


def test_a_grid_comes_from_files_and_options(tmp_path: Path) -> None:
    file = tmp_path / "grid.yml"
    file.write_text("- {when: [breach], consecutive: [1, 2]}\n- {when: {fresh: 2}}\n")
    grid = parse_grid([str(file), "threshold=0.1,0.2", "cooldown=null,60d"], "default")
    assert grid == [
        {"when": ["breach"], "consecutive": [1, 2]},
        {"when": [{"fresh": 2}]},
        {"threshold": [0.1, 0.2], "cooldown": [None, "60d"]},
    ]
    assert parse_grid(["default"], "default") is True
    assert parse_grid([], "default") is False
