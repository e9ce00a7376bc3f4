"""Servers that are started and stopped together."""

from __future__ import annotations

import sys
from pathlib import Path

from liminal_assets.execution.programs import Program, started

SERVER = """\
import pathlib, signal, sys, time
name, other = map(pathlib.Path, sys.argv[1:])

def end(number, frame):
    name.with_suffix(".asked").touch()
    while not other.with_suffix(".asked").exists():
        time.sleep(0.01)
    sys.exit(0)

signal.signal(signal.SIGINT, end)
name.with_suffix(".up").touch()
while True:
    time.sleep(1)
"""
"""Ends once it and another were asked to."""


def program(folder: Path, name: str, other: str) -> Program:
    return Program(
        name=name,
        arguments=[sys.executable, "-c", SERVER, name, other],
        folder=folder,
        log=folder / f"{name}.log",
        url="http://127.0.0.1:9",
    )


def test_all_are_asked_to_end_before_any_is_waited_for(tmp_path: Path) -> None:
    servers = [program(tmp_path, "one", "two"), program(tmp_path, "two", "one")]
    with started(servers) as processes:
        while not all((tmp_path / f"{server.name}.up").exists() for server in servers):
            assert [process.poll() for process in processes] == [None, None]
    assert [process.returncode for process in processes] == [0, 0]
