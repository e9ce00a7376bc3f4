"""Functions as endpoints: over a real socket, by the file that images get."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.serving import endpoints
from liminal_assets.serving.endpoints import response_of

MODULE = """\
import asyncio
import time

def nothing():
    return "1"

def echo(body):
    return body

def optional(body=None):
    return "with" if body is not None else "without"

def thing(body):
    return {"é": [1, 2]}

def created(body):
    return "made", 201, {"Content-Type": "text/plain", "X-Who": "me"}

def none(body):
    return None

async def later(body):
    await asyncio.sleep(0)
    return "later"

def slow(body):
    time.sleep(0.5)
    return "slow"

def fails(body):
    raise ValueError("the secret of " + body.decode())

def returns_error(body):
    return KeyError("not ready")

def leaves(body):
    raise SystemExit(7)

def own(body):
    return "mine"
"""
NAMES = re.findall(r"^(?:async )?def (\w+)", MODULE, re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """What a request got."""

    status: int
    body: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Server:
    """One that runs."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def ask(self, path: str, body: bytes | None = None, method: str | None = None) -> Answer:
        """One request."""
        request = urllib.request.Request(self.url + path, body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return _answer(answer)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error)


def _answer(answer: Any) -> Answer:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status, answer.read().decode(), headers)


def start(folder: Path, config: dict[str, Any], *, port: int | None = None) -> Server:
    """Serves a configuration from a folder, as an image does."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
    (folder / "service.json").write_text(json.dumps(config))
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, endpoints.__file__, "--config", str(folder / "service.json")],
            cwd=folder,
            env={**os.environ, "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of every function, which takes bodies of a kilobyte."""
    folder = tmp_path_factory.mktemp("server")
    # a name that the server's own file has, too
    (folder / "endpoints.py").write_text(MODULE)
    paths = {f"/{name}": name for name in NAMES}
    paths |= {"/": "nothing", "/deep/er/one": "echo", "/healthz": "own", "with space": "nothing"}
    entries = [
        {"endpoint": path, "module": "endpoints", "function": name} for path, name in paths.items()
    ]
    running = start(folder, {"endpoints": entries, "server": {"max_body_mb": 1 / 1024}})
    deadline = time.monotonic() + 30
    while True:
        try:
            running.ask("/readyz")
            break
        except OSError:
            assert time.monotonic() < deadline, running.log.read_text()
            assert running.process.poll() is None, running.log.read_text()
            time.sleep(0.05)
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(20)


@pytest.mark.parametrize(
    ("path", "body", "status", "answer", "kind"),
    [
        pytest.param("/nothing", b"x", 200, "1", "text/html", id="no parameter"),
        pytest.param("/nothing", None, 200, "1", "text/html", id="GET"),
        pytest.param("/echo", b"hello", 200, "hello", "application/octet-stream", id="bytes"),
        pytest.param("/optional", b"", 200, "with", "text/html", id="optional parameter"),
        pytest.param("/thing", b"", 200, '{"é": [1, 2]}', "application/json", id="a mapping"),
        pytest.param("/created", b"", 201, "made", "text/plain", id="status and headers"),
        pytest.param("/none", b"", 204, "", "", id="None"),
        pytest.param("/later", b"", 200, "later", "text/html", id="a coroutine"),
        pytest.param("/", None, 200, "1", "text/html", id="the root"),
        pytest.param("/deep/er/one", b"in", 200, "in", "", id="slashes"),
        pytest.param("/with%20space", None, 200, "1", "", id="a space"),
        pytest.param("/nowhere", None, 404, "Page not found.", "text/plain", id="unknown path"),
        pytest.param("/nothing/", None, 404, "Page not found.", "", id="a slash too many"),
        pytest.param("/favicon.ico", None, 204, "", "", id="favicon"),
        pytest.param("/readyz", None, 200, "ok", "", id="readiness"),
        pytest.param("/healthz", None, 200, "mine", "", id="the user's own health check"),
        pytest.param("/.liminal/healthz", None, 200, "ok", "", id="health whatever the user has"),
        pytest.param("/echo", b"x" * 1025, 413, "The body is larger", "", id="a large body"),
    ],
)
def test_a_request_gets_what_the_function_returns(
    server: Server, path: str, body: bytes | None, status: int, answer: str, kind: str
) -> None:
    got = server.ask(path, body)
    assert (got.status, got.body[: len(answer)]) == (status, answer)
    assert bool(got.body) == bool(answer)
    assert got.headers.get("content-type", "").startswith(kind)


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("OPTIONS", 204), ("PUT", 405), ("DELETE", 405)]
)
def test_other_methods_than_get_and_post(server: Server, method: str, status: int) -> None:
    got = server.ask("/nothing", method=method)
    assert (got.status, got.headers.get("content-length", "0") != "0") == (status, status != 204)


@pytest.mark.parametrize(
    ("name", "logged"),
    [
        ("fails", "ValueError: the secret of Ann"),
        ("returns_error", "KeyError: 'not ready'"),
        ("leaves", "the endpoint tried to end the server: 7"),
    ],
)
def test_a_failure_is_in_the_log_and_not_in_the_answer(
    server: Server, name: str, logged: str
) -> None:
    got = server.ask(f"/{name}", b"Ann")
    assert got.status == 500
    assert "Traceback" not in got.body
    assert "Ann" not in got.body
    incident = got.body.rstrip(".").rpartition(" ")[2]
    log = server.log.read_text()
    assert logged in log.partition(incident)[2]
    assert server.ask("/nothing").status == 200


def test_functions_run_beside_one_another_and_beside_health_checks(server: Server) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(server.ask, "/slow", b"") for _ in range(4)]
        assert server.ask("/.liminal/readyz").status == 200
        assert not any(answer.done() for answer in slow)
        assert {answer.result().body for answer in slow} == {"slow"}
    assert time.monotonic() - began < 1.8


def test_each_request_is_a_line_of_the_log_but_for_health_checks(server: Server) -> None:
    server.ask("/deep/er/one", b"")
    deadline = time.monotonic() + 20
    # the line is written when the answer is sent
    while "INFO POST /deep/er/one 200" not in (log := server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.01)
    assert "readyz" not in log


@pytest.mark.parametrize(
    ("module", "entry", "told"),
    [
        pytest.param("import nowhere_at_all", "f", "No module named 'nowhere_at_all'", id="import"),
        pytest.param("def f(): ...", "g", "m.py has no function 'g'", id="function"),
        pytest.param("f = 3", "f", "m.py has no function 'f'", id="no function"),
    ],
)
def test_what_can_not_be_served_ends_the_server_with_the_reason(
    tmp_path: Path, module: str, entry: str, told: str
) -> None:
    (tmp_path / "m.py").write_text(module)
    config = {"endpoints": [{"endpoint": "/e", "module": "m", "function": entry}]}
    failed = start(tmp_path, config)
    assert failed.process.wait(30) == 1
    log = failed.log.read_text()
    assert told in log
    assert "frozen" not in log
    assert "endpoints.py" not in log


def test_a_port_that_is_taken_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = start(tmp_path, {}, port=taken.getsockname()[1])
        assert failed.process.wait(30) == 1
    assert "PORT chooses another" in failed.log.read_text()


@pytest.mark.parametrize("said", [("a", "b"), ("a", 1000), object()])
def test_what_is_no_answer_is_an_error(said: Any) -> None:
    with pytest.raises(TypeError):
        response_of(said)
