"""Online prediction, one row a request: ``python -m benchmarks.serving.run``.

Needs ``wrk``. With two cores, the server has the first and ``wrk`` the last. BentoML takes part
where ``--bentoml`` names the Python of an environment that has it and the same scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.serving.pipeline import prepare, row
from benchmarks.serving.sides import SIDES
from benchmarks.sides import ROOT

__all__ = ["measured"]

CONNECTIONS = 8
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_START_SECONDS = 60


def measured(side: str, folder: Path, seconds: float, bentoml: str | None) -> dict[str, float]:
    """Requests a second, latencies and computing time of a request in ms, memory in MB.

    The memory is the proportional set size (PSS) of all processes of the side: a page that several
    share counts once.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path, body = _request(side)
    url = f"http://127.0.0.1:{port}{path}"
    process = subprocess.Popen(
        [*_on_core(0), *_command(side, folder, port, bentoml)],
        cwd=ROOT,
        env={**os.environ, **_environment(folder, side)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(url, body, process)
        _wrk(url, body, 1)
        before = _cpu_seconds(process.pid)
        found = _wrk(url, body, seconds)
        spent = _cpu_seconds(process.pid) - before
        found["cpu_ms"] = spent * 1000 / (found["requests_per_second"] * seconds)
        return {**found, "memory_mb": sum(map(_pss_mb, _family(process.pid)))}
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a side with all that it started; it has a session of its own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


def _command(side: str, folder: Path, port: int, bentoml: str | None) -> list[str]:
    if side == "mlflow":
        model = str(folder / "booster-mlflow")
        flags = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
        return [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, *flags]
    if side == "bentoml":
        if bentoml is None:
            raise RuntimeError("--bentoml names the Python that has it")
        flags = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", "benchmarks/serving"]
        return [bentoml, "-m", "bentoml", "serve", "bento:Booster", *flags]
    return [sys.executable, "-m", "benchmarks.serving.sides", side, str(port), str(folder)]


def _environment(folder: Path, side: str) -> dict[str, str]:
    # one row is answered by one core: threads that wait for one another make every side slower
    said = {"OMP_NUM_THREADS": "1", "LIMINAL_BENCHMARK": str(folder), "BENTOML_DO_NOT_TRACK": "1"}
    if side == "bentoml":
        return {**said, "PYTHONPATH": ""}
    # MLflow starts the uvicorn that it finds
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**said, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}


def _request(side: str) -> tuple[str, Any]:
    if side == "mlflow":
        names, values = list(row()), list(row().values())
        return "/invocations", {"dataframe_split": {"columns": names, "data": [values]}}
    return "/predict", {"row": row()} if side == "bentoml" else row()


def _family(pid: int) -> list[int]:
    """A process and those that it started, and so on."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in task.read_text().split())
    return found


def _cpu_seconds(pid: int) -> float:
    """What processes have computed so far; it counts alike on a busy machine."""
    ticks = 0
    for one in _family(pid):
        columns = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(columns[11]) + int(columns[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss_mb(pid: int) -> float:
    said = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", said, re.MULTILINE)[0]) / 1024


def _on_core(core: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 else []


def _wait(url: str, body: Any, process: subprocess.Popen[bytes]) -> None:
    """Until the row is answered; some sides listen long before they can answer."""
    asked = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    until, last = time.monotonic() + _START_SECONDS, ""
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(asked, timeout=10):
                return
        except urllib.error.HTTPError as error:
            last = f"{error}: {error.read()[:500]!r}"
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise RuntimeError(f"the server has no answer: {last}")


def _wrk(url: str, body: Any, seconds: float) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\n'
            'wrk.headers["content-type"] = "application/json"\n'
            f"wrk.body = [==[{json.dumps(body)}]==]\n"
        )
        script.flush()
        load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", script.name]
        done = subprocess.run(
            [*_on_core(-1), *load, url],
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


def _ratio(answers: dict[str, list[dict[str, float]]], one: str, other: str) -> float | None:
    """The median of the ratio of throughputs, round by round."""
    if not answers.get(one) or not answers.get(other):
        return None
    pairs = zip(answers[one], answers[other], strict=True)
    ratios = [a["requests_per_second"] / b["requests_per_second"] for a, b in pairs]
    return round(statistics.median(ratios), 2)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of load, each side and round")
    parser.add_argument("--bentoml", metavar="PYTHON", help="an environment that has BentoML")
    said = parser.parse_args()
    sides = [*SIDES, "mlflow", *(["bentoml"] if said.bentoml else [])]
    answers: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for turn in range(said.rounds):
            for side in sides if turn % 2 == 0 else reversed(sides):
                answers[side].append(measured(side, Path(name), said.seconds, said.bentoml))
                print(side, answers[side][-1], file=sys.stderr)
    middle = {
        side: {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
        for side, found in answers.items()
    }
    ratios = {
        "booster / mlflow models serve": _ratio(answers, "booster", "mlflow"),
        "booster / fastapi": _ratio(answers, "booster", "fastapi"),
        "booster / bentoml": _ratio(answers, "booster", "bentoml"),
        "batched pipeline / pipeline": _ratio(answers, "batched", "pipeline"),
        "booster / bare": _ratio(answers, "booster", "bare"),
        "linear / bare": _ratio(answers, "linear", "bare"),
        "booster p99 / p50": round(middle["booster"]["p99_ms"] / middle["booster"]["p50_ms"], 2),
        "linear p99 / p50": round(middle["linear"]["p99_ms"] / middle["linear"]["p50_ms"], 2),
    }
    print(json.dumps({"sides": middle, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    _main()
