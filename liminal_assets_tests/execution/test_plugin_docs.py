"""The plugins of docs/plugins.md run as they are written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from liminal_assets.apache.images.finding import image_builder
from liminal_assets.errors import StepError
from liminal_assets.execution.plugins import plugin_mistakes, run_task
from liminal_assets_tests.workflows import run_of, task_of, workflow_of

TEXT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the page shows, in a project's folder."""
    monkeypatch.setenv("LIMINAL_ENGINE", "none")
    monkeypatch.delenv("LIMINAL_EXECUTOR", raising=False)
    monkeypatch.delenv("LIMINAL_HOME", raising=False)
    for name, code in re.findall(r"```python\n# (plugins/\S+)\n(.*?)```", TEXT, re.S):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)


def shown(kind: str) -> str:
    """The example of YAML that uses a type, its tasks as a pipeline."""
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", TEXT, re.S))
    sections = next(block for block in blocks if kind in str(block))
    tasks = sections.pop("tasks")
    return yaml.safe_dump(
        {"name": "shop", **sections, "pipelines": [{"pipeline": "nightly", "tasks": tasks}]}
    )


@pytest.mark.parametrize(
    ("kind", "lines"), [("greet", ["hello world"]), ("twice", ["hello", "hello"])]
)
def test_its_tasks_and_executors_run(tmp_path: Path, kind: str, lines: list[str]) -> None:
    workflow = workflow_of(tmp_path, shown(kind))
    said: list[str] = []
    [task] = [item for item in workflow.pipelines["nightly"].tasks if item.name == "hello"]
    run_task(task, run_of(workflow, lines=said))
    assert said == lines
    assert list(plugin_mistakes(workflow)) == []


def test_its_task_says_what_is_wrong_before_and_during_a_run(tmp_path: Path) -> None:
    spec, workflow = task_of(tmp_path, "type: greet")
    assert [mistake.code for mistake in plugin_mistakes(workflow)] == ["missing-key"]
    spec, workflow = task_of(tmp_path, "type: greet\nwho: nobody")
    with pytest.raises(StepError, match="nobody to greet") as raised:
        run_task(spec, run_of(workflow))
    assert raised.value.location == spec.locate("who")


def test_its_image_builder_has_a_dockerfile_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "plugins" / "images" / "Dockerfile.julia").write_text("FROM julia\n")
    workflow = workflow_of(tmp_path, "{name: shop, images: [{image: j, type: julia, source: .}]}")
    image = workflow.images["j"]
    file = image_builder(image, workflow)(image, workflow).dockerfile()
    assert isinstance(file, Path)
    assert file.read_text() == "FROM julia\n"
