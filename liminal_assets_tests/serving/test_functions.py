"""Functions beside a model: called as Apache Liminal's endpoints are, guarded as the model is."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.pipeline import Pipeline

import liminal_assets as la
from liminal_assets.language.deep import deep_mistakes
from liminal_assets.language.deployments import SERVER_PATHS
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.serving import create_app
from liminal_assets.serving.app import ServingApp
from liminal_assets.serving.config import EndpointFunction, Endpoints, Limits, WorkerConfig
from liminal_assets.serving.functions import Functions
from liminal_assets.serving.guards.auth import AuthConfig, Authenticator, digest
from liminal_assets.serving.guards.guard import Guard
from liminal_assets.serving.log.spool import Spool
from liminal_assets.serving.observing.watch import Watch
from liminal_assets.serving.worker import make_app
from liminal_assets_tests.serving.conftest import SIGNATURE, running
from liminal_assets_tests.serving.guards.test_protection import config, project

KEY = "a-key-of-tests-that-nobody-knows"
GO = threading.Event()


def echo(body: bytes) -> bytes:
    """Says it again.

    And again.
    """
    return body


def nothing() -> str:
    return "1"


def thing(body: bytes) -> Any:
    return {"é": json.loads(body)}, 201, {"X-Who": "me", "Content-Length": "99"}


def none(body: bytes) -> None:
    return None


async def later(body: bytes) -> str:
    await asyncio.sleep(0)
    return "later"


def fails(body: bytes) -> None:
    raise ValueError("the secret of the function")


async def leaves(body: bytes) -> None:
    raise SystemExit(7)


def splits(body: bytes) -> Any:
    return "x", {"x-said": body.decode("latin-1")}


def waits(body: bytes) -> str:
    GO.wait(20)
    return "at last"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"/{function.__name__}": function
    for function in (echo, nothing, thing, none, later, fails, leaves, splits, waits)
}


def serving(app: ServingApp, guard: Guard | None = None, threads: int = 8) -> ServingApp:
    """The server of a model with the functions."""
    watch = Watch()
    functions = Functions(FUNCTIONS, watch.metrics, threads)
    return ServingApp(app.live, guard=guard, watch=watch, functions=functions)


@pytest.fixture(scope="module")
def beside(app: ServingApp) -> Iterator[httpx.Client]:
    with running(serving(app)) as client:
        yield client


@pytest.fixture(autouse=True)
def _go() -> Iterator[None]:
    GO.clear()
    yield
    GO.set()


def test_the_model_and_the_functions_answer(beside: httpx.Client, row: dict[str, Any]) -> None:
    assert beside.post("/predict", json=row).json()["model_version"] == "7"
    for method in ("GET", "POST"):
        assert beside.request(method, "/nothing").text == "1"
    answer = beside.post("/echo", content=b"\xff")
    assert (answer.content, answer.headers["content-type"]) == (b"\xff", "application/octet-stream")
    answer = beside.post("/thing", content=b"[1]")
    assert (answer.status_code, answer.json()) == (201, {"é": [1]})
    assert (answer.headers["x-who"], answer.headers["content-length"]) == ("me", "11")
    assert beside.post("/none").status_code == 204
    assert beside.post("/later").text == "later"
    assert beside.head("/echo").status_code == 200
    assert "there are /predict" in beside.post("/other").json()["error"]["message"]
    assert beside.delete("/echo").headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize("path", ["/fails", "/leaves", "/splits"])
def test_a_function_that_fails_is_an_incident(beside: httpx.Client, path: str) -> None:
    answer = beside.post(path, content=b"a\r\nset-cookie: b")
    assert answer.status_code == 500
    assert "incident" in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert "set-cookie" not in answer.headers
    assert beside.get("/nothing").text == "1"


def test_the_guards_of_the_model_are_theirs(app: ServingApp) -> None:
    auth = Authenticator(AuthConfig(keys={"one": digest(KEY.encode())}))
    limits = Limits(max_body_mb=0.001, timeout_seconds=3.0, under_way=2)
    GO.clear()
    guard = Guard(limits, auth)
    with running(serving(app, guard)) as client, ThreadPoolExecutor(2) as pool:
        assert client.post("/echo").status_code == 401
        client.headers["x-api-key"] = KEY
        assert client.post("/echo", content=b"x" * 2000).status_code == 413
        assert client.post("/echo", content=b"", headers={"content-encoding": "br"}).is_error
        late = [pool.submit(client.post, "/waits") for _ in range(2)]
        deadline = time.monotonic() + 20
        # a request that asks how many there are would itself keep one of them out
        while guard.under_way < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        answer = client.get("/nothing")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        for waiting in late:
            said = waiting.result()
            assert (said.status_code, said.json()["error"]["code"]) == (504, "timeout")
        assert client.get("/nothing").text == "1"


def test_an_application_of_ones_own_has_them(pipeline: Pipeline) -> None:
    app = create_app(pipeline, SIGNATURE, endpoints={"/echo": echo})
    with running(app) as client:
        assert client.post("/echo", content=b"1").content == b"1"
    with pytest.raises(la.StepError, match="the server has /predict already"):
        create_app(pipeline, SIGNATURE, endpoints={"/predict": echo})


def test_they_are_counted(beside: httpx.Client) -> None:
    beside.post("/echo", content=b"1")
    beside.post("/fails")
    text = beside.get("/metrics").text
    assert 'liminal_endpoint_requests_total{endpoint="/echo",outcome="ok"}' in text
    assert 'liminal_endpoint_requests_total{endpoint="/fails",outcome="server_error"}' in text
    assert 'liminal_endpoint_seconds_total{endpoint="/echo"}' in text


def test_a_worker_imports_them_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "own_endpoints.py").write_text("import own_helper\nhello = own_helper.hello\n")
    (tmp_path / "own_helper.py").write_text("def hello(body):\n    return body.upper()\n")
    functions = (EndpointFunction("/hello", "own_endpoints", "hello"),)
    said = WorkerConfig("late", str(tmp_path), endpoints=Endpoints(str(tmp_path), functions))
    with running(make_app(WorkerConfig.from_json(said.to_json()))) as client:
        # without a model they answer too
        assert client.get("/readyz").status_code == 503
        assert client.post("/hello", content=b"a").text == "A"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "endpoint /x: .* has no function 'f'"),
        ("import nothing_like_that", "ModuleNotFoundError: No module named 'nothing_like_that'"),
    ],
)
def test_a_function_that_is_not_there_is_told(tmp_path: Path, source: str, message: str) -> None:
    module = f"own_broken_{len(source)}"
    (tmp_path / f"{module}.py").write_text(source)
    endpoints = Endpoints(str(tmp_path), (EndpointFunction("/x", module, "f"),))
    with pytest.raises(la.StepError, match=message):
        make_app(WorkerConfig("late", str(tmp_path), endpoints=endpoints))


WRONG = {
    "endpoints: [{endpoint: /predict, module: m, function: f}]": "the model answers at '/predict'",
    "endpoints: [{endpoint: v2/x, module: m, function: f}]": "the model answers at '/v2/x'",
    "endpoints: [{endpoint: '/{x}', module: m, function: f}]": "endpoint",
    "endpoints: [{endpoint: /x, function: f}]": "module",
    "endpoints: [{endpoint: /x, module: m, function: f}, {endpoint: x, module: m, function: g}]": (
        "two endpoints are at '/x'"
    ),
}


@pytest.mark.parametrize("serve", WRONG)
def test_what_is_wrong_is_told_at_its_line(tmp_path: Path, serve: str) -> None:
    with pytest.raises(InvalidProjectError) as caught:
        project(tmp_path, serve)
    diagnostic, *_ = caught.value.diagnostics
    assert diagnostic.location.line == 20
    assert WRONG[serve] in str(diagnostic)


def test_validate_imports_them_and_the_workers_are_told(tmp_path: Path) -> None:
    made = project(
        tmp_path,
        "endpoints:\n"
        "  - {endpoint: /hello, module: own_functions, function: hello}\n"
        "  - {endpoint: /bye, module: own_functions, function: by}\n"
        "endpoint_threads: 1",
    )
    (tmp_path / "own_functions.py").write_text("def hello(body): ...\ndef bye(body): ...\n")
    (mistake,) = [one for one in deep_mistakes(made) if one.code == "function"]
    assert (mistake.location.line, mistake.hint) == (22, "did you mean 'bye'?")
    assert config(made).endpoints == Endpoints(
        str(tmp_path),
        (
            EndpointFunction("/hello", "own_functions", "hello"),
            EndpointFunction("/bye", "own_functions", "by"),
        ),
        1,
    )


def test_the_language_knows_the_paths_of_the_server(app: ServingApp, tmp_path: Path) -> None:
    paths = {route.path for route in ServingApp(app.live, log=Spool(tmp_path)).router.routes}
    assert {path for path in paths if not path.startswith("/v2/")} == SERVER_PATHS
