"""The server's processes: one port, several workers, a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import liminal_assets as la
from liminal_assets.serving.port import bound_socket, holder_of

SLOW_APP = """
    import sys, time
    import numpy as np
    from liminal_assets.serving.app import create_app
    from pathlib import Path

    from liminal_assets.serving.drain import Drain
    from liminal_assets.serving.port import bound_socket
    from liminal_assets.serving.server import run_app
    from liminal_assets.serving.spool import Spool
    from liminal_assets.steps.signature import Field, Signature

    class Slow:
        calls = 0

        def predict(self, frame):
            self.calls += 1
            time.sleep(0.3 if self.calls > 4 else 0.001)
            return np.ones(len(frame))

    class Sink:
        def append(self, rows, *, batch):
            with open(sys.argv[2], "a") as file:
                file.writelines(f"{own}\\n" for own in rows["prediction_id"].to_pylist())
            return rows.num_rows

    def make():
        spool = Path(sys.argv[2]).with_name("spool")
        log = Spool(spool, drain=Drain(spool, Sink(), Sink(), every=600))
        return create_app(Slow(), Signature((Field("a", "double"),)), log=log)

    if __name__ == "__main__":
        with bound_socket("127.0.0.1", 0) as bound:
            print(bound.getsockname()[1], flush=True)
            run_app(make, bound, workers=int(sys.argv[1]))
        print("left", flush=True)
"""


@contextmanager
def serving(folder: Path, workers: int) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A server of a slow model in processes of its own."""
    script = folder / "slow_app.py"
    script.write_text(textwrap.dedent(SLOW_APP))
    process = subprocess.Popen(
        [sys.executable, str(script), str(workers), str(folder / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            # the port listens before the workers are up
            until(lambda: client.get("/readyz").status_code == 200)
            yield process, client
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


def until(done: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_requests_finish_and_writes_their_rows(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, workers) as (process, client):
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(client.post("/predict", json=[{"a": 1.0}, {"a": 2.0}]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.25)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(60) == 0
        assert process.stdout
        assert process.stdout.read() == "left\n"
    assert [answer.status_code for answer in answers] == [200] * 4
    expected = {row["prediction_id"] for said in answers for row in said.json()["predictions"]}
    assert set((tmp_path / "log").read_text().split()) == expected


@pytest.mark.slow
def test_workers_share_the_port_are_replaced_and_end_with_their_parent(tmp_path: Path) -> None:
    with serving(tmp_path, 2) as (process, client):
        port = client.base_url.port
        assert port
        workers = [pid for pid in children(process.pid) if _is_worker(pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: len({p for p in children(process.pid) if _is_worker(p)} - {workers[0]}) == 2)
        until(lambda: _answers(client))
        process.kill()
        until(lambda: not listening(port))


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _answers(client: httpx.Client) -> bool:
    try:
        return client.post("/predict", json={"a": 1}).status_code == 200
    except httpx.TransportError:
        return False


def test_a_taken_port_names_who_has_it_and_what_to_do() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with (
            pytest.raises(la.StepError, match=f"port {port} of 127.0.0.1 is taken by") as raised,
            bound_socket("127.0.0.1", port),
        ):
            pytest.fail("two have one port")
        assert holder_of(port)
        assert holder_of(port)[0] == os.getpid()  # type: ignore[index]
    assert f"(process {os.getpid()})" in raised.value.message
    assert "--port" in str(raised.value.hint)
    assert holder_of(port) is None


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with (
        pytest.raises(la.StepError, match="cannot listen on") as raised,
        bound_socket(host, 0),
    ):
        pytest.fail("it listens elsewhere")
    assert "--host" in str(raised.value.hint)


def test_a_port_of_an_ipv6_address_is_taken() -> None:
    try:
        with bound_socket("::1", 0) as bound:
            assert bound.getsockname()[1] > 0
    except la.StepError as error:
        assert "cannot listen" in str(error)  # noqa: PT017  # machines without IPv6


def test_importing_the_server_imports_nothing_heavy() -> None:
    code = "import sys, json, liminal_assets.serving.server; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    heavy = {"mlflow", "sklearn", "pandas", "fastapi", "dagster", "duckdb", "pyarrow"}
    assert not heavy & set(json.loads(done.stdout))
