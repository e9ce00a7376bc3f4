from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from liminal_assets.errors import StepError
from liminal_assets.execution.tasks.spark import SparkTask
from liminal_assets_tests.workflows import found, run_of, task_of

_EVERYTHING = """
type: spark
application_arguments: {--query: "select 'a b'", --output: table}
application_source: app.py
conf: {spark.driver.memory: 1g, spark.driver.maxResultSize: 2g}
class: org.example.App
master: yarn
"""


@pytest.mark.parametrize(
    ("task", "command"),
    [
        pytest.param(
            _EVERYTHING,
            [
                *("spark-submit", "--master", "yarn", "--class", "org.example.App"),
                *("--conf", "spark.driver.maxResultSize=2g", "--conf", "spark.driver.memory=1g"),
                *("app.py", "--query", "select 'a b'", "--output", "table"),
            ],
            id="options come before the application, arguments after",
        ),
        pytest.param(
            "{type: spark, application_source: app.jar, application_arguments: [in, 2, true]}",
            ["spark-submit", "app.jar", "in", "2", "True"],
            id="a list of arguments is taken as it is",
        ),
        pytest.param(
            "{type: spark, application_source: a.py, conf: {spark: {executor: {cores: 2}, b: x}}}",
            ["spark-submit", "--conf", "spark.b=x", "--conf", "spark.executor.cores=2", "a.py"],
            id="nested properties get their whole names",
        ),
        pytest.param(
            "{type: spark, application_source: a.py, master: '', class:, executors: 1}",
            ["spark-submit", "a.py"],
            id="blank options are left out",
        ),
    ],
)
def test_the_command_for_a_cluster(tmp_path: Path, task: str, command: list[str]) -> None:
    spec, workflow = task_of(tmp_path, _keys(task))
    assert SparkTask(spec, workflow).command(run_of(workflow)) == command


@pytest.mark.parametrize(
    ("options", "master"),
    [
        pytest.param("", [], id="Spark's own default"),
        pytest.param("executors: 3", ["--master", "local[3]"], id="worker threads"),
        pytest.param("executors: 3\nmaster: yarn", ["--master", "yarn"], id="the task's"),
        pytest.param(
            "executors: 3\nconf: {spark.master: yarn}",
            ["--conf", "spark.master=yarn"],
            id="that of its properties",
        ),
    ],
)
def test_the_master_in_a_container(tmp_path: Path, options: str, master: list[str]) -> None:
    spec, workflow = task_of(tmp_path, f"type: spark\napplication_source: a.py\n{options}")
    container = SparkTask(spec, workflow).container(run_of(workflow))
    assert container.command == ["spark-submit", *master, "a.py"]
    assert container.workers == 1


def test_a_container_has_the_tasks_environment_and_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("env", raising=False)
    monkeypatch.delenv("LIMINAL_HOME", raising=False)
    spec, workflow = task_of(
        tmp_path,
        """
        type: spark
        image: my_spark
        application_source: a.py
        env_vars: {LEVEL: 3}
        mounts: [{mount: m, volume: data, path: /mnt/data}]
        """,
        "volumes: [{volume: data, local: {path: .}}]",
    )
    container = SparkTask(spec, workflow).container(run_of(workflow))
    assert container.image == "my_spark"
    assert container.environment == {
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "env": "default",
        "LEVEL": "3",
    }
    assert [(mount.name, mount.path) for mount in container.mounts] == [("data", "/mnt/data")]


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        pytest.param([], r"no Spark on this machine.*liminal-assets\[spark\]", id="no PySpark"),
        pytest.param(["spark-submit"], "needs Java.*default-jre-headless", id="no Java"),
    ],
)
def test_a_machine_that_lacks_something_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: list[str], said: str
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    spec, workflow = task_of(tmp_path, "type: spark\napplication_source: a.py")
    with pytest.raises(StepError, match=rf"yml:6:\d+: .*{said}"):
        SparkTask(spec, workflow).check_machine({"PATH": str(tmp_path)})


def test_mistakes_are_found_at_their_lines(tmp_path: Path) -> None:
    spec, workflow = task_of(
        tmp_path,
        """
        type: spark
        conf: [a]
        application_arguments: text
        cmd: python app.py
        """,
    )
    assert found(SparkTask.check(spec, workflow)) == [
        (5, "missing-key"),
        (7, "invalid-type"),
        (8, "invalid-type"),
        (9, "ignored-key"),
    ]


def _keys(task: str) -> str:
    """The keys of a task, also of one in braces."""
    return yaml.safe_dump(yaml.safe_load(task), sort_keys=False)
