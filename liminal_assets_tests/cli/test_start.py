"""Bringing a project up and down: ``create``, ``deploy``, ``start``, ``logs``, ``stop``,
``delete``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from liminal_assets.execution.programs import Program
from liminal_assets.execution.records import Record, Records
from liminal_assets_tests.cli.conftest import Liminal
from liminal_assets_tests.cli.test_ui import asked, free_port
from liminal_assets_tests.execution.test_supervisor import is_gone, server, until

PROJECT = """\
name: greetings
volumes: [{volume: data, local: {path: files}}]
secrets: [{secret: aws, local_path_file: key.txt}]
images:
  - image: greeter
    type: python_server
    source: app
    endpoints: [{endpoint: /greet, module: greeter, function: greet}]
services:
  - {service: api, image: greeter}
pipelines:
  - pipeline: nightly
    schedule: 0 2 * * *
    start_date: 2024-01-01
    tasks: [{task: work, type: python, cmd: echo worked hard}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_state: Path) -> Path:
    """A project with a service and a pipeline, which is the current folder; no cluster."""
    folder = tmp_path / "greetings"
    shutil.copytree(empty_state, folder / ".liminal")
    (folder / "app").mkdir()
    (folder / "app" / "greeter.py").write_text("def greet(body):\n    return b'hello ' + body\n")
    (folder / "key.txt").write_text("very secret")
    (folder / "liminal.yml").write_text(PROJECT)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return folder


@pytest.fixture
def kept_down(project: Path) -> Iterator[None]:
    """Nothing that a test has started outlives it."""
    yield
    Records(project / ".liminal").end_all()


@pytest.mark.slow
def test_a_project_is_brought_up_shown_and_taken_down(
    liminal: Liminal, project: Path, kept_down: None
) -> None:
    port = free_port()
    arguments = ["start", "-d", "--port", port, "--json"]
    started = liminal(*arguments)
    assert started.code == 0, started.err
    servers = {item["name"]: item for item in json.loads(started.out)}
    assert {name: item["state"] for name, item in servers.items()} == {
        "Dagster": "ready",
        "greetings/api": "ready",
    }
    request = urllib.request.Request(servers["greetings/api"]["url"] + "/greet", b"Ann")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.read() == b"hello Ann"
    query = (
        '{schedulesOrError(repositorySelector: {repositoryName: "__repository__",'
        ' repositoryLocationName: "liminal_assets.definitions"})'
        "{...on Schedules {results {name scheduleState {status}}}}}"
    )
    told = json.loads(asked(f"http://127.0.0.1:{port}/graphql", query))
    [schedule] = told["data"]["schedulesOrError"]["results"]
    assert schedule["scheduleState"]["status"] == "RUNNING"
    again = liminal("start", "-d", "--json")
    assert (again.code, json.loads(again.out)) == (0, json.loads(started.out))
    logs = liminal("logs", "api", "--tail", 1)
    assert "greetings/api | " in logs.out
    assert "POST /greet 200" in logs.out
    stopped = liminal("stop")
    assert (stopped.code, stopped.out) == (0, "Dagster: stopped\ngreetings/api: stopped\n")
    assert all(is_gone(item["pid"]) for item in servers.values())
    assert liminal("stop").out == "nothing is up\n"


def test_in_the_foreground_it_shows_what_servers_write_and_ctrl_c_stops_them(
    project: Path, kept_down: None, tmp_path: Path
) -> None:
    """With a server of the test in the place of Dagster's, which takes long to start."""
    code = f"""
import sys
from dataclasses import replace
from pathlib import Path
import liminal_assets.cli.bringing_up as up
from liminal_assets_tests.execution.test_supervisor import server
up.dagster_server = lambda *_, **__: replace(server(Path({str(tmp_path)!r})), name="Dagster")
from liminal_assets.cli.main import main
main(["start"])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    output = tmp_path / "output"
    with (
        output.open("w") as stream,
        subprocess.Popen([sys.executable, "-c", code], stdout=stream, env=environment) as process,
    ):
        until(lambda: output.read_text().count("ready at http://") == 2)
        pids = [record.pid for record in Records(project / ".liminal").all()]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    shown = output.read_text()
    assert "Dagster | listens\n" in shown
    assert "greetings/api | ready at http://127.0.0.1:" in shown
    assert shown.endswith("stopped\n")
    assert all(map(is_gone, pids))
    assert len(pids) == 3


def test_what_is_left_of_a_crash_is_stopped(
    liminal: Liminal, project: Path, tmp_path: Path
) -> None:
    program: Program = server(tmp_path)
    left = subprocess.Popen(
        program.arguments, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL
    )
    Records(project / ".liminal").write(Record("greetings/api", "service").of_process(left.pid))
    done = liminal("stop", "--json")
    assert json.loads(done.out) == ["greetings/api"]
    assert left.wait(10) != 0


def test_create_makes_the_folders_of_volumes(liminal: Liminal, project: Path) -> None:
    first, second = liminal("create", "--json"), liminal("create", "--json")
    changes = [json.loads(done.out)[0] for done in (first, second)]
    assert [item["change"] for item in changes] == ["created", "kept"]
    assert (project / "files").is_dir()


def test_a_dry_run_of_deploy_is_yaml_for_kubectl_without_secrets(
    liminal: Liminal, project: Path
) -> None:
    done = liminal("deploy", "--dry-run", "--namespace", "ml")
    assert done.code == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(done.out)]
    assert kinds == ["PersistentVolume", "PersistentVolumeClaim", "Deployment", "Service"]
    assert "# Secret aws: 'liminal deploy' makes it from key.txt" in done.out
    assert not (project / ".liminal" / "deployed.json").exists()


def test_deploy_registers_what_start_brings_up_from_anywhere_and_delete_takes_it_out(
    liminal: Liminal, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liminal_assets.cli.projects import projects_to_start

    monkeypatch.setenv("LIMINAL_HOME", str(tmp_path / "home"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert liminal("deploy").code == 0
    assert [item.name for item in projects_to_start(elsewhere, None)] == ["greetings"]
    assert liminal("delete").code == 0
    assert liminal("start", "--project", elsewhere).code == 2


def test_deploy_takes_no_project_that_is_wrong(liminal: Liminal, project: Path) -> None:
    (project / "liminal.yml").write_text(PROJECT.replace("image: greeter}", "port: no}"))
    done = liminal("deploy")
    assert done.code == 2
    assert "liminal.yml:10:26: invalid-value: False is no port" in done.err


def test_deploy_clean_forgets_others_and_keeps_data(liminal: Liminal, project: Path) -> None:
    state = project / ".liminal"
    (state / "logs").mkdir()
    (state / "deployed.json").write_text('{"/gone": {"name": "gone"}}')
    assert liminal("deploy", "--clean").code == 0
    assert list(json.loads((state / "deployed.json").read_text())) == [str(project)]
    assert not (state / "logs").exists()
    assert (state / "dagster").is_dir()


def test_delete_clean_asks_and_never_takes_the_folder_of_a_volume(
    liminal: Liminal, project: Path
) -> None:
    (project / "files").mkdir()
    (project / "files" / "precious").touch()
    refused = liminal("delete", "--clean")
    assert refused.code == 2
    assert "--yes does it" in refused.err
    assert (project / ".liminal").exists()
    assert liminal("delete", "--clean", "--yes").code == 0
    assert not (project / ".liminal").exists()
    assert (project / "files" / "precious").exists()


def test_delete_clean_refuses_a_volume_inside_the_state(liminal: Liminal, project: Path) -> None:
    text = PROJECT.replace("path: files", "path: .liminal/files")
    (project / "liminal.yml").write_text(text)
    done = liminal("delete", "--clean", "--yes")
    assert done.code == 1
    assert "the volume data lies in the state folder" in done.err
    assert (project / ".liminal").exists()


def test_logs_of_a_task_are_those_of_its_last_run(liminal: Liminal, project: Path) -> None:
    assert liminal("run", "--pipeline", "nightly").code == 0
    lines = liminal("logs", "work").out.splitlines()
    assert "nightly/work | worked hard" in lines
    assert liminal("logs", "work", "--tail", 1).out.startswith("nightly/work | -- success, run")
    assert {line.partition(" | ")[0] for line in liminal("logs", "nightly").out.splitlines()} == {
        "nightly/start",
        "nightly/work",
        "nightly/end",
    }


def test_logs_of_what_there_is_not_is_code_2(liminal: Liminal, project: Path) -> None:
    done = liminal("logs", "wrk")
    assert done.code == 2
    assert "did you mean 'work'?" in done.err
