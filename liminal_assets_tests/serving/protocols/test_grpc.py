"""gRPC beside HTTP: the same guards, and servers whose workers share its port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

import liminal_assets as la
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import Grpc, Limits, Tls
from liminal_assets.serving.control.live import LiveModel, State
from liminal_assets.serving.control.plan import read_plan, version_of
from liminal_assets.serving.engine import Sticky
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, digest
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.port import _listening_inodes, shared_port
from liminal_assets.serving.protocols import inference_grpc
from liminal_assets.serving.protocols.inference_messages import SERVICE, messages
from liminal_assets_tests.certificates import certificate
from liminal_assets_tests.serving.conftest import running
from liminal_assets_tests.serving.guards.test_auth import SECRET, claims, tokens
from liminal_assets_tests.serving.guards.test_guard import KEY, Held, served
from liminal_assets_tests.serving.shelf import Serving, Shelf, serving, until

OURS = messages()


@pytest.fixture
def held() -> Iterator[Held]:
    model = Held()
    yield model
    model.go.set()


@contextmanager
def calling(app: ServingApp, **options: Any) -> Iterator[Any]:
    """A client of the application's gRPC."""
    with running(app) as http:
        assert app.grpc is not None
        with triton.InferenceServerClient(f"127.0.0.1:{app.grpc.port}", **options) as client:
            client.http = http
            yield client


def spoken(app: ServingApp, **settings: Any) -> ServingApp:
    """The same application with gRPC."""
    return ServingApp(app.live, guard=app.guard, grpc=Grpc(**settings))


def ask(client: Any, *values: float, version: str = "", **options: Any) -> Any:
    """What a client is answered for some rows."""
    tensor = triton.InferInput("a", [len(values)], "FP64")
    tensor.set_data_from_numpy(np.array(values))
    name = "held" if hasattr(client, "http") else "shop.late"
    return client.infer(name, [tensor], model_version=version, **options)


def refusal(call: Callable[..., Any], *values: Any, **options: Any) -> tuple[str, str]:
    """The status and the text of a refused call."""
    with pytest.raises(InferenceServerException) as caught:
        call(*values, **options)
    return str(caught.value.status()).removeprefix("StatusCode."), caught.value.message()


def test_a_model_that_hangs_is_given_up(held: Held) -> None:
    with calling(spoken(served(held, Guard(Limits(timeout_seconds=0.5))))) as client:
        status, message = refusal(ask, client, 13.0)
        assert (status, message) == ("DEADLINE_EXCEEDED", "there was no answer after 0.5 s")
        assert ask(client, 1.0).get_response().model_version == "5"


def test_a_call_whose_message_does_not_come_is_given_up(held: Held) -> None:
    app = spoken(served(held, Guard(Limits(timeout_seconds=0.3))))
    go_on = threading.Event()

    def nothing() -> Iterator[bytes]:
        go_on.wait(20)
        yield from ()

    with calling(app), grpc.insecure_channel(f"127.0.0.1:{app.grpc.port}") as channel:  # type: ignore[union-attr]
        call = channel.stream_unary(f"/{SERVICE}/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(nothing(), timeout=20)
        go_on.set()
        assert caught.value.details() == "the request wasn't complete after 0.3 s"  # type: ignore[attr-defined]
        assert app.guard.under_way == 0
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=20)
        assert caught.value.details() == "there was no message"  # type: ignore[attr-defined]


def test_a_caller_who_goes_away_is_forgotten(held: Held) -> None:
    app = spoken(served(held, Guard()))
    with calling(app) as client:
        status, _ = refusal(ask, client, 13.0, client_timeout=0.3)
        assert status == "DEADLINE_EXCEEDED"
        until(lambda: app.guard.under_way == 0)


def test_too_many_at_once_over_either_protocol_are_told_to_come_back(held: Held) -> None:
    app = spoken(served(held, Guard(Limits(under_way=2))))
    with calling(app) as client, ThreadPoolExecutor(2) as pool:
        over_http = pool.submit(client.http.post, "/predict", json={"a": 13})
        over_grpc = pool.submit(ask, client, 13.0)
        until(lambda: app.guard.under_way == 2)
        assert refusal(ask, client, 1.0) == ("UNAVAILABLE", "too many requests are under way")
        assert client.http.post("/predict", json={"a": 1}).status_code == 503
        assert client.is_server_live()
        held.go.set()
        assert over_http.result().status_code == 200
        assert over_grpc.result().as_numpy("prediction").tolist() == [1.0]


def test_large_messages_count_as_large_bodies(held: Held) -> None:
    app = spoken(served(held, Guard(Limits(bodies_mb=0.1, max_rows=1_000_000))))
    with calling(app) as client:
        status, message = refusal(ask, client, *[1.0] * 20_000)
        assert (status, message.split(" take ")[-1]) == ("UNAVAILABLE", "too much memory")
        assert app.guard._held == 0
        assert len(ask(client, *[1.0] * 5_000).as_numpy("prediction")) == 5_000


def test_a_message_that_unpacks_to_more_than_the_limit_is_refused(held: Held) -> None:
    app = served(held, Guard(Limits(max_body_mb=0.1)))
    with calling(spoken(app)) as client:
        status, _ = refusal(ask, client, *[1.0] * 100_000, compression_algorithm="gzip")
        assert status == "RESOURCE_EXHAUSTED"
        assert ask(client, 1.0, compression_algorithm="gzip")


def test_keys_and_rates_hold_over_grpc(held: Held) -> None:
    keys = AuthConfig(keys={"one": digest(KEY.encode())})
    guard = Guard(Limits(rate=0.01, burst=2), Authenticator(keys))
    with calling(spoken(served(held, guard))) as client:
        for said in ({}, {"x-api-key": "another"}, {"authorization": "Basic abc"}):
            assert refusal(ask, client, 1.0, headers=said)[0] == "UNAUTHENTICATED"
        assert ask(client, 1.0, headers={"authorization": f"Bearer {KEY}"})
        assert client.http.post("/predict", json={"a": 1}, headers={"x-api-key": KEY}).is_success
        said = {"x-api-key": KEY, "content-length": "x", "content-encoding": "gzip"}
        assert refusal(ask, client, 1.0, headers=said)[0] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("others", "status"),
    [
        ({}, "OK"),
        ({"exp": 1.0}, "UNAUTHENTICATED"),
        ({"aud": "another"}, "UNAUTHENTICATED"),
        ({"iss": "https://another"}, "UNAUTHENTICATED"),
        ({"scope": "read"}, "PERMISSION_DENIED"),
        ({"key": "another-secret-of-thirty-two-bytes!"}, "UNAUTHENTICATED"),
    ],
    ids=["right", "expired", "audience", "issuer", "scope", "signature"],
)
def test_tokens_hold_over_grpc_as_over_http(
    held: Held, others: dict[str, Any], status: str
) -> None:
    guard = Guard(authenticator=tokens(scopes=("predict",)))
    said = {"scope": "predict", "key": SECRET, **others}
    token = jwt.encode(claims(**{**said, "key": None}), said["key"], "HS256")
    headers = {"authorization": f"Bearer {token}"}
    with calling(spoken(served(held, guard))) as client:
        over_http = client.http.post("/predict", json={"a": 1}, headers=headers).status_code
        if status == "OK":
            assert ask(client, 1.0, headers=headers).as_numpy("prediction").tolist() == [1.0]
            assert over_http == 200
        else:
            assert refusal(ask, client, 1.0, headers=headers)[0] == status
            assert over_http == {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}[status]


def test_a_call_without_a_key_is_refused_before_its_message_is_read(held: Held) -> None:
    guard = Guard(authenticator=Authenticator(AuthConfig(keys={"one": digest(KEY.encode())})))
    app = spoken(served(held, guard))
    go_on = threading.Event()

    def nothing() -> Iterator[bytes]:
        go_on.wait(20)
        yield b""

    with calling(app), grpc.insecure_channel(f"127.0.0.1:{app.grpc.port}") as channel:  # type: ignore[union-attr]
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(f"/{SERVICE}/ModelInfer")(nothing(), timeout=20)
        go_on.set()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


class Settling(Spool):
    """A log that is written when it is told to be."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = threading.Event()
        self.written = threading.Event()

    async def settled(self) -> None:
        self.asked.set()
        while not self.written.is_set():
            await asyncio.sleep(0.01)


def test_a_durable_log_is_written_before_the_answer(held: Held, tmp_path: Path) -> None:
    log = Settling(tmp_path)
    app = ServingApp(served(held, Guard()).live, log=log, grpc=Grpc())
    with calling(app) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, client, 1.0)
        assert log.asked.wait(20)
        time.sleep(0.05)
        assert not answer.done()
        log.written.set()
        assert answer.result().as_numpy("prediction").tolist() == [1.0]


def test_tls_is_that_of_the_certificate(held: Held, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    app = spoken(served(held, Guard()), tls=Tls(str(cert), str(key)))
    with running(app):
        assert app.grpc
        url = f"127.0.0.1:{app.grpc.port}"
        with triton.InferenceServerClient(url, ssl=True, root_certificates=str(cert)) as client:
            assert client.is_server_live()
        with triton.InferenceServerClient(url) as client:
            assert refusal(client.is_server_live)[0] == "UNAVAILABLE"


def test_in_a_rollout_either_version_is_asked_by_its_number(held: Held) -> None:
    app = served(held, Guard())
    stable = app.live.state.model
    assert stable
    from dataclasses import replace

    app = spoken(app)
    app.live.state = State(stable, "6", candidate=replace(stable, version="6"), share=0.0)
    with calling(app) as client:
        for version, answers in {"": "5", "5": "5", "6": "6"}.items():
            assert ask(client, 1.0, version=version).get_response().model_version == answers
        assert list(client.get_model_metadata("held", "6").versions) == ["5", "6"]
        assert client.is_model_ready("held", "6")
        assert not client.is_model_ready("held", "7")
        message = "version '7' doesn't answer; versions '5' and, on trial, '6' do"
        assert refusal(ask, client, 1.0, version="7") == ("NOT_FOUND", message)


def test_callers_who_say_the_same_are_answered_by_the_same_version(held: Held) -> None:
    from dataclasses import replace

    stable = served(held, Guard()).live.state.model
    assert stable
    state = State(stable, "6", candidate=replace(stable, version="6"), share=50.0)
    with calling(
        ServingApp(LiveModel(state), grpc=Grpc(), sticky=Sticky.of("X-User-Id"))
    ) as client:
        seen = {
            user: {
                ask(client, 1.0, headers={"x-user-id": user}).get_response().model_version
                for _ in range(4)
            }
            for user in map(str, range(20))
        }
        said = client.http.post("/predict", json={"a": 1}, headers={"x-user-id": "7"}).json()
    assert all(len(versions) == 1 for versions in seen.values())
    assert set.union(*seen.values()) == {"5", "6"}
    assert {said["model_version"]} == seen["7"]


def test_clients_connect_anew_without_a_failure(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_grpc, "_CONNECTION_SECONDS", 0.2)
    watch = Peers()
    with calling(ServingApp(served(held, Guard()).live, watch=watch, grpc=Grpc())) as client:
        deadline = time.monotonic() + 20
        while len(watch.seen) < 4:
            assert time.monotonic() < deadline
            assert ask(client, 1.0).as_numpy("prediction").tolist() == [1.0]


class Peers(Watch):
    """Sees the ends of connections."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[Any] = set()

    def begin(self, flight: Any, scope: Any, route: str) -> None:
        self.seen.add(scope["client"])


def test_a_shared_port_is_shared_with_nobody_else() -> None:
    with shared_port(Grpc()) as first:
        with (
            pytest.raises(la.StepError, match=f"port {first.port} of 127.0.0.1 is taken") as caught,
            shared_port(first),
        ):
            pytest.fail("two have one port")
        assert "--grpc-port" in str(caught.value.hint)
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind((first.host, first.port))
            worker.listen()
            # the keeper of the port takes no connection
            with socket.create_connection((first.host, first.port)):
                worker.settimeout(5)
                worker.accept()[0].close()


@contextmanager
def asking(server: Serving) -> Iterator[Any]:
    """A client with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc}", channel_args=options) as client:
        yield client


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.promote("1")
    return shelf


@pytest.fixture(scope="module")
def server(shelf: Shelf) -> Iterator[Serving]:
    with serving(shelf.folders.root.parent, workers=2) as server:
        yield server


@pytest.mark.slow
def test_workers_share_the_port_and_one_that_dies_is_replaced(server: Serving) -> None:
    until(lambda: len(_listening_inodes(server.grpc)) == 2)
    os.kill(min(server.workers()), signal.SIGKILL)
    until(lambda: len(_listening_inodes(server.grpc)) == 1)
    # the other one answers meanwhile
    for _ in range(5):
        with asking(server) as client:
            result = ask(client, 1.0)
            version = result.get_response().model_version
            assert result.as_numpy("prediction").tolist() == [float(version)]
    until(lambda: len(_listening_inodes(server.grpc)) == 2)


@pytest.mark.slow
def test_sigterm_lets_calls_and_requests_finish(tmp_path: Path) -> None:
    Shelf(tmp_path).promote("1", seconds=0.4)
    with serving(tmp_path, workers=1) as server, asking(server) as client:
        ask(client, 1.0)
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(ask, client, 2.0) for _ in range(3)]
            requests = [pool.submit(server.ask) for _ in range(3)]
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            assert [call.result().as_numpy("prediction").tolist() for call in calls] == [[1.0]] * 3
            assert [request.result().status_code for request in requests] == [200] * 3
        assert server.process.wait(60) == 0
        assert server.process.stdout
        assert server.process.stdout.read() == "gently\n"


@pytest.mark.slow
def test_promotions_under_load_lose_and_mix_no_answer(shelf: Shelf, server: Serving) -> None:
    answers: Counter[str] = Counter()
    wrong: list[str] = []
    over = threading.Event()

    def load() -> None:
        with asking(server) as client:
            while not over.is_set():
                try:
                    result = ask(client, 1.0, 2.0, 3.0)
                except InferenceServerException as error:
                    wrong.append(str(error))
                    continue
                version = result.get_response().model_version
                values = set(result.as_numpy("prediction").tolist())
                if values != {float(version)}:
                    wrong.append(f"{version}: {values}")
                answers[version] += 1

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for version in ("2", "3", "1"):
            shelf.promote(version)
            until(lambda v=version: version_of(read_plan(shelf.folders.plan).stable) == v)  # type: ignore[misc]
            before = answers[version]
            until(lambda v=version, n=before: answers[v] > n + 5)  # type: ignore[misc]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert set(answers) == {"1", "2", "3"}
