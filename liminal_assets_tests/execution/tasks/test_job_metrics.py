from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.tasks.job_end import JobEndTask
from liminal_assets.execution.tasks.job_start import JobStartTask
from liminal_assets_tests.workflows import found, run_of, task_of

_METRICS = "metrics: {namespace: data_team, backends: [cloudwatch]}"


def _sent() -> list[dict[str, Any]]:
    """What CloudWatch was told, by the newest statistics of each metric."""
    import boto3

    client = boto3.client("cloudwatch")
    now = datetime.now(timezone.utc)
    values = []
    for metric in client.list_metrics(Namespace="data_team")["Metrics"]:
        answer = client.get_metric_statistics(
            Namespace=metric["Namespace"],
            MetricName=metric["MetricName"],
            Dimensions=metric["Dimensions"],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=7200,
            Statistics=["Sum", "SampleCount"],
        )
        [point] = answer["Datapoints"]
        assert point["SampleCount"] == 1
        values.append(
            {
                "name": metric["MetricName"],
                "value": point["Sum"],
                **{pair["Name"]: pair["Value"] for pair in metric["Dimensions"]},
            }
        )
    return sorted(values, key=lambda item: item["name"])


def test_the_start_of_a_job_is_one_metric_of_its_pipeline(tmp_path: Path, aws: None) -> None:
    spec, workflow = task_of(tmp_path, "type: job_start", _METRICS)
    run = run_of(workflow)
    JobStartTask(spec, workflow).run(run)
    assert _sent() == [{"name": "JobStarted", "value": 1, "ApplicationName": "nightly"}]
    assert run.results == {"JobStarted": 1}


@pytest.mark.parametrize(
    ("failed", "result"),
    [pytest.param((), 1, id="all succeeded"), pytest.param(("train",), 0, id="one failed")],
)
def test_the_end_of_a_job_has_its_result_and_its_duration(
    tmp_path: Path, aws: None, failed: tuple[str, ...], result: int
) -> None:
    spec, workflow = task_of(tmp_path, "type: job_end", _METRICS)
    started = datetime.now(timezone.utc) - timedelta(seconds=90)
    JobEndTask(spec, workflow).run(run_of(workflow, started=started, failed=failed))
    duration, outcome = _sent()
    assert outcome == {"name": "JobResult", "value": result, "ApplicationName": "nightly"}
    assert (duration["name"], duration["ApplicationName"]) == ("JobDuration", "nightly")
    assert 90 <= duration["value"] <= 100


def test_without_backends_nothing_is_sent(tmp_path: Path) -> None:
    spec, workflow = task_of(tmp_path, "type: job_end")
    lines: list[str] = []
    JobEndTask(spec, workflow).run(run_of(workflow, lines=lines))
    assert lines == ["succeeded after 0 s"]


def test_an_unknown_backend_is_named_with_its_line(tmp_path: Path) -> None:
    spec, workflow = task_of(
        tmp_path, "type: job_start", "metrics: {namespace: a, backends: [cloudwatsh]}"
    )
    with pytest.raises(StepError, match=r"yml:7:\d+: no metrics backend .*'cloudwatch'\?"):
        JobStartTask(spec, workflow).run(run_of(workflow))


def test_metrics_that_cannot_be_sent_say_what_to_do(
    tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, workflow = task_of(tmp_path, "type: job_start", _METRICS)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(StepError, match=r"no AWS region .set AWS_DEFAULT_REGION"):
        JobStartTask(spec, workflow).run(run_of(workflow))


@pytest.mark.parametrize(
    ("metrics", "mistakes"),
    [
        pytest.param(_METRICS, [], id="right"),
        pytest.param("metrics: [cloudwatch]", [(7, "invalid-type")], id="a list"),
        pytest.param(
            "metrics:\n  namespace: a\n  backends: cloudwatch",
            [(9, "invalid-type")],
            id="backends that are no list",
        ),
        pytest.param(
            "metrics:\n  backends:\n    - statsd",
            [(8, "missing-key"), (9, "unknown-metrics-backend")],
            id="an unknown backend, no namespace",
        ),
    ],
)
@pytest.mark.parametrize("task", [JobStartTask, JobEndTask], ids=["job_start", "job_end"])
def test_mistakes_of_the_metrics_section(
    tmp_path: Path, task: type[JobStartTask], metrics: str, mistakes: list[tuple[int, str]]
) -> None:
    spec, workflow = task_of(tmp_path, "type: job_start", metrics)
    assert found(task.check(spec, workflow)) == mistakes
