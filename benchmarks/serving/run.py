"""Online prediction, one row a request: ``python -m benchmarks.serving.run [ROUNDS] [SECONDS]``.

Needs ``wrk``. With two cores, the server has the first and ``wrk`` the last.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.serving.pipeline import row
from benchmarks.serving.sides import SIDES
from benchmarks.sides import ROOT

__all__ = ["measured"]

CONNECTIONS = 8
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def measured(side: str, seconds: int) -> dict[str, float]:
    """Requests a second, latencies and computing time of a request in ms, memory in MB."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*_on_core(0), sys.executable, "-m", "benchmarks.serving.sides", side, str(port)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
    )
    try:
        _wait(port, process)
        _wrk(port, 2)
        before = _cpu_seconds(process.pid)
        found = _wrk(port, seconds)
        spent = _cpu_seconds(process.pid) - before
        found["cpu_ms"] = spent * 1000 / (found["requests_per_second"] * seconds)
        status = Path(f"/proc/{process.pid}/status").read_text()
        return {**found, "memory_mb": int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024}
    finally:
        process.terminate()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    """What a process has computed so far; it counts alike on a busy machine."""
    columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def _on_core(core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 else []


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the server ended")


def _wrk(port: int, seconds: int) -> dict[str, float]:
    body = json.dumps(row())
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\n'
            'wrk.headers["content-type"] = "application/json"\n'
            f"wrk.body = [[{body}]]\n"
        )
        script.flush()
        load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script.name]
        done = subprocess.run(
            [*_on_core(-1), *load, f"http://127.0.0.1:{port}/predict"],
            capture_output=True,
            text=True,
            check=True,
        )
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    found = {"requests_per_second": float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0])}
    for percent in (50, 99):
        number, unit = re.findall(rf"{percent}%\s+([\d.]+)(us|ms|s)", done.stdout)[0]
        found[f"p{percent}_ms"] = float(number) * _UNITS[unit]
    return found


def _main(rounds: int, seconds: int) -> None:
    answers: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for turn in range(rounds):
        for side in list(SIDES) if turn % 2 == 0 else reversed(list(SIDES)):
            answers[side].append(measured(side, seconds))
            print(side, answers[side][-1], file=sys.stderr)
    middle = {
        side: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for side, found in answers.items()
    }
    ours = middle["liminal"]
    ratios = {
        side: {
            "requests_per_second": ours["requests_per_second"]
            / middle[side]["requests_per_second"],
            "requests_per_cpu_second": middle[side]["cpu_ms"] / ours["cpu_ms"],
        }
        for side in ("fastapi", "bare")
    }
    print(json.dumps({"sides": middle, "liminal_against": ratios}, indent=2))


if __name__ == "__main__":
    _main(*(int(said) for said in (*sys.argv[1:], *("3", "5")[len(sys.argv) - 1 :])))
