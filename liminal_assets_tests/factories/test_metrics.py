"""Metrics of a project's own runs: what CloudWatch, a Pushgateway and node_exporter get."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from prometheus_client.parser import text_string_to_metric_families

import liminal_assets as la
from liminal_assets.language.diagnostics import InvalidProjectError
from liminal_assets.language.loading import load_project
from liminal_assets_tests.aws import aws

__all__ = ["aws"]

YAML = """
name: shop
datasets:
  - dataset: orders
    fetch: {file: a.csv}
    freshness: {within: 1d}
pipelines:
  - pipeline: nightly
    tasks: [{task: say, type: python, cmd: 'true'}]
monitoring:
"""
CLOUDWATCH = """
  metrics_backends:
    - metrics_backend: cloud
      type: aws_cloudwatch
      namespace: DataPipeline
      AWS_REGION_NAME: eu-west-1
  alerts_backends:
    - alerts_backend: alarms
      type: aws_cloudwatch
      metrics_backend: cloud
      alarm_actions: ['arn:aws:sns:eu-west-1:123456789012:ops']
      ok_actions: ['arn:aws:sns:eu-west-1:123456789012:ok']
"""
PUSHED = """
  metrics_backends: [{{metrics_backend: p, type: prometheus, pushgateway: '{}'}}]
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def look(folder: Path, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """What the daemon does after a restart: loads everything anew and evaluates once."""
    repository = la.build_definitions(load_project(folder)).get_repository_def()
    context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository)
    return repository.get_sensor_def("shop__metrics").evaluate_tick(context)


def project_in(folder: Path, monitoring: str) -> None:
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "liminal.yml").write_text(YAML + monitoring)


def run(instance: dg.DagsterInstance, *, fails: bool, asset: str = "orders", **tags: str) -> None:
    @dg.multi_asset(name=f"shop__{asset}", specs=[dg.AssetSpec(dg.AssetKey(["shop", asset]))])
    def made() -> Any:
        if fails:
            raise dg.Failure("no such file")
        yield dg.MaterializeResult()

    job = dg.Definitions(assets=[made]).resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


@pytest.mark.usefixtures("aws")
def test_cloudwatch_gets_results_and_durations_and_alarms_on_every_job(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    import boto3

    project_in(tmp_path, CLOUDWATCH)
    cursor = look(tmp_path, instance).cursor
    run(instance, fails=False)
    run(instance, fails=True, **{"liminal/pipeline": "nightly"})
    second = look(tmp_path, instance, cursor)
    assert second.skip_message == "sent 9 metrics, of 2 runs among them"
    cloud = boto3.client("cloudwatch", region_name="eu-west-1")
    sent = {
        (metric["MetricName"], *(tag["Value"] for tag in metric["Dimensions"]))
        for metric in cloud.list_metrics(Namespace="DataPipeline")["Metrics"]
    }
    assert sent == {
        ("JobResult", "shop"),
        ("JobResult", "nightly"),
        ("JobDuration", "shop"),
        ("JobDuration", "nightly"),
        ("AssetResult", "shop", "orders"),
        ("AssetDuration", "shop", "orders"),
        ("AssetAge", "shop", "orders"),
    }
    alarms = {alarm["AlarmName"]: alarm for alarm in cloud.describe_alarms()["MetricAlarms"]}
    assert set(alarms) == {"alarms-shop-shop", "alarms-shop-nightly"}
    nightly = alarms["alarms-shop-nightly"]
    assert nightly["Dimensions"] == [{"Name": "ApplicationName", "Value": "nightly"}]
    assert nightly["AlarmActions"] == ["arn:aws:sns:eu-west-1:123456789012:ops"]
    assert nightly["OKActions"] == ["arn:aws:sns:eu-west-1:123456789012:ok"]
    assert (nightly["Threshold"], nightly["ComparisonOperator"]) == (1.0, "LessThanThreshold")


@pytest.mark.usefixtures("aws")
def test_a_run_is_sent_once_over_restarts_and_alarms_are_set_when_they_change(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liminal_assets.integrations import cloudwatch

    calls: list[str] = []
    found = cloudwatch.CloudWatch.set_alarm

    def counted(self: Any, name: str, *args: Any, **options: Any) -> None:
        calls.append(name)
        found(self, name, *args, **options)

    monkeypatch.setattr(cloudwatch.CloudWatch, "set_alarm", counted)
    project_in(tmp_path, CLOUDWATCH)
    run(instance, fails=False)
    cursor = look(tmp_path, instance).cursor
    again = look(tmp_path, instance, cursor)
    assert again.skip_message == "sent 1 metrics, of 0 runs among them"
    assert len(calls) == 2
    project_in(tmp_path, CLOUDWATCH.replace(":ops", ":others"))
    look(tmp_path, instance, again.cursor)
    assert len(calls) == 4


def test_a_textfile_keeps_the_newest_value_of_every_job(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    textfile = "{metrics_backend: p, type: prometheus, textfile: metrics/shop.prom}"
    project_in(tmp_path, f"  metrics_backends: [{textfile}]\n")
    run(instance, fails=True, **{"liminal/pipeline": "nightly"})
    cursor = look(tmp_path, instance).cursor
    run(instance, fails=False)
    look(tmp_path, instance, cursor)
    text = (tmp_path / "metrics" / "shop.prom").read_text()
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values[("liminal_job_result", "nightly")] == 0.0
    assert values[("liminal_job_result", "shop")] == 1.0
    assert values[("liminal_job_duration_seconds", "shop")] > 0
    assert values[("liminal_asset_result", "orders", "shop")] == 1.0
    assert 0 <= values[("liminal_asset_age_seconds", "orders", "shop")] < 600


@contextmanager
def pushgateway(status: int = 200) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A server that takes what is pushed: method, path, body."""
    got: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            got.append((self.command, self.path, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_pushgateway_gets_a_group_for_each_set_of_labels(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with pushgateway() as (url, got):
        project_in(tmp_path, PUSHED.format(url))
        run(instance, fails=True)
        look(tmp_path, instance)
    bodies = {path: body for _, path, body in got}
    job = bodies["/metrics/job/liminal/application_name/shop"]
    assert "liminal_job_result" in job
    assert "} 0.0" in job
    assert "/metrics/job/liminal/asset/orders/project/shop" in bodies


def test_what_cannot_be_sent_fails_the_look_and_is_sent_by_the_next(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    run(instance, fails=False)
    project_in(tmp_path, PUSHED.format("http://me:SECRET@127.0.0.1:9"))
    with pytest.raises(Exception, match="the Pushgateway didn't take") as told:
        look(tmp_path, instance)
    assert "SECRET" not in str(told.value)
    with pushgateway() as (url, got):
        project_in(tmp_path, PUSHED.format(url))
        assert look(tmp_path, instance).skip_message == "sent 5 metrics, of 1 runs among them"
    assert got


def test_a_project_without_backends_has_no_sensor(tmp_path: Path) -> None:
    project_in(tmp_path, "  alerts_backends: []\n")
    repository = la.build_definitions(load_project(tmp_path)).get_repository_def()
    assert not repository.has_sensor_def("shop__metrics")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("{metrics_backend: m, type: aws_cloudwatch}", "'namespace' is missing"),
        ("{metrics_backend: m, type: prometheus}", "needs one of textfile, pushgateway"),
        ("{metrics_backend: m, type: prometheus, textfile: a.txt}", "must end with .prom"),
        (
            "{metrics_backend: m, type: prometheus, textfile: a.prom, AWS_REGION_NAME: x}",
            "'AWS_REGION_NAME' isn't for 'type: prometheus'",
        ),
        ("{metrics_backend: m, type: prometheus, textfile: a.prom, port: 1}", "unknown key 'port'"),
    ],
)
def test_a_backend_that_makes_no_sense_is_refused_at_its_line(
    tmp_path: Path, item: str, said: str
) -> None:
    project_in(tmp_path, f"  metrics_backends: [{item}]\n")
    with pytest.raises(InvalidProjectError) as told:
        load_project(tmp_path)
    (mistake,) = told.value.diagnostics
    assert mistake.location.line == 11
    assert said in mistake.message
