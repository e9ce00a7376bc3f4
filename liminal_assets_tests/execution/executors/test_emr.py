from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.executors import emr
from liminal_assets.execution.executors.emr import EmrExecutor
from liminal_assets.execution.plugins import run_task
from liminal_assets.execution.task import TaskRun
from liminal_assets_tests.workflows import executor_of, found, run_of, task_of

_BY_NAME = "cluster_name: nightly"


def _cluster(name: str = "nightly", **client: str) -> str:
    import boto3

    instances = {"InstanceCount": 1, "MasterInstanceType": "m5.xlarge"}
    kept = {**instances, "KeepJobFlowAliveWhenNoSteps": True}
    made = boto3.client("emr", **client).run_job_flow(Name=name, Instances=kept)
    return str(made["JobFlowId"])


class _Steps:
    """EMR where steps go from state to state as they are asked for, and can be cancelled, which
    moto's can't."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *statuses: dict[str, Any] | str) -> None:
        from botocore.client import BaseClient

        self.cancelled: list[str] = []
        states = list(statuses)
        real = BaseClient._make_api_call  # type: ignore[attr-defined]

        def answer(client: Any, operation: str, arguments: Any) -> Any:
            if operation == "CancelSteps":
                self.cancelled += arguments["StepIds"]
                return {"CancelStepsInfoList": []}
            if operation == "DescribeStep":
                status = states.pop(0) if len(states) > 1 else states[0]
                if isinstance(status, str):
                    status = {"State": status}
                return {"Step": {"Id": arguments["StepId"], "Status": status}}
            return real(client, operation, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", answer)
        monkeypatch.setattr(emr, "_FIRST", 0.01)


def _run(
    folder: Path, executor: str = _BY_NAME, lines: list[str] | None = None, **more: Any
) -> TaskRun:
    spec, workflow = task_of(
        folder,
        "type: spark\nexecutor: e\nmaster: yarn\napplication_source: s3://code/app.py\n"
        "application_arguments: [--day, 1]",
        f"executors: [{{executor: e, type: emr, {executor}}}]",
    )
    run = run_of(workflow, lines=lines, **more)
    run_task(spec, run)
    return run


def test_a_task_is_a_step_of_the_cluster_of_a_name(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    _cluster("other")
    cluster = _cluster()
    _Steps(monkeypatch, "PENDING", "RUNNING", "RUNNING", "COMPLETED")
    lines: list[str] = []
    run = _run(tmp_path, f"{_BY_NAME}, properties: {{ActionOnFailure: CONTINUE}}", lines)
    [step] = boto3.client("emr").list_steps(ClusterId=cluster)["Steps"]
    assert (step["Name"], step["ActionOnFailure"]) == ("t", "CONTINUE")
    assert step["Config"]["Jar"] == "command-runner.jar"
    assert step["Config"]["Args"] == [
        *("spark-submit", "--master", "yarn", "s3://code/app.py", "--day", "1")
    ]
    assert run.results == {"cluster": cluster, "step": step["Id"]}
    states = [line.rpartition(" ")[2] for line in lines[1:]]
    assert states == ["PENDING", "RUNNING", "COMPLETED"]


def test_a_cluster_may_be_given_by_its_id(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cluster()
    cluster = _cluster()
    _Steps(monkeypatch, "COMPLETED")
    assert _run(tmp_path, f"cluster_id: {cluster}").results["cluster"] == cluster


@pytest.mark.parametrize(
    ("names", "executor", "said"),
    [
        pytest.param(
            ["nihgtly"],
            _BY_NAME,
            r"yml:11:\d+: no cluster is called 'nightly' and RUNNING or WAITING .did you mean",
            id="misspelt",
        ),
        pytest.param(["nightly"] * 2, _BY_NAME, "2 clusters are called 'nightly'", id="two"),
        pytest.param(
            ["nightly"],
            f"{_BY_NAME}, cluster_states: [STARTING]",
            "no cluster is called 'nightly' and STARTING",
            id="in another state",
        ),
        pytest.param(
            [], "cluster_id: j-1, aws_conn_id: prod", "no AWS profile .*'prod'", id="of no profile"
        ),
    ],
)
def test_a_cluster_that_there_is_not(
    tmp_path: Path, aws: None, names: list[str], executor: str, said: str
) -> None:
    for name in names:
        _cluster(name)
    with pytest.raises(StepError, match=said):
        _run(tmp_path, executor)


def test_a_profile_is_what_a_connection_of_airflow_was(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the profile `team` of the tests is of another region than the environment
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    cluster = _cluster(region_name="eu-west-1")
    _Steps(monkeypatch, "COMPLETED")
    run = _run(tmp_path, f"{_BY_NAME}, aws_conn_id: team")
    assert run.results["cluster"] == cluster


def test_a_step_that_fails_says_why(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cluster()
    details = {"Reason": "Main Error", "Message": "no such path", "LogFile": "s3://logs/stderr.gz"}
    _Steps(monkeypatch, "RUNNING", {"State": "FAILED", "FailureDetails": details})
    with pytest.raises(StepError) as failure:
        _run(tmp_path)
    assert failure.value.message.endswith("is FAILED: Main Error: no such path")
    assert failure.value.hint == "its log is s3://logs/stderr.gz"
    assert failure.value.location is not None
    assert failure.value.location.line == 9


def test_a_step_is_cancelled_at_the_deadline(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cluster()
    steps = _Steps(monkeypatch, "RUNNING")
    with pytest.raises(StepError, match="timeout_minutes"):
        _run(tmp_path, seconds=0.3)
    assert len(steps.cancelled) == 1


def test_a_step_is_cancelled_when_the_run_is_interrupted(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(line: str) -> None:
        if line.endswith("is RUNNING"):
            raise KeyboardInterrupt

    _cluster()
    steps = _Steps(monkeypatch, "RUNNING")
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, log=interrupt)
    assert len(steps.cancelled) == 1


@pytest.mark.parametrize(
    ("executor", "mistakes"),
    [
        pytest.param("cluster_name: a\ncluster_state: [WAITING]", [], id="right"),
        pytest.param("aws_conn_id: a", [(3, "missing-key")], id="no cluster"),
        pytest.param(
            "cluster_id: j\ncluster_states: [WAITING, READY]\nproperties: [a]",
            [(6, "invalid-value"), (7, "invalid-type")],
            id="no such state, properties in a list",
        ),
        pytest.param(
            "cluster_id: j\nproperties: {HadoopJarStep: {Jar: a}}",
            [(6, "ignored-key")],
            id="a step of its own",
        ),
    ],
)
def test_mistakes_are_found_at_their_lines(
    tmp_path: Path, executor: str, mistakes: list[tuple[int, str]]
) -> None:
    spec, workflow = executor_of(tmp_path, f"type: emr\n{executor}")
    assert found(EmrExecutor.check(spec, workflow)) == mistakes
