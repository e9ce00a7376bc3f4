"""``liminal migrate``: a diff, the files, or JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from liminal_assets_tests.cli.conftest import Liminal

BEFORE = """\
name: mine  # a comment
pipelines:
  - pipeline: p
    tasks: [{task: t, type: mine, cmd: '{{nowhere}}'}]
    shedule: 0 * 1 * *
"""
PLUGIN = """\
from liminal_assets.plugins import InProcessTask

class Mine(InProcessTask):
    def run(self, run):
        run.log("here")
"""
AFTER = BEFORE.replace("shedule", "schedule")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "mine.py").write_text(PLUGIN)
    (folder / "other").mkdir()
    (folder / "other" / "liminal.yml").write_text("{name: other,   services: []}")
    (folder / "liminal.yml").write_text(BEFORE)
    return folder


def test_it_prints_what_git_can_apply(liminal: Liminal, project: Path) -> None:
    done = liminal("migrate", "--project", project)
    assert done.code == 0
    assert (project / "liminal.yml").read_text() == BEFORE
    diff = done.out.split("rename from")[0]
    subprocess.run(["git", "apply", "-"], cwd=project, input=diff, text=True, check=True)
    assert (project / "liminal.yml").read_text() == AFTER
    assert done.out.splitlines()[-2:] == ["rename from tasks", "rename to plugins/tasks"]


def test_it_says_why_and_what_is_left_on_standard_error(liminal: Liminal, project: Path) -> None:
    lines = liminal("migrate", "--project", project).err.splitlines()
    file = project / "liminal.yml"
    assert lines[:3] == [
        f"{file}:5:1: 'shedule' is 'schedule'",
        "2 files would change: --write changes them",
        "left for you to decide:",
    ]
    assert "nothing is called 'nowhere'" in lines[3]


def test_write_changes_what_must_change_and_nothing_else(liminal: Liminal, project: Path) -> None:
    os.chmod(project / "liminal.yml", 0o640)
    assert liminal("migrate", "--project", project, "--write").code == 0
    assert (project / "liminal.yml").read_text() == AFTER
    assert (project / "liminal.yml").stat().st_mode & 0o777 == 0o640
    assert (project / "other" / "liminal.yml").read_text() == "{name: other,   services: []}"
    files = sorted(str(f.relative_to(project)) for f in project.rglob("*") if f.is_file())
    assert files == ["liminal.yml", "other/liminal.yml", "plugins/tasks/mine.py"]


def test_written_once_there_is_nothing_to_change(liminal: Liminal, project: Path) -> None:
    liminal("migrate", "--project", project, "--write")
    again = liminal("migrate", "--project", project)
    assert again.out == ""
    assert again.err.startswith("nothing to change\nleft for you to decide:")


def test_output_leaves_the_project_as_it_is(
    liminal: Liminal, project: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new"
    assert liminal("migrate", "--project", project, "--output", target).code == 0
    assert (project / "liminal.yml").read_text() == BEFORE
    assert (project / "tasks" / "mine.py").exists()
    files = sorted(str(f.relative_to(target)) for f in target.rglob("*") if f.is_file())
    assert files == ["liminal.yml", "plugins/tasks/mine.py"]
    assert (target / "liminal.yml").read_text() == AFTER


def test_json_holds_the_texts_the_reasons_and_what_is_left(liminal: Liminal, project: Path) -> None:
    document = json.loads(liminal("migrate", "--project", project, "--json").out)
    file = str(project / "liminal.yml")
    assert document["files"] == [{"file": file, "text": AFTER}]
    assert document["changes"] == [{"file": file, "line": 5, "reason": "'shedule' is 'schedule'"}]
    assert document["moves"] == [
        {"from": str(project / "tasks"), "to": str(project / "plugins" / "tasks")}
    ]
    assert [finding["code"] for finding in document["left"]] == ["unresolved-variable"]
    assert document["written"] is False


def test_a_folder_without_a_project_is_wrong_input(liminal: Liminal, tmp_path: Path) -> None:
    done = liminal("migrate", "--project", tmp_path)
    assert done.code == 2
    assert "no-project: there is no Apache Liminal project here" in done.err


def test_a_folder_that_cannot_be_written_changes_nothing(liminal: Liminal, project: Path) -> None:
    # a folder where the draft would go can't be made below a file
    done = liminal("migrate", "--project", project, "--output", project / "liminal.yml" / "x")
    assert done.code == 1
    assert "cannot write" in done.err
    assert (project / "liminal.yml").read_text() == BEFORE
