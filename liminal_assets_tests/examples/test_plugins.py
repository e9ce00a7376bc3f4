"""The example package of plugins: installed by pip, found by its entry points, and of use."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from liminal_assets.apache.images.finding import image_builder
from liminal_assets.apache.workflow import Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.plugins import plugin_mistakes, run_task
from liminal_assets_tests.workflows import run_of, task_of, workflow_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package, installed by pip without a network into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugins")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "build"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-index", "--no-deps", "--no-build-isolation", "--target", folder / "site", source]
    subprocess.run(pip, check=True)
    sys.path.insert(0, str(folder / "site"))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(folder / "site"))
    for name in [name for name in sys.modules if name.startswith("liminal_example_plugins")]:
        del sys.modules[name]


pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self.send_response(503 if self.path == "/down" else 200)
            self.end_headers()
            self.wfile.write(f"{self.headers.get('X-Word')} {body}".encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(folder: Path, url: str, expect: str) -> dict[str, object]:
    keys = f"type: http\nurl: {url}\nmethod: POST\nheaders: {{X-Word: hello}}\nbody: world\n"
    spec, workflow = task_of(folder, f"{keys}expect: {expect}")
    run = run_of(workflow)
    run_task(spec, run)
    return run.results


def test_the_task_asks_and_tells_what_it_found(tmp_path: Path, url: str) -> None:
    results = ask(tmp_path, url, "{status: 200, contains: hello world, within: 5}")
    assert results["status"] == 200
    assert results["bytes"] == len("hello world")


@pytest.mark.parametrize(
    ("path", "expect", "message"),
    [
        ("/down", "{contains: hello}", "answered 503: hello world"),
        ("/", "{contains: bye}", "doesn't say 'bye': hello world"),
        ("/", "{within: 0.0000001}", ""),
    ],
    ids=["status", "text", "time"],
)
def test_an_answer_that_was_not_expected_fails_the_task(
    tmp_path: Path, url: str, path: str, expect: str, message: str
) -> None:
    with pytest.raises(StepError) as raised:
        ask(tmp_path, url + path, expect)
    assert message in raised.value.message
    assert raised.value.location is not None
    assert raised.value.location.line >= 6


def test_what_cannot_be_reached_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="can't be reached") as raised:
        ask(tmp_path, "http://127.0.0.1:9", "{}")
    assert raised.value.transient


def test_validation_asks_the_classes_of_the_package(tmp_path: Path) -> None:
    workflow = workflow_of(
        tmp_path,
        """\
        name: shop
        executors: [{executor: heavy, type: queue, slots: 0}]
        pipelines:
          - pipeline: nightly
            tasks:
              - {task: up, type: http, url: 'ftp://x', expect: {statsu: 200}}
        """,
    )
    found = [(item.location.line, item.code, item.hint) for item in plugin_mistakes(workflow)]
    assert found == [
        (2, "invalid-value", None),
        (6, "url", "url: https://example.com/health"),
        (6, "unknown-key", "did you mean 'status'?"),
    ]


def queued(folder: Path, slots: int) -> Workflow:
    return workflow_of(
        folder,
        f"""\
        name: shop
        executors: [{{executor: heavy, type: queue, slots: {slots}, nice: 7}}]
        pipelines:
          - pipeline: nightly
            tasks:
              - {{task: a, type: python, executor: heavy, cmd: 'date +%s.%N; nice; sleep 0.6'}}
              - {{task: b, type: python, executor: heavy, cmd: 'date +%s.%N; nice'}}
        """,
    )


@pytest.mark.parametrize("slots", [1, 2])
def test_the_executor_runs_so_many_tasks_at_once_and_gently(
    tmp_path: Path, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMINAL_ENGINE", "none")
    monkeypatch.delenv("LIMINAL_EXECUTOR", raising=False)
    workflow = queued(tmp_path, slots)
    first, second = (task for task in workflow.pipelines["nightly"].tasks if task.type == "python")
    lines: dict[str, list[str]] = {"a": [], "b": []}
    thread = threading.Thread(target=run_task, args=(first, run_of(workflow, lines=lines["a"])))
    thread.start()
    while not lines["a"]:
        time.sleep(0.01)
    run_task(second, run_of(workflow, lines=lines["b"]))
    thread.join()
    waited = "waits for one of 1 slots of 'heavy'" in lines["b"]
    assert waited == (slots == 1)
    began = float(lines["b"][-2]) - float(lines["a"][0])
    assert (began >= 0.6) == (slots == 1)
    assert lines["a"][1] == lines["b"][-1] == "7"


def test_the_image_has_its_packages_before_its_source(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    workflow = workflow_of(
        tmp_path,
        "name: shop\nimages: [{image: t, type: alpine, source: tools, packages: [jq, bash]}]\n",
    )
    image = workflow.images["t"]
    text = image_builder(image, workflow)(image, workflow).dockerfile()
    assert str(text).splitlines()[:2] == ["FROM alpine:3.22", "RUN apk add --no-cache bash jq"]
    assert str(text).index("apk add") < str(text).index("COPY --chown=app . /app/")
    assert str(text).endswith("USER app\n")
