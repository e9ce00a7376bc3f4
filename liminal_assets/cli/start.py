"""``liminal start``: Dagster, MLflow and every service, in the foreground or behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import click

from liminal_assets.cli.bringing_up import all_programs
from liminal_assets.cli.options import as_json, project_options, ui_ports
from liminal_assets.cli.output import complain, print_json, print_table, say
from liminal_assets.cli.projects import projects_to_start
from liminal_assets.cli.streams import show_line
from liminal_assets.errors import StepError
from liminal_assets.execution.programs import PATIENCE, Program
from liminal_assets.execution.records import SUPERVISOR, Record, Records
from liminal_assets.execution.supervisor import Supervisor
from liminal_assets.execution.tailing import Tail, last_lines
from liminal_assets.language.loading import Project
from liminal_assets.storage.locks import file_lock

__all__ = ["command"]


@click.command("start")
@project_options
@click.option(
    "-d",
    "--detached-mode",
    "detached",
    is_flag=True,
    help="Return once everything is ready; 'liminal stop' stops it.",
)
@ui_ports
@click.option("--supervise", is_flag=True, hidden=True)
@as_json
def command(
    project: Path,
    env: str | None,
    detached: bool,
    port: int,
    mlflow_port: int,
    supervise: bool,
    as_json: bool,
) -> int:
    """Bring a project up: Dagster's UI and daemon (schedules and sensors on), MLflow's UI, its
    services and model servers.

    Projects that 'liminal deploy' has registered on the same state come along. A server that ends
    is started again. Without -d everything is shown until Ctrl-C, which stops it.
    """
    if as_json and not detached:
        raise click.UsageError("--json tells of what -d has started")
    projects = projects_to_start(project, env)
    records = Records(projects[0].state)
    if supervise:
        return _supervise(projects, records, env, port, mlflow_port, shown=False)
    # two that start at once would take one another for what was left behind
    with file_lock(records.folder / "start.lock"):
        if records.supervisor is not None:
            return _up_already(records, as_json=as_json)
        records.end_all()
        if detached:
            programs = all_programs(projects, env, port, mlflow_port)
            arguments = ["--project", str(project), "--port", str(port)]
            arguments += ["--mlflow-port", str(mlflow_port), *(["--env", env] if env else [])]
            return _detach(programs, arguments, records, projects[0].state, as_json=as_json)
        records.claim()
    return _supervise(projects, records, env, port, mlflow_port, shown=True)


def _up_already(records: Records, *, as_json: bool) -> int:
    found = _servers(records)
    if as_json:
        print_json([_as_dict(record) for record in found])
    else:
        say("it is up already; 'liminal stop' stops it")
        _show(found)
    return 0


def _supervise(
    projects: Sequence[Project],
    records: Records,
    env: str | None,
    port: int,
    mlflow_port: int,
    *,
    shown: bool,
) -> int:
    """Has everything up in this process until SIGTERM or Ctrl-C."""
    programs = all_programs(projects, env, port, mlflow_port)
    supervisor = Supervisor(programs, records)

    def end(number: int, frame: FrameType | None) -> None:
        supervisor.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if not shown:
        supervisor.run()
        return 0
    ended = threading.Event()
    watcher = threading.Thread(target=_show_all, args=(programs, records, ended))
    watcher.start()
    try:
        supervisor.run()
    finally:
        ended.set()
        watcher.join()
    say("stopped")
    return 0


def _show_all(programs: Sequence[Program], records: Records, ended: threading.Event) -> None:
    """Shows what servers write, and when they are ready, until they are to end."""
    tail = Tail({program.name: program.log for program in programs})
    states: dict[str, str] = {}
    while True:
        last = ended.wait(0.2)
        for name, line in tail.lines():
            show_line(name, line)
        for record in _servers(records):
            before, states[record.name] = states.get(record.name), record.state
            if record.state == "ready" and before != "ready":
                show_line(record.name, f"ready at {record.url}", style="bold")
        if last:
            return


def _detach(
    programs: Sequence[Program],
    arguments: Sequence[str],
    records: Records,
    state: Path,
    *,
    as_json: bool,
) -> int:
    log = state / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        supervisor = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "liminal_assets.cli.main", "start", "--supervise", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ,
        )
    try:
        _await(programs, records, supervisor, log, begun)
    except BaseException:
        # Ctrl-C, or a supervisor that couldn't begin: nothing stays behind
        supervisor.terminate()
        supervisor.wait()
        records.end_all()
        raise
    found = _servers(records)
    if as_json:
        print_json([_as_dict(record) for record in found])
    else:
        _show(found)
    failed = [record for record in found if record.state != "ready"]
    for record in failed:
        lines = "\n  ".join(last_lines(Path(record.log), 12))
        complain(f"{record.name} keeps ending\n  {lines}", hint=f"all of it is in {record.log}")
    if failed:
        say("the others are up; 'liminal stop' stops them", err=True)
    return 1 if failed else 0


def _await(
    programs: Sequence[Program],
    records: Records,
    supervisor: subprocess.Popen[bytes],
    log: Path,
    begun: int,
) -> None:
    """Until every server is ready, or is known to fail.

    Raises:
        StepError: the supervisor ended, or a server takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    expected = {program.name for program in programs}
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            with log.open("rb") as stream:
                stream.seek(begun)
                told = stream.read().decode(errors="replace").strip()
            raise StepError(f"what keeps the servers up ended by itself: {told}")
        settled = {r.name for r in _servers(records) if r.state in ("ready", "failed")}
        if settled >= expected:
            return
        time.sleep(0.1)
    slow = ", ".join(sorted(expected - settled))
    raise StepError(f"not ready after {PATIENCE:.0f} seconds: {slow}", hint=f"see {log.parent}")


def _servers(records: Records) -> list[Record]:
    return [record for record in records.all() if record.name != SUPERVISOR]


def _show(records: Sequence[Record]) -> None:
    rows = [[record.name, record.state, record.url] for record in records]
    print_table(["server", "", "address"], rows)


def _as_dict(record: Record) -> Mapping[str, object]:
    keys = ("name", "kind", "state", "url", "pid", "restarts", "log")
    return {key: getattr(record, key) for key in keys}
