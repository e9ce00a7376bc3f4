"""Limits, timeouts and what a flood finds: the real server on a socket."""

from __future__ import annotations

import base64
import json
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import Limits
from liminal_assets.serving.control.live import LiveModel
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.guards import connections
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, digest
from liminal_assets.serving.guards.connections import GuardedProtocol
from liminal_assets.serving.guards.guard import Guard, Rates
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.observing.access import AccessLog, AccessLogConfig
from liminal_assets.serving.observing.counts import read_counts
from liminal_assets.serving.observing.metrics import Metrics
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.steps.signature import Field, Signature
from liminal_assets_tests.serving.conftest import running

KEY = "a-key-of-tests-that-nobody-knows"
ROW = {"a": 1.0}


class Held:
    """Answers at once, but 13 only when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def predict(self, frame: Any) -> Any:
        if frame["a"].iloc[0] == 13:
            self.go.wait(20)
        return np.ones(len(frame))


def served(model: Held, guard: Guard, watch: Watch | None = None) -> ServingApp:
    made = ServedModel.of(
        model, Signature((Field("a", "double"),)), name="held", version="5", example=ROW
    )
    return ServingApp(LiveModel.fixed(_slow(made)), guard=guard, watch=watch)


def _slow(model: ServedModel) -> ServedModel:
    from dataclasses import replace

    return replace(model, slow=True)


@pytest.fixture
def held() -> Iterator[Held]:
    model = Held()
    yield model
    model.go.set()


def until(done: Any) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_model_that_hangs_is_given_up_and_holds_up_nobody(held: Held, tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    app = served(held, Guard(Limits(timeout_seconds=0.5)), Watch(metrics))
    with running(app) as client, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.post, "/predict", json={"a": 13})
        until(lambda: app.guard.under_way)
        assert client.get("/healthz").status_code == 200
        answer = hanging.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        assert client.post("/predict", json=ROW).status_code == 200
        held.go.set()
        counts = read_counts(tmp_path).of("5")
        assert (counts.ok, counts.server_errors) == (1, 1)


def test_too_many_at_once_are_told_to_come_back(held: Held) -> None:
    app = served(held, Guard(Limits(under_way=2)))
    with running(app) as client, ThreadPoolExecutor(2) as pool:
        hanging = [pool.submit(client.post, "/predict", json={"a": 13}) for _ in range(2)]
        until(lambda: app.guard.under_way == 2)
        refused = client.post("/predict", json=ROW)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "overloaded"
        # liveness and readiness ask for no place
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        held.go.set()
        assert [answer.result().status_code for answer in hanging] == [200, 200]
        assert client.post("/predict", json=ROW).status_code == 200
        assert app.guard.under_way == 0


def test_each_caller_has_a_rate_of_its_own(held: Held) -> None:
    keys = {"one": digest(KEY.encode()), "two": digest(b"another")}
    guard = Guard(Limits(rate=0.01, burst=2), Authenticator(AuthConfig(keys=keys)))
    with running(served(held, guard)) as client:
        one, two = {"x-api-key": KEY}, {"authorization": "Bearer another"}
        answers = [client.post("/predict", json=ROW, headers=one) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
        assert client.post("/predict", json=ROW, headers=two).status_code == 200
        assert client.get("/readyz").status_code == 200


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5))
def test_a_rate_is_never_exceeded(pauses: list[float], burst: int) -> None:
    rates, now, admitted = Rates(2.0, burst), 1000.0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        for pause in pauses:
            now += pause
            try:
                rates.admit("x")
                admitted.append(now)
            except RequestError as error:
                now += int(error.headers["retry-after"])
                rates.admit("x")
                admitted.append(now)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + 2.0 * (admitted[last] - start) + 1e-6


def test_callers_that_are_told_apart_are_bounded() -> None:
    rates = Rates(0.001, 1, most=10)
    for caller in range(100):
        rates.admit(str(caller))
    assert len(rates._free_at) == 10


def test_who_may_ask_what(held: Held) -> None:
    auth = AuthConfig(keys={"one": digest(KEY.encode())}, public=("metrics",))
    with running(served(held, Guard(authenticator=Authenticator(auth)))) as client:
        refused = client.post("/predict", json=ROW)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == 'Bearer realm="liminal"'
        assert refused.json()["error"]["code"] == "unauthenticated"
        for page, status in {"/healthz": 200, "/metrics": 200, "/docs": 401, "/info": 401}.items():
            assert client.get(page).status_code == status
        client.headers["x-api-key"] = KEY
        assert client.post("/predict", json=ROW).status_code == 200
        assert client.get("/info").status_code == 200


def test_the_access_log_tells_who_asked_what_and_no_secret(held: Held, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "access.jsonl"
    auth = Authenticator(AuthConfig(keys={"billing": digest(KEY.encode())}))
    watch = Watch(access=AccessLog(AccessLogConfig(str(file))))
    with running(served(held, Guard(authenticator=auth), watch)) as client:
        headers = {"x-api-key": KEY}
        answer = client.post(f"/predict?api_key={KEY}", json=[ROW, ROW], headers=headers).json()
        client.post("/predict", json={"b": 1}, headers=headers)
        client.post("/predict", json=ROW, headers={"x-api-key": "wrong-key"})
    text = file.read_text()
    assert KEY not in text
    assert "wrong-key" not in text
    good, bad, unknown = map(json.loads, text.splitlines())
    assert {name: good[name] for name in ("method", "path", "status", "rows", "caller")} == {
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "rows": 2,
        "caller": "billing",
    }
    assert good["prediction_id"] == answer["prediction_id"]
    assert (good["version"], good["client"]) == ("5", "127.0.0.1")
    assert good["ms"] > 0
    assert good["bytes"] > 0
    assert (bad["status"], bad["code"]) == (422, "invalid_values")
    assert (unknown["status"], unknown["code"]) == (401, "unauthenticated")
    assert "caller" not in unknown


def test_the_access_log_may_be_a_sample_and_never_waits(tmp_path: Path) -> None:
    log = AccessLog(AccessLogConfig(str(tmp_path / "log"), sample=0.0))
    assert not log.wants(200)
    assert log.wants(503)
    assert log.wants(404)
    for _ in range(30_000):
        log.add(None)  # type: ignore[arg-type]
    assert log.dropped == 10_000


def test_metrics_are_answered_by_the_server(held: Held) -> None:
    with running(served(held, Guard())) as client:
        client.post("/predict", json=ROW)
        client.post("/predict", content=b"{")
        text = client.get("/metrics").text
    assert 'liminal_requests_total{outcome="ok",version="5"} 1.0' in text
    assert 'liminal_requests_total{outcome="client_error",version="5"} 1.0' in text
    assert 'liminal_refusals_total{code="invalid_json"} 1.0' in text
    assert 'liminal_model_info{model="held",run_id="",version="5"} 1.0' in text
    assert "liminal_requests_under_way 0.0" in text


def test_answers_say_little_of_the_server(held: Held) -> None:
    with running(served(held, Guard())) as client:
        headers = client.post("/predict", json=ROW).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


class _Bomb:
    """What runs when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/m/infer"])
def test_nothing_is_unpickled(client: httpx.Client, path: str, tmp_path: Path) -> None:
    bomb = pickle.dumps(_Bomb(tmp_path / "boom"))
    wrapped = base64.b64encode(bomb).decode()
    bodies = [bomb, wrapped.encode(), json.dumps({"records": [{"carrier": wrapped}]}).encode()]
    kinds = [
        "application/json",
        "application/octet-stream",
        "application/x-pickle",
        "application/python-pickle",
        "application/vnd.apache.arrow.stream",
        "text/csv",
        "",
    ]
    for kind in kinds:
        for body in bodies:
            answer = client.post(path, content=body, headers={"content-type": kind})
            assert 400 <= answer.status_code < 500
    assert not (tmp_path / "boom").exists()


def test_every_protocol_says_who_may_ask_and_when_to_come_back(held: Held) -> None:
    keys = AuthConfig(keys={"one": digest(KEY.encode())})
    guard = Guard(Limits(rate=0.01, burst=1), Authenticator(keys))
    paths = ["/predict", "/invocations", "/v2/models/m/infer"]
    with running(served(held, guard)) as client:
        for path in paths:
            assert "www-authenticate" in client.post(path, json=ROW).headers
        client.headers["x-api-key"] = KEY
        client.post("/predict", json=ROW)
        for path in paths:
            refused = client.post(path, json=ROW)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 1


@pytest.fixture
def raw(held: Held, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ServingApp, int]]:
    """The server as a worker runs it: its port."""
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.4)
    app = served(held, Guard(Limits(timeout_seconds=0.4, bodies_mb=2.0)))
    config = uvicorn.Config(app, port=0, log_level="critical", http=GuardedProtocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield app, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def said(port: int, sent: bytes, pause: float = 0.0) -> bytes:
    """What the server says until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        time.sleep(pause)
        parts = []
        try:
            while part := client.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def test_slow_and_endless_requests(raw: tuple[ServingApp, int]) -> None:
    _, port = raw
    with ThreadPoolExecutor(4) as pool:
        nothing = pool.submit(said, port, b"")
        head = pool.submit(said, port, b"POST /predict HTTP/1.1\r\nhost: x\r\n")
        body = pool.submit(
            said, port, b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
        )
        endless = pool.submit(said, port, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300_000)
        assert nothing.result().startswith(b"HTTP/1.1 408")
        assert head.result().startswith(b"HTTP/1.1 408")
        assert body.result().startswith(b"HTTP/1.1 408")
        assert b"slow_request" in body.result()
        assert endless.result()[:12] in (b"HTTP/1.1 431", b"")


def test_a_flood_is_survived_in_bounded_memory(raw: tuple[ServingApp, int]) -> None:
    app, port = raw
    row = b'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n{"a":1}'
    large = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n" + b" " * 1000000
    before = _resident_mb()
    clients = []
    for number in range(300):
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        client.setblocking(False)
        clients.append(client)
        with suppress(BlockingIOError):
            client.send((row * 20, large, row[:30])[number % 3])
    until(lambda: app.guard.under_way == 0)
    for client in clients:
        client.close()
    assert app.guard._held == 0
    assert _resident_mb() - before < 150
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        assert client.post("/predict", json=ROW).status_code == 200


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6
