"""Servers that are kept up: restarts, crashes of any of them, and nothing left at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from liminal_assets.execution import supervisor
from liminal_assets.execution.identity import process_name
from liminal_assets.execution.programs import Program, is_ready
from liminal_assets.execution.records import SUPERVISOR, Record, Records
from liminal_assets.execution.supervisor import Supervisor
from liminal_assets_tests.cli.test_ui import free_port

SERVER = """\
import http.server, os, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
open("child", "w").write(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
print("listens", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(folder: Path, code: str = SERVER) -> Program:
    """A server that has a child of its own."""
    port = free_port()
    return Program(
        name="shop/api",
        arguments=[sys.executable, "-c", code, str(port)],
        folder=folder,
        log=folder / "logs" / "api.log",
        url=f"http://127.0.0.1:{port}",
        health="/",
    )


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Waits for something."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    return process_name(pid).endswith("_0")


@contextmanager
def kept_up(program: Program, records: Records) -> Iterator[Supervisor]:
    """A supervisor that runs in a thread."""
    keeper = Supervisor([program], records)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        thread.join(30)
        assert not thread.is_alive()


def state_of(records: Records) -> str:
    record = records.get("shop/api")
    return record.state if record else ""


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / ".liminal")


def test_a_server_is_started_told_of_and_stopped_with_its_children(
    tmp_path: Path, records: Records
) -> None:
    program = server(tmp_path)
    with kept_up(program, records):
        until(lambda: state_of(records) == "ready")
        record = records.get("shop/api")
        assert record is not None
        assert (record.url, record.restarts, record.alive) == (program.url, 0, True)
        child = int((tmp_path / "child").read_text())
        assert not is_gone(child)
        assert "listens" in program.log.read_text()
    assert is_gone(record.pid)
    assert is_gone(child)
    assert records.all() == []


@pytest.mark.parametrize("crash", ["exit", "kill -9"])
def test_a_server_that_ends_is_started_again_without_what_it_left(
    tmp_path: Path, records: Records, crash: str
) -> None:
    program = server(tmp_path)
    with kept_up(program, records):
        until(lambda: state_of(records) == "ready")
        first = records.get("shop/api")
        assert first is not None
        child = int((tmp_path / "child").read_text())
        if crash == "exit":
            is_ready(replace(program, health="/die"))
        else:
            os.kill(first.pid, signal.SIGKILL)
        until(lambda: (found := records.get("shop/api")) and found.restarts == 1 and found.pid)
        until(lambda: state_of(records) == "ready")
        second = records.get("shop/api")
        assert second is not None
        assert second.exit_code == (3 if crash == "exit" else -signal.SIGKILL)
        assert second.pid != first.pid
        assert is_gone(child)
        assert "it starts again in 0.5 s" in program.log.read_text()


def test_a_server_that_keeps_ending_waits_longer_each_time_and_is_told(
    tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_FIRST", 0.05)
    program = server(tmp_path, "import sys; sys.exit('no luck')")
    with kept_up(program, records):
        until(lambda: state_of(records) == "failed")
    log = program.log.read_text()
    assert "no luck" in log
    for wait in ("0.05", "0.1", "0.2"):
        assert f"it starts again in {wait} s" in log


def test_a_server_that_hangs_is_started_again(
    tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_EVERY", 0.1)
    monkeypatch.setattr(supervisor, "_GRACE", 0.1)
    program = server(tmp_path)
    with kept_up(program, records):
        until(lambda: state_of(records) == "ready")
        record = records.get("shop/api")
        assert record is not None
        os.kill(record.pid, signal.SIGSTOP)
        until(lambda: (found := records.get("shop/api")) and found.restarts == 1)
    assert "doesn't answer any more" in program.log.read_text()


def test_what_outlives_a_killed_supervisor_is_found_and_ended(
    tmp_path: Path, records: Records
) -> None:
    port = free_port()
    code = f"""
from pathlib import Path
from liminal_assets.execution.programs import Program
from liminal_assets.execution.records import Records
from liminal_assets.execution.supervisor import Supervisor
folder = Path({str(tmp_path)!r})
program = Program("shop/api", ["{sys.executable}", "-c", {SERVER!r}, "{port}"], folder,
                  folder / "log", "http://127.0.0.1:{port}", "/")
Supervisor([program], Records(folder / ".liminal")).run()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        try:
            until(lambda: state_of(records) == "ready")
            assert records.supervisor is not None
            assert records.supervisor.pid == process.pid
        finally:
            process.kill()
    assert records.supervisor is None
    record = records.get("shop/api")
    assert record is not None
    assert record.alive
    child = int((tmp_path / "child").read_text())
    assert {found.name for found in records.end_all()} == {"shop/api"}
    assert is_gone(record.pid)
    assert is_gone(child)
    assert records.all() == []


@pytest.mark.parametrize("stale", ["an id that is another process's by now", "another boot"])
def test_a_record_of_a_process_that_is_gone_ends_no_other(records: Records, stale: str) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        try:
            record = Record("shop/api", "service").of_process(other.pid)
            if stale == "another boot":
                records.write(replace(record, boot="another"))
            else:
                records.write(replace(record, process=record.process + "0"))
            assert records.end_all() == []
            assert other.poll() is None
        finally:
            other.kill()


def test_children_of_a_server_that_is_gone_are_ended(records: Records) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    done = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    record = Record("shop/api", "service").of_process(done.pid)
    assert done.stdout
    child = int(done.stdout.readline())
    done.stdout.close()
    done.wait()
    try:
        records.write(record)
        records.end_all()
        until(lambda: is_gone(child))
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_record_that_was_cut_off_is_none(records: Records) -> None:
    records.claim()
    (records.folder / "half.json").write_text('{"name": "ha')
    assert [record.name for record in records.all()] == [SUPERVISOR]
