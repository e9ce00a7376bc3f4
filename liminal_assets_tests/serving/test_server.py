"""The server's processes: one port, several workers, a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import uvicorn

import liminal_assets as la
from liminal_assets.serving.config import WorkerConfig
from liminal_assets.serving.control.supervisor import Supervisor
from liminal_assets.serving.port import bound_socket, holder_of
from liminal_assets.serving.server import sole_controller
from liminal_assets.serving.worker import WorkerServer, make_app
from liminal_assets_tests.serving.shelf import DEPLOYMENT, Serving, Shelf, serving, until


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """One version that takes 0.3 s for an answer."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.promote("1", seconds=0.3)
    return shelf


@pytest.fixture(scope="module")
def server(shelf: Shelf) -> Iterator[Serving]:
    with serving(shelf.folders.root.parent, workers=2) as server:
        yield server


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(server: Serving) -> None:
    before = server.workers()
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(server.workers() - {min(before)}) == 2)
    until(lambda: answers(server))


@pytest.mark.slow
def test_sigterm_lets_requests_finish(shelf: Shelf, server: Serving) -> None:
    seen: list[int | str] = []

    def ask() -> None:
        try:
            seen.append(server.ask(2).status_code)
        except httpx.ConnectError:
            seen.append("refused")
        except httpx.TransportError as error:
            seen.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.15)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.process.wait(60) == 0
    assert server.process.stdout
    assert server.process.stdout.read() == "gently\n"
    # whoever was late is told so; nobody is cut off
    assert len(seen) == 4
    assert 200 in seen
    assert set(seen) <= {200, 503, "refused"}


@pytest.mark.slow
def test_workers_end_with_their_parent_however_that_ends(shelf: Shelf) -> None:
    with serving(shelf.folders.root.parent) as server:
        (worker,) = server.workers()
        server.process.kill()
        until(lambda: not Path(f"/proc/{worker}").exists() or is_zombie(worker))
        assert not listening(int(server.client.base_url.port or 0))


@pytest.mark.slow
def test_workers_that_never_start_end_the_server(tmp_path: Path) -> None:
    config = WorkerConfig(DEPLOYMENT, str(tmp_path / "a"), drain_seconds=-1e400)
    with bound_socket("127.0.0.1", 0) as bound:
        supervisor = Supervisor(config, bound, 1)
        supervisor.start()

        def gives_up() -> bool:
            try:
                supervisor.check()
            except la.StepError as error:
                return "don't start" in error.message
            return False

        until(gives_up)
        assert supervisor.stop(1)


def test_a_worker_that_was_asked_to_end_while_it_started_ends(shelf: Shelf) -> None:
    config = WorkerConfig(DEPLOYMENT, str(shelf.folders.root))
    app, asked = make_app(config), threading.Event()
    asked.set()
    with bound_socket("127.0.0.1", 0) as bound:
        settings = uvicorn.Config(app, log_level="warning")
        server = WorkerServer(settings, app, config, asked)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        thread.join(20)
    assert not thread.is_alive()


def answers(server: Serving) -> bool:
    with suppress(httpx.TransportError):
        return server.ask().status_code == 200
    return False


def is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_server_of_a_deployment_is_refused_and_names_the_first(tmp_path: Path) -> None:
    folders = Shelf(tmp_path).folders
    with sole_controller(folders, DEPLOYMENT):
        with (
            pytest.raises(la.StepError, match="runs on this machine already") as raised,
            sole_controller(folders, DEPLOYMENT),
        ):
            pytest.fail("two control one deployment")
        assert f"(process {os.getpid()})" in raised.value.message
    with sole_controller(folders, DEPLOYMENT):
        pass


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


def test_a_worker_imports_nothing_that_it_does_not_need() -> None:
    code = "import sys, json, liminal_assets.serving.worker; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    loaded = set(json.loads(done.stdout))
    heavy = {"mlflow", "dagster", "pydantic", "duckdb", "sqlalchemy", "ruamel", "fastapi"}
    assert not heavy & loaded
    # only where the release's form or a request needs them
    assert not {"sklearn", "pandas", "pyarrow", "grpc", "onnxruntime", "treelite"} & loaded
