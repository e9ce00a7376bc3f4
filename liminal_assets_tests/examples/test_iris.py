"""The iris example: trained, released and served as its README says, and its modern version."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from liminal_assets.apache.services import servers_of
from liminal_assets.execution.services import Ports, service_program
from liminal_assets.language.loading import load_project
from liminal_assets_tests.commands import liminal

IRIS = Path(__file__).parents[2] / "examples" / "iris"
README = (IRIS / "README.md").read_text(encoding="utf-8")
FLOWER = {"petal_length": 4.9, "petal_width": 1.8}


@pytest.fixture
def iris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy on a machine without an engine and without a cluster."""
    for name in ("LIMINAL_EXECUTOR", "LIMINAL_HOME", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("LIMINAL_ENGINE", "none")
    ignored = shutil.ignore_patterns("store", "__pycache__", ".liminal")
    return Path(shutil.copytree(IRIS, tmp_path / "iris", ignore=ignored))


@contextmanager
def _served(folder: Path) -> Iterator[Callable[..., str]]:
    """Asks the example's service, which runs as 'liminal start' has it run."""
    workflow = load_project(folder).workflow
    assert workflow is not None
    [server] = servers_of(workflow)
    program = service_program(server, Ports(workflow.state))
    environment = {**os.environ, **program.environment}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            program.arguments, cwd=program.folder, env=environment, stdout=log, stderr=log
        )
    try:
        _wait_for(f"{program.url}{program.health}", process)
        yield lambda path, body=None: _asked(f"{program.url}{path}", body)
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            _asked(url)
        except (URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{url} doesn't answer")


def _asked(url: str, body: object = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data=data), timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
def test_its_tasks_train_and_release_a_model_that_its_service_answers_with(iris: Path) -> None:
    done = liminal("run", "--project", iris, "--json")
    assert done.code == 0, done.err
    assert {row["state"] for row in done.json["assets"]} == {"done"}
    assert (iris / "store" / "production" / "1.joblib").is_file()
    with _served(iris) as ask:
        assert json.loads(ask("/predict", FLOWER)) == {
            "species": "virginica",
            "probability": 0.576,
            "version": 1,
        }
        assert "petal_length" in json.loads(ask("/predict", "no flower"))["error"]
        assert ask("/healthcheck") == "ok"
        assert ask("/version") == "1"


def test_there_is_nothing_to_mend(iris: Path) -> None:
    done = liminal("migrate", "--project", iris)
    assert (done.out, done.err) == ("", "nothing to change\n")


@pytest.mark.slow
def test_the_modern_version_runs_once_what_the_readme_decides_is_decided(
    iris: Path, with_mlflow: Callable[[Path], Path]
) -> None:
    with_mlflow(iris)
    assert liminal("migrate", "--project", iris, "--modern", "--write").code == 0
    [steps] = re.findall(r"```python\n(.*?)```", README, re.S)
    assert "def learn_species_rows" in (iris / "iris_steps.py").read_text()
    (iris / "iris_steps.py").write_text(steps)
    file = iris / "liminal.yml"
    text = re.sub(r"target: target # TODO.*", "target: species", file.read_text())
    text = re.sub(
        r"# TODO: what learn_species/validate.*", "- {metric: accuracy, at_least: 0.9}", text
    )
    file.write_text(text)
    assert liminal("validate", "--project", iris, "--json").json == []
    done = liminal("run", "--project", iris, "--select", "+iris_server_api", "--json")
    assert done.code == 0, done.err
    assert done.json["champions"]["learn_species_model"]["version"] == 1
