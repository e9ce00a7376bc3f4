"""What was never read, or broke, is put right; every other character stays."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liminal_assets.apache import examine_projects
from liminal_assets.apache.migration import Mended, mend, read_sources
from liminal_assets_tests.apache.conftest import Write
from liminal_assets_tests.apache.generated import projects


def _mend(folder: Path) -> Mended:
    mended = mend(read_sources(folder))
    assert mended is not None
    return mended


FILE = """\
---
# Ada's project
name:   mine   # two blanks stay
executors: [{executor: k8s, type: kubernetes}]
pipelines:
  - pipeline: p
    start_date: 1970-01-01
    tasks:
      - task: t
        type: python
        ...
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("env: {A: b}  # why", "env_vars: {A: b}  # why", id="env"),
        pytest.param("env: {A: b, C: d}\nenv_vars: {A: a}", "env_vars: {A: a, C: d}",
                     id="env goes into env_vars, which wins"),
        pytest.param("env_vars:\n  A: a\nenv:\n    B: [1,\n      2]  # list\ncmd: x",
                     "env_vars:\n  A: a\n  B: [1,\n    2]\ncmd: x", id="env below env_vars"),
        pytest.param("env:\n  A: b  # why\n  C: d\nenv_vars: {A: 'x, y', E: f}",
                     "env_vars:\n  A: 'x, y'  # why\n  C: d\n  E: f",
                     id="comments of env stay where env_vars has no lines of its own"),
        pytest.param("env_vars:\nenv: {A: b}", "env_vars: {A: b}", id="env_vars is blank"),
        pytest.param("executer: k8s", "executer: k8s", id="two words are close: it stays"),
        pytest.param("mountz: []", "mounts: []", id="misspelt"),
        pytest.param("comand: x", "comand: x", id="not close enough"),
        pytest.param("descripton: a\ndescription: b", "descripton: a\ndescription: b",
                     id="the right word is there already"),
        pytest.param("executor: k8", "executor: k8s", id="misspelt executor"),
        pytest.param("cmd: {{ x }}", "cmd: '{{ x }}'", id="a placeholder alone"),
        pytest.param("cmd: {{x}} it's  # why", "cmd: '{{x}} it''s'  # why",
                     id="a placeholder first"),
        pytest.param("env_vars: {A: say {{x}}, B: '{{y}}'}",
                     "env_vars: {A: 'say {{x}}', B: '{{y}}'}",
                     id="a placeholder in braces"),
        pytest.param("cmd: a\ncmd: a", "cmd: a", id="a key written twice alike"),
        pytest.param("cmd: a\ncmd: b", "# written twice: the one below counted\n# cmd: a\ncmd: b",
                     id="a key written twice"),
        pytest.param("cmd: a\nretries: {a: 1}\nretries: {b: 2}", None, id="two mappings stay"),
    ],
)  # fmt: skip
def test_a_task_is_put_right(write: Write, before: str, after: str | None) -> None:
    def file(task: str) -> str:
        return FILE.replace("...", task.replace("\n", "\n        "))

    folder = write(file(before))
    mended = _mend(folder)
    expected = file(before if after is None else after)
    assert mended.after.texts[folder / "liminal.yml"] == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("pipelines:\n  - pipeline: p\n    monitoring: {metrics_backends: []}\n"
                     "    tasks: []\n",
                     "monitoring: {metrics_backends: []}\n"
                     "pipelines:\n  - pipeline: p\n    tasks: []\n",
                     id="monitoring of a pipeline"),
        pytest.param("pipelines:\n  - pipeline: p\n    metrics:\n      namespace: N\n"
                     "    tasks: []\n",
                     "metrics:\n  namespace: N\npipelines:\n  - pipeline: p\n    tasks: []\n",
                     id="metrics of a pipeline"),
        pytest.param("pipelines: [{pipeline: p, metrics: {namespace: N}}]\n"
                     "metrics: {namespace: N}\n",
                     "pipelines: [{pipeline: p}]\nmetrics: {namespace: N}\n",
                     id="metrics at both places"),
        pytest.param("pipelines: [{pipeline: p, metrics: {namespace: N}}]\n"
                     "metrics: {namespace: M}\n", None, id="metrics that differ stay"),
        pytest.param("pipelines: [{pipeline: p, always_run: true}, {pipeline: q}]\n", None,
                     id="always_run of one of two stays"),
        pytest.param("variables:\n  # first\n  a: '{{b}}'\n  # second\n  b: '{{c}}'  # c\n"
                     "  c: '{{d}}'\n  d: '{{e}}'\n  e: x\nservices: []\n",
                     "variables:\n  # first\n  e: x\n  d: '{{e}}'\n  c: '{{d}}'\n"
                     "  # second\n  b: '{{c}}'  # c\n  a: '{{b}}'\nservices: []\n",
                     id="variables bottom up"),
        pytest.param("variables: {a: '{{b}}', b: '{{c}}', c: '{{d}}', d: '{{e}}', e: x}\n"
                     "services: []\n",
                     "variables: {e: x, d: '{{e}}', c: '{{d}}', b: '{{c}}', a: '{{b}}'}\n"
                     "services: []\n",
                     id="variables in braces"),
        pytest.param("variables: {a: '{{b}}', b: '{{a}}', c: x}\nservices: []\n", None,
                     id="a circle of variables stays"),
        pytest.param("images:\n  - {image: i, type: python, python_version: 3.6}\n",
                     "images:\n  - {image: i, type: python, python_version: '3.12'}\n",
                     id="old Python"),
        pytest.param("images: [{image: i, type: python, python_version: 3.10}]\n",
                     "images: [{image: i, type: python, python_version: '3.10'}]\n",
                     id="a version that YAML reads as 3.1"),
        pytest.param("images: [{image: i, type: python, python_version: 3.12}]\n", None,
                     id="a version as it should be"),
        pytest.param("images:\n  - image: i\n    type: python\n  - image: i\n    type: spark\n",
                     "images:\n  # another image has its name: the one below counted\n"
                     "  # - image: i\n  #   type: python\n  - image: i\n    type: spark\n",
                     id="two images"),
        pytest.param("volumes: [{volume: v, local: {path: .}}, {volume: v, local: {path: .}}]\n"
                     "services: []\n", "volumes: [{volume: v, local: {path: .}}]\nservices: []\n",
                     id="a volume written twice"),
        pytest.param("pipelines:\n- pipeline: p\n  tasks:\n  - {task: end, type: job_end}\n",
                     "pipelines:\n- pipeline: p\n  tasks:\n  - {task: end_2, type: job_end}\n",
                     id="a task called like the base's"),
        pytest.param("pipelnes: []\nservices: []\n", "pipelines: []\nservices: []\n",
                     id="misspelt section"),
        pytest.param("images: [{image: i, type: pythn, source: .}]\n",
                     "images: [{image: i, type: python, source: .}]\n", id="misspelt type"),
        pytest.param("metric:\r\n  namespace: N\r\nservices: []\r\n",
                     "metrics:\r\n  namespace: N\r\nservices: []\r\n",
                     id="line ends of Windows"),
        pytest.param("services: [{service: s, image: i}]", None, id="nothing to do"),
    ],
)  # fmt: skip
def test_a_file_is_put_right(write: Write, before: str, after: str | None) -> None:
    folder = write({})
    file = folder / "liminal.yml"
    file.write_bytes(f"name: mine\n{before}".encode())
    mended = _mend(folder)
    assert mended.after.texts[file] == f"name: mine\n{before if after is None else after}"


def test_each_change_has_a_reason_at_its_line_in_the_file_as_it_was(write: Write) -> None:
    folder = write("""\
        name: mine
        pipelines:
          - pipeline: p
            shedule: 0 * 1 * *
            tasks:
              - task: t
                type: python
                env: {A: b}
    """)
    assert [(reason.location.line, reason.text) for reason in _mend(folder).reasons] == [
        (4, "'shedule' is 'schedule'"),
        (8, "environment variables are 'env_vars'"),
    ]


def test_a_misspelt_super_is_the_one_of_the_other_file(write: Write) -> None:
    folder = write(
        {"liminal.yml": "{name: a, super: uper}", "b/liminal.yml": "{name: upper, type: super}"}
    )
    assert _mend(folder).changed == {folder / "liminal.yml": "{name: a, super: upper}"}


def test_only_the_file_that_was_asked_for_changes(write: Write) -> None:
    text = "{name: NAME, pipelnes: []}"
    folder = write({f"{name}/liminal.yml": text.replace("NAME", name) for name in "ab"})
    (folder / "liminal.yml").write_text("{name: c, services: [], metric: {}}")
    assert [*_mend(folder / "liminal.yml").changed] == [folder / "liminal.yml"]


def test_a_task_in_an_anchor_is_put_right_once(write: Write) -> None:
    folder = write("""\
        name: mine
        pipelines:
          - pipeline: p
            tasks:
              - &first {task: t, type: python, env: {A: b}}
              - {<<: *first, task: u}
    """)
    [text] = _mend(folder).changed.values()
    assert text.count("env_vars: {A: b}") == 1
    assert "env:" not in text
    assert _mend(folder).left == ()


def test_plugins_go_where_they_are_looked_for(write: Write) -> None:
    pipelines = "[{pipeline: p, tasks: [{task: t, type: mine}]}]"
    folder = write(
        {"liminal.yml": f"{{name: x, pipelines: {pipelines}}}", "tasks/mine.py": "", "tasks/a": ""}
    )
    mended = _mend(folder)
    assert [(move.source, move.target) for move in mended.moves] == [
        (folder / "tasks", folder / "plugins" / "tasks")
    ]
    assert mended.left == ()


def test_a_folder_that_is_an_image_too_stays(write: Write) -> None:
    folder = write(
        {
            "liminal.yml": """\
                name: x
                images:
                  - image: i
                    type: python
                    source: tasks
                pipelines: [{pipeline: p, tasks: [{task: t, type: mine}]}]
            """,
            "tasks/mine.py": "",
        }
    )
    mended = _mend(folder)
    assert mended.moves == ()
    assert [diagnostic.code for diagnostic in mended.left] == ["misplaced-plugin"]


def test_what_someone_must_decide_is_left(write: Write) -> None:
    folder = write("""\
        name: mine
        pipelines:
          - pipeline: p
            tasks: [{task: t, type: quux, executor: e, cmd: '{{nowhere}}'}]
    """)
    codes = [diagnostic.code for diagnostic in _mend(folder).left]
    assert codes == ["unknown-task-type", "unknown-executor", "unresolved-variable"]


@pytest.mark.parametrize("text", ["a: [", "name: x\ndatasets: []\n", "just words"], ids=str)
def test_what_is_no_apache_project_is_none(write: Write, text: str) -> None:
    assert mend(read_sources(write(text))) is None


_styles = st.sampled_from([True, False, None])


def _written(files: list[dict[str, Any]], folder: Path, flow: bool | None) -> None:
    for number, file in enumerate(files):
        place = folder / str(number)
        place.mkdir()
        text = yaml.safe_dump(file, sort_keys=False, default_flow_style=flow, width=60)
        (place / "liminal.yml").write_text(f"# {number}\n{text}", encoding="utf-8")


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files=projects(), flow=_styles)
def test_a_project_put_right_needs_nothing_more_and_means_what_it_meant(
    files: list[dict[str, Any]], flow: bool | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        _written(files, folder, flow)
        sources = read_sources(folder)
        mended = mend(sources)
    assert mended is not None
    again = mend(mended.after)
    assert again is not None
    assert again.changed == {}
    assert again.left == mended.left
    concerned = {Path(reason.location.file) for reason in mended.reasons}
    assert set(mended.changed) == concerned
    assert all(text.startswith("# ") for text in mended.after.texts.values())
    _same_but_for_environments(mended)


def _same_but_for_environments(mended: Mended) -> None:
    """Random projects have 'env' and nothing else whose right form is plain."""
    trees = [mended.before.tree(), mended.after.tree()]
    before, after = (
        {
            project.name: _without_environments(project.as_dict())
            for project in examine_projects(tree, environ={}).projects
        }
        for tree in trees
        if tree is not None
    )
    assert before == after


def _without_environments(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_environments(item)
            for key, item in value.items()
            if key not in ("env", "env_vars")
        }
    return [_without_environments(item) for item in value] if isinstance(value, list) else value
