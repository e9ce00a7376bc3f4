"""Types of tasks and executors: which class, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.plugins import (
    executor_of,
    executor_spec,
    plugin_mistakes,
    run_task,
    task_of,
)
from liminal_assets_tests import workflows

GREETING = """
from liminal_assets.plugins import InProcessTask, TaskRun
from plugins.tasks import words

class Greeting(InProcessTask):
    def run(self, run: TaskRun) -> None:
        import shop_words  # late, and of the project's folder
        run.log(f"{words.HELLO} {self.spec.get('who')} {shop_words.BYE}")
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def greeting_project(folder: Path, hello: str = "hello") -> Path:
    folder.mkdir(exist_ok=True)
    write(folder, "plugins/tasks/greeting.py", GREETING)
    write(folder, "plugins/tasks/words.py", f"HELLO = {hello!r}\n")
    write(folder, "shop_words.py", f"BYE = 'bye {hello}'\n")
    return folder


@pytest.fixture(autouse=True)
def _no_forced_executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LIMINAL_EXECUTOR", "LIMINAL_HOME", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


def test_a_plugin_of_the_project_runs_with_its_own_modules(tmp_path: Path) -> None:
    lines: list[str] = []
    spec, workflow = workflows.task_of(greeting_project(tmp_path), "type: greeting\nwho: world")
    run_task(spec, workflows.run_of(workflow, lines=lines))
    assert lines == ["hello world bye hello"]


def test_projects_of_one_process_each_have_their_own_plugins(tmp_path: Path) -> None:
    lines: list[str] = []
    runs = []
    for hello in ("hello", "salut"):
        folder = greeting_project(tmp_path / hello, hello)
        spec, workflow = workflows.task_of(folder, "type: greeting\nwho: you")
        runs.append((spec, workflows.run_of(workflow, lines=lines)))
    for spec, run in [*runs, *runs]:
        run_task(spec, run)
    assert lines == ["hello you bye hello", "salut you bye salut"] * 2


def test_a_plugin_executor_knows_the_task_class_of_another_plugin(tmp_path: Path) -> None:
    greeting_project(tmp_path)
    write(
        tmp_path,
        "plugins/executors/twice.py",
        "from liminal_assets.plugins import Executor\n"
        "from plugins.tasks import greeting\n\n"
        "class Twice(Executor):\n"
        "    supported = (greeting.Greeting,)\n\n"
        "    def execute(self, task, run):\n"
        "        task.run(run)\n"
        "        task.run(run)\n",
    )
    lines: list[str] = []
    spec, workflow = workflows.task_of(
        tmp_path,
        "type: greeting\nwho: you\nexecutor: mine",
        "executors: [{executor: mine, type: twice}]",
    )
    run_task(spec, workflows.run_of(workflow, lines=lines))
    assert lines == ["hello you bye hello"] * 2


@pytest.mark.parametrize(
    ("module", "message", "hint"),
    [
        pytest.param(
            "X = 1\n", "no subclass of liminal_assets.plugins.Task", "import Task", id="none"
        ),
        pytest.param(
            "from liminal_assets.plugins import InProcessTask\n"
            "class A(InProcessTask):\n    def run(self, run): ...\n"
            "class B(A): ...\n",
            "2 subclasses of liminal_assets.plugins.Task: A, B",
            "__all__",
            id="several",
        ),
        pytest.param(
            "from liminal_assets.plugins import InProcessTask\nclass A(InProcessTask): ...\n",
            "no subclass",
            "A lacks: run",
            id="no run method",
        ),
        pytest.param(
            "from liminal.runners.airflow.model import task\n",
            "was written for Apache Liminal",
            "liminal_assets.plugins.InProcessTask",
            id="of the original",
        ),
        pytest.param(
            "from airflow.operators.bash import BashOperator\n",
            "was written for Apache Liminal",
            "docs/plugins.md",
            id="airflow",
        ),
        pytest.param(
            "import no_such_module\n", "No module named 'no_such_module'", "", id="import"
        ),
        pytest.param("def f(:\n", "SyntaxError", "", id="syntax"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_one_message_at_the_type(
    tmp_path: Path, module: str, message: str, hint: str
) -> None:
    file = write(tmp_path, "plugins/tasks/odd.py", module)
    spec, workflow = workflows.task_of(tmp_path, "type: odd")
    with pytest.raises(StepError) as raised:
        task_of(spec, workflow)
    assert message in raised.value.message
    assert str(file) in raised.value.message
    assert hint in (raised.value.hint or "")
    assert raised.value.location == spec.locate("type")


def test_all_may_name_the_one_class_that_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        "plugins/tasks/odd.py",
        "from liminal_assets.plugins import InProcessTask\n"
        "__all__ = ['B']\n"
        "class A(InProcessTask):\n    def run(self, run): ...\n"
        "class B(A): ...\n",
    )
    task = task_of(*workflows.task_of(tmp_path, "type: odd"))
    assert type(task).__name__ == "B"


def test_an_unknown_type_is_told_with_what_would_be_right(tmp_path: Path) -> None:
    spec, workflow = workflows.task_of(tmp_path, "type: pyton")
    with pytest.raises(StepError, match="no task is of type 'pyton'") as raised:
        task_of(spec, workflow)
    assert raised.value.hint == "did you mean 'python'?"


PYTHON = "type: python\nimage: app\ncmd: 'true'\nexecutor: "
EXECUTORS = """
executors:
  - {executor: here, type: local}
  - {executor: cluster, type: kubernetes}
  - {executor: hadoop, type: emr}
"""


@pytest.mark.parametrize(
    ("executor", "forced", "cluster", "name", "instead"),
    [
        ("here", None, False, "here", None),
        ("cluster", None, True, "cluster", None),
        ("cluster", None, False, "cluster", "no cluster is configured"),
        ("cluster", "kubernetes", False, "cluster", None),
        ("cluster", "local", True, "cluster", "LIMINAL_EXECUTOR=local"),
        ("here", "kubernetes", False, "default_k8s", None),
        ("hadoop", None, False, "hadoop", None),
        ("hadoop", "local", False, "hadoop", "LIMINAL_EXECUTOR=local"),
        ("''", None, False, "local", None),
        ("''", "kubernetes", False, "default_k8s", None),
    ],
)
def test_a_container_runs_where_its_executor_and_the_machine_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    forced: str | None,
    cluster: bool,
    name: str,
    instead: str | None,
) -> None:
    if cluster:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    if forced:
        monkeypatch.setenv("LIMINAL_EXECUTOR", forced)
    task = task_of(*workflows.task_of(tmp_path, PYTHON + executor, EXECUTORS))
    spec, because = executor_spec(task, task.workflow)
    assert spec.name == name
    assert (instead in because) if instead and because else because is instead


def test_an_executor_refuses_tasks_of_other_kinds(tmp_path: Path) -> None:
    spec, workflow = workflows.task_of(tmp_path, PYTHON + "airflow_executor")
    with pytest.raises(StepError, match="'airflow' can't run a task of type 'python'") as raised:
        executor_of(task_of(spec, workflow), workflow)
    assert raised.value.location == spec.locate("executor")
    assert "InProcessTask" in (raised.value.hint or "")
    [mistake] = plugin_mistakes(workflow)
    assert (mistake.code, mistake.location) == ("unsupported-task", spec.locate("executor"))


def test_a_wrong_forced_executor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMINAL_EXECUTOR", "docker")
    task = task_of(*workflows.task_of(tmp_path, PYTHON + "''"))
    with pytest.raises(StepError, match="LIMINAL_EXECUTOR=docker names no executor"):
        executor_of(task, task.workflow)


def test_what_a_plugin_raises_is_one_message_with_the_line(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "plugins/tasks/odd.py",
        "from liminal_assets.plugins import InProcessTask\n"
        "class Odd(InProcessTask):\n    def run(self, run):\n        raise ValueError('no luck')\n",
    )
    spec, workflow = workflows.task_of(tmp_path, "type: odd")
    with pytest.raises(StepError, match="the task 't' raised ValueError: no luck") as raised:
        run_task(spec, workflows.run_of(workflow))
    assert f"{file}:4 in run" in raised.value.message
    assert raised.value.location == spec.locate()


def test_deep_validation_warns_of_plugins_of_the_original_and_asks_each_class(
    tmp_path: Path,
) -> None:
    write(tmp_path, "plugins/executors/old.py", "from liminal.runners.airflow.model import task\n")
    write(
        tmp_path,
        "plugins/tasks/strict.py",
        "from liminal_assets.plugins import Diagnostic, InProcessTask\n"
        "class Strict(InProcessTask):\n"
        "    def run(self, run): ...\n"
        "    @classmethod\n"
        "    def check(cls, spec, workflow):\n"
        "        yield Diagnostic(spec.locate('colour'), 'colour', 'not that one')\n",
    )
    _, workflow = workflows.task_of(
        tmp_path,
        "type: strict\ncolour: red",
        "      - {task: u, type: python}\nexecutors: [{executor: old, type: old}]",
    )
    found = sorted(plugin_mistakes(workflow))
    assert [(item.location.line, item.code, item.severity) for item in found] == [
        (7, "colour", "error"),
        (8, "missing-key", "error"),
        (9, "plugin-of-original", "warning"),
    ]
