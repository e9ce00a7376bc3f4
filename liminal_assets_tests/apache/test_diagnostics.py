"""What the original ignored or broke on is reported, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.apache import Examination, examine_projects, find_apache, resolve_projects
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets_tests.apache.conftest import Write


def _examine(folder: Path) -> Examination:
    tree = find_apache(folder)
    assert tree is not None
    return examine_projects(tree, environ={"REGION": "north"})


def _said(folder: Path) -> list[str]:
    """Each diagnostic as ``file:line:column: severity: code: message | hint``, in short."""
    return [
        f"{Path(d.location.file).relative_to(folder)}:{d.location.line}:{d.location.column}: "
        f"{d.severity}: {d.code}: {d.message}{f' | {d.hint}' if d.hint else ''}"
        for d in _examine(folder).diagnostics
    ]


TASK = """\
name: mine
executors: [{executor: k8s, type: kubernetes}]
variables: {shared: x, group: {inner: y}}
pipelines:
  - pipeline: p
    tasks:
      - {task: t, ...}
"""


@pytest.mark.parametrize(
    ("task", "said"),
    [
        pytest.param("type: python, cmd: 'true', image: i, executors: 2, executor: k8s", [],
                     id="all is well"),
        pytest.param("type: python, env: {A: b}",
                     ["7:33: warning: ignored-key: 'env' in a python task was never read"
                      " | environment variables are 'env_vars'"], id="env"),
        pytest.param("type: python, comand: x, cmds: y",
                     ["7:33: warning: ignored-key: 'comand' in a python task was never read"
                      " | did you mean 'cmd'?",
                      "7:44: warning: ignored-key: 'cmds' in a python task was never read"
                      " | did you mean 'cmd'?"], id="misspelt"),
        pytest.param("type: python, timeout_minutes: 5",
                     ["7:33: warning: ignored-key: 'timeout_minutes' in a python task was never"
                      " read | it was read in a pipeline"], id="elsewhere"),
        pytest.param("type: python, mounts: [{mount: m, volume: v, pth: /x}]",
                     ["7:64: warning: ignored-key: 'pth' in mounts was never read"
                      " | did you mean 'path'?"], id="in a mount"),
        pytest.param("type: pyton",
                     ["7:25: error: unknown-task-type: no task is of type 'pyton'"
                      " | did you mean 'python'?"], id="unknown type"),
        pytest.param("cmd: x", ["7:9: error: missing-key: 'type' is missing"], id="no type"),
        pytest.param("type: python, executor: k9s",
                     ["7:43: error: unknown-executor: no executor is called 'k9s'"
                      " | did you mean 'k8s'?"], id="unknown executor"),
        pytest.param("type: python, cmd: '{{ shared }} {{REGION}}'", [], id="resolved"),
        pytest.param("type: python, cmd: 'a {{shard}}'",
                     ["7:38: warning: unresolved-variable: nothing is called 'shard':"
                      " {{shard}} stays as it is | did you mean 'shared'?"], id="unresolved"),
        pytest.param("type: python, cmd: '{{prev_ds}}'",
                     ["7:38: warning: unresolved-variable: nothing is called 'prev_ds':"
                      " {{prev_ds}} stays as it is | Airflow filled it in when the task ran"],
                     id="Airflow's names"),
        pytest.param("type: python, cmd: '{{yesterday_ds}}'", [], id="a name of the run's moment"),
        pytest.param("type: python, cmd: '{{two words}}'",
                     ["7:38: warning: unresolved-variable: nothing is called 'two words':"
                      " {{two words}} stays as it is"
                      " | a name has letters, digits, '.', '_' and '-'"], id="no name"),
        pytest.param("type: python, cmd: '{{own}} {{inner}}', variables: {own: 1, inner: 2}", [],
                     id="a task's own variables come when it runs"),
        pytest.param("type: python, cmd: '{{inner}}', variables: group", [],
                     id="a task's own variables by name"),
        pytest.param("type: python, cmd: '{{group}}'",
                     ["7:38: warning: variable-not-text: 'group' is no text: its value is written"
                      " out as Python shows it"], id="a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_task_is_told_at_its_place(
    write: Write, task: str, said: list[str]
) -> None:
    folder = write(TASK.replace("...", task))
    assert _said(folder) == [f"liminal.yml:{line}" for line in said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("monitoring: {metrics_backends: [{metrics_backend: m, type: aws_cloudwach}]}",
                     "2:60: error: invalid-value: type: must be 'aws_cloudwatch' or 'prometheus',"
                     " not 'aws_cloudwach' | did you mean 'aws_cloudwatch'?",
                     id="type of a metrics backend"),
        pytest.param("monitoring: {alerts_backends: [{alerts_backend: a, type: aws_cloudwatch,"
                     " metrics_backend: m}]}",
                     "2:91: error: unknown-metrics-backend: no metrics backend is called 'm'",
                     id="alarms on nothing"),
        pytest.param("type: sub\npipelnes: []",
                     "3:1: warning: ignored-key: 'pipelnes' at the top of the file was never read"
                     " | did you mean 'pipelines'?", id="misspelt section"),
        pytest.param("pipelines: [{pipeline: p, metrics: {namespace: N}}]",
                     "2:27: warning: ignored-key: 'metrics' in a pipeline was never read"
                     " | it was read at the top of the file", id="metrics of a pipeline"),
        pytest.param("pipelines: [{pipeline: p, always_run: true}]",
                     "2:27: warning: ignored-key: 'always_run' in a pipeline was never read"
                     " | it was read at the top of the file", id="always_run of a pipeline"),
        pytest.param("pipelines: [{pipeline: p, default_x: 1, retries: 2, labels: {}}]", None,
                     id="arguments of a pipeline's operators"),
        pytest.param("pipeline_defaults: {before_tasks: []}",
                     "2:21: warning: ignored-key: 'before_tasks' in a pipeline was never read"
                     " | only those in the 'pipeline_defaults' of a super ('type: super') run",
                     id="before_tasks where they don't run"),
        pytest.param("task_defaults: {pythn: {}}",
                     "2:17: warning: ignored-key: no task is of type 'pythn', so these defaults"
                     " have no effect | did you mean 'python'?", id="defaults of no type"),
        pytest.param("task_defaults: {python: {env: {}}}",
                     "2:26: warning: ignored-key: 'env' in a python task was never read"
                     " | environment variables are 'env_vars'", id="env in defaults"),
        pytest.param("services: [{service: s, image: i, ports: [80]}]",
                     "2:35: warning: ignored-key: 'ports' in a service was never read"
                     " | did you mean 'port'?", id="in a service"),
        pytest.param("executors: [{executor: e, type: emr, cluster_nam: x}]",
                     "2:38: warning: ignored-key: 'cluster_nam' in an emr executor was never"
                     " read | did you mean 'cluster_name'?", id="in an executor"),
        pytest.param("images: [{image: i, type: python, src: .}]",
                     "2:35: warning: ignored-key: 'src' in a python image was never read"
                     " | did you mean 'source'?", id="in an image"),
        pytest.param("volumes: [{volume: v, storageClassName: fast}]", None,
                     id="a volume takes what Kubernetes takes"),
        pytest.param("secrets: [{secret: s, path: x}]",
                     "2:23: warning: ignored-key: 'path' in a secret was never read"
                     " | known: local_path_file, secret", id="in a secret"),
        pytest.param("type: supper",
                     "2:7: warning: invalid-value: the type 'supper' means 'sub': a file that"
                     " inherits | did you mean 'super'?", id="type"),
        pytest.param("executors: [{executor: e, type: kube}]",
                     "2:33: error: unknown-executor-type: no executor is of type 'kube'"
                     " | known: airflow, emr, kubernetes, local; a plugin would be"
                     " plugins/executors/kube.py",
                     id="executor type"),
        pytest.param("images: [{image: i, type: pyton, source: .}]",
                     "2:27: error: unknown-image-type: no image is of type 'pyton'"
                     " | did you mean 'python'?", id="image type"),
        pytest.param("images: [{image: i}]", None, id="an image that isn't built needs no type"),
        pytest.param("pipelines: [{}]", "2:13: error: missing-key: 'pipeline' is missing",
                     id="a pipeline without a name"),
        pytest.param("pipelines: [{pipeline: p}, {pipeline: p}]",
                     "2:39: error: duplicate-name: the pipeline name 'p' is taken"
                     " | the first is at line 2", id="two pipelines"),
        pytest.param("services: [{service: s}, {service: s}]",
                     "2:36: error: duplicate-name: the service name 's' is taken"
                     " | the first is at line 2", id="two services"),
        pytest.param("pipelines: [{pipeline: p, tasks: [{task: end, type: job_end}]}]",
                     "2:42: error: duplicate-name: the task name 'end' is taken"
                     " | the first is the base's", id="a task of the base"),
        pytest.param("executors: [{executor: e}, {executor: e}]",
                     "2:39: error: duplicate-name: the executor name 'e' is taken"
                     " | the first is at line 2", id="two executors"),
        pytest.param("executors: [{type: emr}]", "2:13: error: missing-key: 'executor' is missing"
                     " | 'executor: its_name'", id="an executor without a name"),
        pytest.param("super: uper", "2:8: error: missing-super: no file is called 'uper'"
                     " | known: base", id="missing super"),
        pytest.param("services: [{image: {{b}}}]", "2:21: error: key: a key must be a plain word"
                     " | put quotes around {{ … }}", id="a placeholder without quotes"),
        pytest.param("super: [a]", "2:8: error: invalid-type: super must be a plain word",
                     id="super is a list"),
        pytest.param("pipelines: [x]", "2:13: error: invalid-type: each of pipelines must be a"
                     " mapping, not 'x' | start each item with '- pipeline: …'", id="no mapping"),
        pytest.param("type: sub\nvariables: []", "3:12: error: invalid-type: variables must be a"
                     " mapping", id="variables are a list"),
        pytest.param("pipelines: [{pipeline: p, tasks: [{task: t, type: python}]}]\n"
                     "task_defaults: {python: x}", "3:25: error: invalid-type: the defaults of"
                     " python tasks must be a mapping | write their keys below 'python:', or leave"
                     " it out", id="defaults are a word"),
        pytest.param("task_defaults: {python: x}", None, id="defaults that no task needs"),
        pytest.param("pipelines: [{pipeline: p, tasks: [{task: t, type: [x]}]}]", "2:51: error:"
                     " invalid-type: type must be a plain word", id="type is a list"),
        pytest.param("type: sub\nowner: 2020-13-01", "3:8: error: yaml: '2020-13-01':"
                     " month must be in 1..12 | put quotes around it", id="no date"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_at_its_place(
    write: Write, text: str, said: str | None
) -> None:
    folder = write(f"name: mine\n{text}\n")
    assert _said(folder) == ([f"liminal.yml:{said}"] if said else [])


def test_a_placeholder_at_the_end_of_too_long_a_chain_is_told_where_it_starts(
    write: Write,
) -> None:
    folder = write("""\
        name: mine
        type: sub
        variables:
          a: '{{b}}'
          b: '{{c}}'
          c: '{{d}}'
          d: '{{e}}'
          e: x
    """)
    assert _said(folder) == [
        "liminal.yml:4:6: warning: unresolved-variable: {{e}} stays as it is: too many variables"
        " lead to 'e' | write 'e' above the variables that use it"
    ]


def test_what_a_super_writes_is_reported_once_for_all_that_inherit_it(write: Write) -> None:
    folder = write(
        {
            "a/liminal.yml": "{name: a, super: upper, pipelines: [{pipeline: p}]}",
            "b/liminal.yml": "{name: b, super: upper, pipelines: [{pipeline: q}]}",
            "liminal.yml": """\
                name: upper
                type: super
                pipeline_defaults:
                  before_tasks:
                    - {task: first, type: quux_9, cmd: '{{nowhere}}'}
                pipelines: [{pipeline: lost}]
            """,
        }
    )
    assert _said(folder) == [
        "liminal.yml:5:27: error: unknown-task-type: no task is of type 'quux_9'"
        " | known: create_cloudformation_stack, delete_cloudformation_stack, job_end, job_start,"
        " pipeline, python, spark, sql; a plugin would be plugins/tasks/quux_9.py",
        "liminal.yml:5:40: warning: unresolved-variable: nothing is called 'nowhere':"
        " {{nowhere}} stays as it is",
        "liminal.yml:6:1: warning: ignored-key: pipelines of a super were never inherited"
        " | write them in the files with 'super: upper'",
    ]


def test_pipelines_of_one_name_in_two_files_clash(write: Write) -> None:
    folder = write(
        {
            "a/liminal.yml": "{name: a, pipelines: [{pipeline: p}]}",
            "b/liminal.yml": "{name: b, pipelines: [{pipeline: p}]}",
        }
    )
    assert _said(folder) == [
        "b/liminal.yml:1:34: error: duplicate-name: the pipeline name 'p' is taken"
        f" | the first is at {folder}/a/liminal.yml:1"
    ]


def test_a_broken_file_hides_none_of_the_others(write: Write) -> None:
    folder = write(
        {
            "a/liminal.yml": "{name: a, services: [}",
            "b/liminal.yml": "{name: b, super: c, services: []}",
            "c/liminal.yml": "{name: c, type: super, executors: x}",
            "d/liminal.yml": "{name: d, services: []}",
        }
    )
    found = _examine(folder)
    assert [project.name for project in found.projects] == ["d"]
    assert [(Path(d.location.file).parent.name, d.code) for d in found.obstacles] == [
        ("a", "yaml"),
        ("c", "invalid-type"),
    ]
    with pytest.raises(InvalidProjectError) as caught:
        resolve_projects(folder)
    assert caught.value.diagnostics == found.obstacles


@pytest.mark.parametrize("kind", ["tasks", "executors", "images"])
@pytest.mark.parametrize("module", ["mine.py", "mine/__init__.py", "deeper/mine.py"])
def test_a_plugin_is_a_module_called_like_the_type(write: Write, kind: str, module: str) -> None:
    text = {
        "tasks": "pipelines: [{pipeline: p, tasks: [{task: t, type: mine, anything: 1}]}]",
        "executors": "executors: [{executor: e, type: mine, anything: 1}]",
        "images": "images: [{image: i, type: mine, source: ., anything: 1}]",
    }[kind]
    folder = write({"liminal.yml": f"name: x\n{text}\n", f"plugins/{kind}/{module}": ""})
    assert _said(folder) == []


def test_a_plugin_of_liminal_home_is_known(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = {"home/liminal/plugins/tasks/mine.py": ""}
    text = "{name: x, pipelines: [{pipeline: p, tasks: [{task: t, type: mine}]}]}"
    folder = write({"project/liminal.yml": text, **home}) / "project"
    assert [line.split(": ")[2] for line in _said(folder)] == ["unknown-task-type"]
    monkeypatch.setenv("LIMINAL_HOME", str(tmp_path / "home"))
    assert _said(folder) == []


def test_a_plugin_beside_the_file_is_known_with_a_warning(write: Write) -> None:
    text = "{name: x, pipelines: [{pipeline: p, tasks: [{task: t, type: mine}]}]}"
    folder = write({"liminal.yml": text, "tasks/mine.py": ""})
    assert _said(folder) == [
        "liminal.yml:1:61: warning: misplaced-plugin: the plugin 'mine' stands in tasks/"
        " | Apache Liminal looked for it in plugins/tasks/"
    ]
