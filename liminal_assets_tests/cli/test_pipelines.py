"""The command on projects of pipelines: tasks that are programs of the project."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import liminal_assets as la
from liminal_assets.cli.output import label_of
from liminal_assets.cli.session import open_session
from liminal_assets_tests.cli.conftest import Liminal

PROJECT = """\
name: rows
owner: Bosco Albert Baracus
always_run: true
variables: {file: numbers.csv}
images: [{image: app, type: python, source: src}]
task_defaults: {python: {executor: airflow_or_local}}
executors: [{executor: airflow_or_local, type: kubernetes}]
pipelines:
  - pipeline: load
    start_date: 1970-01-01
    schedule: '0 2 * * *'
    timeout_minutes: 5
    tasks:
      - task: write
        type: python
        image: app
        cmd: python write.py '{{file}}'
        env_vars: {ROWS: 3}
  - pipeline: report
    tasks:
      - {task: sum, type: python, image: app, cmd: "python sum.py {{file}}"}
      - {task: send, type: python, image: app, cmd: echo sent}
"""
WRITE = """\
import os, sys
rows = int(os.environ["ROWS"])
open(sys.argv[1], "w").write("\\n".join(map(str, range(rows))))
print("wrote", rows, "rows")
"""
SUM = """\
import sys
print("sum", sum(map(int, open(sys.argv[1]))))
"""


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "LIMINAL_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "write.py").write_text(WRITE)
    (tmp_path / "src" / "sum.py").write_text(SUM)
    (tmp_path / "liminal.yml").write_text(PROJECT)
    return tmp_path


def states(done: str) -> dict[str, str]:
    return {row["asset"]: row["state"] for row in json.loads(done)["assets"]}


def test_a_run_makes_every_pipeline_and_a_failure_is_told_and_reported(
    rows: Path, liminal: Liminal
) -> None:
    first = liminal("run", "--project", rows)
    assert first.code == 0, first.err
    assert "load/write" in first.out
    assert liminal("plan", "--project", rows, "--json").code == 0

    (rows / "src" / "sum.py").write_text("import sys\nprint('no sum')\nsys.exit(3)\n")
    plan = json.loads(liminal("plan", "--project", rows, "--json").out)
    todo = {row["asset"]: row["reasons"] for row in plan["assets"] if row["state"] != "fresh"}
    assert todo["report/sum"] == ["its code changed"]

    again = liminal("run", "--project", rows, "--pipeline", "report")
    assert again.code == 1
    assert "rows/report/sum" in again.err
    assert "skipped: report/send" in again.out

    (load, report) = json.loads(liminal("status", "--project", rows, "--json").out)
    assert (load["state"], load["schedule"], load["failed"]) == ("success", "0 2 * * *", [])
    assert (report["state"], report["failed"], report["next"]) == ("failure", ["sum"], None)


def test_tasks_are_selected_by_pipeline_or_path(rows: Path, liminal: Liminal) -> None:
    done = liminal("run", "--project", rows, "--select", "load/write", "--json")
    assert states(done.out) == {
        "load/start": "missing",
        "load/write": "done",
        "load/end": "missing",
        "report/start": "missing",
        "report/sum": "missing",
        "report/send": "missing",
        "report/end": "missing",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "load/writ"], "did you mean 'load/write'?"),
        (["--pipeline", "lod"], "did you mean 'load'?"),
        (["--pipeline", "load", "--changed"], "--pipeline runs all of a pipeline"),
    ],
    ids=" ".join,
)
def test_what_there_is_not_is_said(
    rows: Path, liminal: Liminal, arguments: list[str], message: str
) -> None:
    done = liminal("run", "--project", rows, *arguments)
    assert (done.code, message in done.err) == (2, True)


def test_all_files_below_a_folder_run_and_share_its_state(rows: Path, liminal: Liminal) -> None:
    for name in ("one", "two"):
        folder = rows / "all" / name
        folder.mkdir(parents=True)
        task = "{task: t, type: python, image: app, cmd: 'true'}"
        (folder / "liminal.yml").write_text(
            f"name: {name}\nimages: [{{image: app, type: python, source: .}}]\n"
            f"pipelines: [{{pipeline: {name}, tasks: [{task}]}}]\n"
        )
    done = liminal("run", "--project", rows / "all", "--json")
    assert done.code == 0, done.err
    assert [document["project"] for document in json.loads(done.out)] == ["one", "two"]
    assert (rows / "all" / ".liminal").is_dir()
    assert not (rows / "all" / "one" / ".liminal" / "dagster").exists()


@pytest.mark.slow
def test_an_interrupt_ends_the_program_of_a_task(rows: Path) -> None:
    (rows / "src" / "write.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "liminal_assets.cli.main", "run", "--project", str(rows)]
    with subprocess.Popen([*command, "--pipeline", "load"], stdout=subprocess.DEVNULL) as process:
        pid = _when(rows / "src" / "pid")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _when(file: Path) -> int:
    for _ in range(600):
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.1)
    raise AssertionError("the program did not start")


def test_labels_leave_the_project_out() -> None:
    import dagster as dg

    keys = [["shop", "rows"], ["shop", "load", "write"]]
    assert [label_of(dg.AssetKey(key)) for key in keys] == ["rows", "load/write"]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ("load and not load/write", {"load/start", "load/end"}),
        ("report/sum+", {"report/sum", "report/send", "report/end"}),
    ],
)
def test_pipelines_and_tasks_are_names_of_a_selection(
    rows: Path, selection: str, chosen: set[str]
) -> None:
    with open_session(la.load_project(rows)) as session:
        assert {label_of(key) for key in session.select(selection)} == chosen
