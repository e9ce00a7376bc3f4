from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.tasks.create_cloudformation_stack import (
    CreateCloudFormationStackTask,
)
from liminal_assets.execution.tasks.delete_cloudformation_stack import (
    DeleteCloudFormationStackTask,
)
from liminal_assets.integrations import cloudformation
from liminal_assets_tests.workflows import found, run_of, task_of

_TEMPLATE = json.dumps(
    {
        "Parameters": {name: {"Type": "String"} for name in ("Queue", "Kinds", "Size")},
        "Resources": {
            "TheQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "Queue"}}}
        },
        "Outputs": {"Name": {"Value": {"Ref": "Queue"}}},
    }
)
_CREATE = f"""
type: create_cloudformation_stack
stack_name: nightly-cluster
properties:
  OnFailure: DO_NOTHING
  TemplateBody: '{_TEMPLATE}'
  Parameters: {{Queue: work, Kinds: [a, b], Size: 3}}
"""
_DELETE = "type: delete_cloudformation_stack\nstack_name: nightly-cluster"

_EVENTS = [
    {
        "Timestamp": datetime(2026, 1, 1, 12, minute, tzinfo=timezone.utc),
        "LogicalResourceId": name,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }
    for minute, name, status, reason in [
        (3, "nightly-cluster", "CREATE_FAILED", "The following resources failed"),
        (2, "Cluster", "CREATE_FAILED", "no such instance type"),
        (1, "Cluster", "CREATE_IN_PROGRESS", ""),
    ]
]
"""As CloudFormation lists them: the newest first."""


def _stack() -> dict[str, Any] | None:
    import boto3

    stacks = boto3.client("cloudformation").describe_stacks()["Stacks"]
    return next(iter(stacks), None)


def _create(folder: Path, lines: list[str] | None = None, **more: Any) -> dict[str, Any]:
    spec, workflow = task_of(folder, _CREATE)
    run = run_of(workflow, lines=lines, **more)
    CreateCloudFormationStackTask(spec, workflow).run(run)
    return run.results


def _delete(folder: Path, lines: list[str] | None = None, **more: Any) -> None:
    spec, workflow = task_of(folder, _DELETE)
    DeleteCloudFormationStackTask(spec, workflow).run(run_of(workflow, lines=lines, **more))


class _States:
    """CloudFormation where a stack goes from state to state as it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: str | None) -> None:
        from botocore.client import BaseClient

        self.states = list(states)
        self.calls: list[str] = []
        real = BaseClient._make_api_call  # type: ignore[attr-defined]

        def answer(client: Any, operation: str, arguments: Any) -> Any:
            self.calls.append(operation)
            if operation == "DescribeStackEvents":
                return {"StackEvents": _EVENTS}
            state = self.states.pop(0) if operation == "DescribeStacks" and self.states else None
            if state is None:
                return real(client, operation, arguments)
            return {"Stacks": [{"StackName": "nightly-cluster", "StackStatus": state}]}

        monkeypatch.setattr(BaseClient, "_make_api_call", answer)
        monkeypatch.setattr(cloudformation, "_DELAY", 0.01)


def test_a_stack_is_created_with_its_parameters_as_texts(tmp_path: Path, aws: None) -> None:
    results = _create(tmp_path)
    stack = _stack()
    assert stack is not None
    assert (stack["StackName"], stack["StackStatus"]) == ("nightly-cluster", "CREATE_COMPLETE")
    parameters = {pair["ParameterKey"]: pair["ParameterValue"] for pair in stack["Parameters"]}
    assert parameters == {"Queue": "work", "Kinds": "a,b", "Size": "3"}
    assert results == {"stack": "nightly-cluster", "Name": "work"}


@pytest.mark.parametrize("state", ["CREATE_COMPLETE", "DELETE_FAILED", "UPDATE_COMPLETE"])
def test_a_stack_that_is_up_stays(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    cloud, lines = _States(monkeypatch, state, state), list[str]()
    _create(tmp_path, lines)
    assert lines == [f"the stack nightly-cluster is up: {state}"]
    assert set(cloud.calls) == {"DescribeStacks"}


@pytest.mark.parametrize(
    ("states", "created"),
    [
        pytest.param(
            ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE", "CREATE_COMPLETE"],
            0,
            id="being created",
        ),
        pytest.param(["DELETE_IN_PROGRESS", "DELETE_COMPLETE"], 1, id="being deleted"),
    ],
)
def test_a_stack_on_its_way_is_waited_for(
    tmp_path: Path,
    aws: None,
    monkeypatch: pytest.MonkeyPatch,
    states: list[str],
    created: int,
) -> None:
    cloud = _States(monkeypatch, *states)
    _create(tmp_path)
    assert (cloud.states, cloud.calls.count("CreateStack")) == ([], created)


def test_a_stack_that_fails_says_what_failed_first(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = _States(monkeypatch, "CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE")
    failed = r"yml:7:\d+: .*isn't created: ROLLBACK_COMPLETE \(Cluster: no such instance type\)"
    with pytest.raises(StepError, match=failed):
        _create(tmp_path)
    assert not states.states


def test_a_wait_ends_with_the_run(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _States(monkeypatch, *["CREATE_IN_PROGRESS"] * 50)
    with pytest.raises(StepError, match="isn't created in time: CREATE_IN_PROGRESS"):
        _create(tmp_path, seconds=0.1)


def test_a_stack_in_the_way_is_named(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _States(monkeypatch, "ROLLBACK_COMPLETE")
    with pytest.raises(StepError, match=r"in the way: ROLLBACK_COMPLETE \(aws cloudformation"):
        _create(tmp_path)


def test_wrong_properties_are_told_at_their_line(tmp_path: Path, aws: None) -> None:
    spec, workflow = task_of(
        tmp_path,
        """
        type: create_cloudformation_stack
        stack_name: s
        properties: {TemplateBody: '{}', Colour: red}
        """,
    )
    with pytest.raises(StepError, match=r"yml:7:\d+: .*Colour"):
        CreateCloudFormationStackTask(spec, workflow).run(run_of(workflow))


def test_a_stack_is_deleted(tmp_path: Path, aws: None) -> None:
    _create(tmp_path)
    _delete(tmp_path)
    assert _stack() is None


def test_a_stack_that_other_runs_need_stays(tmp_path: Path, aws: None) -> None:
    _create(tmp_path)
    lines: list[str] = []
    _delete(tmp_path, lines, other_runs=lambda: ["run-2"])
    assert _stack() is not None
    assert lines == ["the stack nightly-cluster stays: other runs of nightly need it: run-2"]


def test_a_stack_that_is_gone_needs_no_deletion(tmp_path: Path, aws: None) -> None:
    lines: list[str] = []
    _delete(tmp_path, lines)
    assert lines == ["there is no stack nightly-cluster"]


@pytest.mark.parametrize(
    ("task", "mistakes"),
    [
        pytest.param(_CREATE, [], id="right"),
        pytest.param(
            "type: create_cloudformation_stack",
            [(5, "missing-key"), (5, "missing-key")],
            id="nothing",
        ),
        pytest.param(
            "type: c\nstack_name: s\nproperties:\n  Parameters: [a]",
            [(9, "missing-key"), (9, "invalid-type")],
            id="no template, parameters in a list",
        ),
    ],
)
def test_mistakes_of_a_stack_to_create(
    tmp_path: Path, task: str, mistakes: list[tuple[int, str]]
) -> None:
    spec, workflow = task_of(tmp_path, task)
    assert found(CreateCloudFormationStackTask.check(spec, workflow)) == mistakes


def test_a_stack_to_delete_needs_a_name(tmp_path: Path) -> None:
    spec, workflow = task_of(tmp_path, "type: delete_cloudformation_stack")
    mistakes = DeleteCloudFormationStackTask.check(spec, workflow)
    assert found(mistakes) == [(5, "missing-key")]
