"""``type: pipeline``: where a pipeline's own tasks go, or another pipeline as one task."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.plugins import plugin_mistakes, run_task
from liminal_assets_tests.workflows import run_of, workflow_of

DEFAULTS = """\
name: shop
task_defaults: {python: {image: app}}
pipeline_defaults:
  tasks:
    - {task: prepare, type: python, cmd: 'echo prepare'}
    - {task: own, type: pipeline}
    - {task: tidy, type: python, cmd: 'echo tidy'}
"""


@pytest.mark.parametrize(
    ("pipeline", "tasks"),
    [
        pytest.param(
            "tasks: [{task: a, type: python, cmd: x}, {task: b, type: python, cmd: x}]",
            ["start", "prepare", "a", "b", "tidy", "end"],
            id="around its tasks",
        ),
        pytest.param("owner: me", ["start", "prepare", "tidy", "end"], id="no tasks of its own"),
    ],
)
def test_in_the_defaults_it_stands_for_the_tasks_of_a_pipeline(
    tmp_path: Path, pipeline: str, tasks: list[str]
) -> None:
    workflow = workflow_of(tmp_path, f"{DEFAULTS}pipelines:\n  - pipeline: p\n    {pipeline}\n")
    found = workflow.pipelines["p"].tasks
    assert [task.name for task in found] == tasks
    assert {task.get("image") for task in found if task.type == "python"} == {"app"}


def test_in_the_defaults_of_a_super_it_stands_between_its_tasks_before_and_after(
    tmp_path: Path,
) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper" / "liminal.yml").write_text(
        DEFAULTS.replace("name: shop", "name: upper\ntype: super")
        + "  before_tasks: [{task: first, type: python, cmd: x}]\n"
    )
    workflow = workflow_of(
        tmp_path,
        "name: shop\nsuper: upper\npipelines:\n"
        "  - {pipeline: p, tasks: [{task: a, type: python, cmd: x}]}\n",
    )
    names = [task.name for task in workflow.pipelines["p"].tasks]
    assert names == ["start", "first", "prepare", "a", "tidy", "end"]


OTHERS = """\
name: shop
super: bare
pipelines:
  - pipeline: outer
    tasks:
      - {task: before, type: python, cmd: 'echo before'}
      - {task: inner, type: pipeline, pipeline: PIPELINE}
  - pipeline: other
    tasks:
      - {task: one, type: python, cmd: 'echo 1'}
      - {task: two, type: python, cmd: 'echo 2; exit CODE'}
"""


def others(folder: Path, pipeline: str, code: int = 0) -> str:
    (folder / "bare").mkdir(exist_ok=True)
    (folder / "bare" / "liminal.yml").write_text("{name: bare, type: super, super: base}")
    return OTHERS.replace("PIPELINE", pipeline).replace("CODE", str(code))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMINAL_ENGINE", "none")
    monkeypatch.setenv("LIMINAL_EXECUTOR", "local")
    monkeypatch.delenv("LIMINAL_HOME", raising=False)


def test_elsewhere_it_runs_the_tasks_of_another_pipeline_in_order(tmp_path: Path) -> None:
    workflow = workflow_of(tmp_path, others(tmp_path, "other"))
    lines: list[str] = []
    [inner] = [task for task in workflow.pipelines["outer"].tasks if task.name == "inner"]
    run_task(inner, run_of(workflow, lines=lines))
    said = [line for line in lines if line.endswith((": 1", ": 2"))]
    assert said == ["one: 1", "two: 2"]


def test_it_fails_where_a_task_of_the_other_pipeline_does(tmp_path: Path) -> None:
    workflow = workflow_of(tmp_path, others(tmp_path, "other", code=3))
    [inner] = [task for task in workflow.pipelines["outer"].tasks if task.name == "inner"]
    with pytest.raises(StepError, match="the task 'two' ended with exit code 3"):
        run_task(inner, run_of(workflow))


@pytest.mark.parametrize(
    ("pipeline", "code", "hint"),
    [
        ("othr", "unknown-pipeline", "did you mean 'other'?"),
        ("outer", "pipeline-cycle", None),
        ("''", "missing-key", "runs another pipeline"),
    ],
)
def test_what_it_cannot_run_is_a_mistake_and_fails_the_task(
    tmp_path: Path, pipeline: str, code: str, hint: str | None
) -> None:
    workflow = workflow_of(tmp_path, others(tmp_path, pipeline))
    [mistake] = [item for item in plugin_mistakes(workflow) if item.code == code]
    assert (hint or "") in (mistake.hint or "")
    [inner] = [task for task in workflow.pipelines["outer"].tasks if task.name == "inner"]
    with pytest.raises(StepError) as raised:
        run_task(inner, run_of(workflow))
    assert raised.value.message == mistake.message
