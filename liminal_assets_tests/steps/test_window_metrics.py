"""What a monitor measured, in MLflow window by window, and in Prometheus and CloudWatch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.served_windows import partition_window
from liminal_assets.steps.window_metrics import step_of
from liminal_assets.steps.windows import watched_rows
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tracking import tracking_client
from liminal_assets_tests.aws import aws
from liminal_assets_tests.watching import (
    WATCH,
    project_in,
    write_labels,
    write_reference,
    write_scores,
)

__all__ = ["aws"]

TEXTFILE = """
monitoring:
  metrics_backends: [{metrics_backend: node, type: prometheus, textfile: out/shop.prom}]
alerts: [{alert: ops, webhook: 'http://127.0.0.1:9'}]
"""
CLOUD = """
monitoring:
  metrics_backends: [{metrics_backend: aws, type: aws_cloudwatch, namespace: Models}]
alerts: [{alert: ops, webhook: 'http://127.0.0.1:9'}]
"""


def materialise(project: Project, partition: str) -> dg.ExecuteInProcessResult:
    asset = monitor_asset(project.block("returned_watch"), project=project)  # type: ignore[arg-type]
    return dg.materialize([asset], instance=dg.DagsterInstance.ephemeral(), partition_key=partition)


def prometheus(project: Project) -> dict[str, float]:
    text = (project.root / "out" / "shop.prom").read_text()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def registered(project: Project) -> str:
    """The run of version 1 of the model."""
    client = tracking_client(project)
    run = client.create_run(client.create_experiment("shop.returned")).info.run_id
    folder = project.root / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("")
    ModelRegistry(project).register("returned", str(folder), run_id=run, tags={})
    return str(run)


def test_mlflow_has_every_window_as_a_step_and_the_last_word_on_it(
    tmp_path: Path, with_mlflow: Callable[[Path], Path]
) -> None:
    project = project_in(with_mlflow(tmp_path))
    write_reference(project)
    run = registered(project)
    july = write_scores(project, "2024-07", seed=1)
    materialise(project, "2024-07")
    write_scores(project, "2024-08", seed=2, start=1000)
    write_labels(project, july.head(300))
    materialise(project, "2024-08")
    client = tracking_client(project)
    block = project.block("returned_watch")
    assert isinstance(block, Monitor)
    months = ("2024-07", "2024-08")
    ends = [step_of(project, block, watched_rows(project, block, key).window) for key in months]
    assert ends == [19936, 19967]

    def history(name: str) -> list[tuple[int, float]]:
        found = client.get_metric_history(run, f"returned_watch/{name}")
        return sorted((point.step, point.value) for point in found)

    assert history("labelled_rows") == [(ends[0], 0.0), (ends[0], 300.0), (ends[1], 0.0)]
    assert history("roc_auc") == [(ends[0], 1.0)]
    assert [step for step, _ in history("largest_distance")] == [ends[0], ends[0], ends[1]]


def test_prometheus_has_the_newest_numbers_and_the_newest_known_performance(
    tmp_path: Path,
) -> None:
    project = project_in(tmp_path, WATCH, TEXTFILE)
    write_reference(project)
    july = write_scores(project, "2024-07", seed=1)
    materialise(project, "2024-07")
    assert "liminal_monitor_score" not in prometheus(project)
    write_scores(project, "2024-08", count=350, seed=2, start=1000, shift=2)
    write_labels(project, july.head(300))
    materialise(project, "2024-08")
    found = prometheus(project)
    assert found["liminal_monitor_rows"] == 350
    assert found["liminal_monitor_drifted_columns"] == 1
    assert found["liminal_monitor_largest_distance"] > 0.25
    assert found["liminal_monitor_score"] == pytest.approx(1.0)
    assert found["liminal_monitor_labelled_rows"] == 300
    assert 0 < found["liminal_monitor_kpi"] < 1


@pytest.mark.usefixtures("aws")
def test_cloudwatch_has_them_too(tmp_path: Path) -> None:
    import boto3

    project = project_in(tmp_path, WATCH, CLOUD)
    write_reference(project)
    write_labels(project, write_scores(project, "2024-07", seed=1))
    materialise(project, "2024-07")
    sent = boto3.client("cloudwatch").list_metrics(Namespace="Models")["Metrics"]
    named = {
        (metric["MetricName"], *(tag["Value"] for tag in metric["Dimensions"])) for metric in sent
    }
    assert ("MonitorScore", "shop", "returned_watch", "roc_auc") in named
    assert ("MonitorRows", "shop", "returned_watch") in named


def test_who_does_not_listen_changes_nothing_of_what_was_found(tmp_path: Path) -> None:
    gateway = TEXTFILE.replace("textfile: out/shop.prom", "pushgateway: 'http://127.0.0.1:9'")
    project = project_in(tmp_path, WATCH, gateway)
    write_reference(project)
    write_scores(project, "2024-07", seed=1)
    result = materialise(project, "2024-07")
    assert result.success


def test_a_partition_of_served_rows_is_a_step_of_its_own_length(tmp_path: Path) -> None:
    served = """
  - monitor: returned_watch
    deployment: returned_api
    partitions: {every: EVERY, start: '2024-07-01'}
    window: 7d
    drift: {}
"""
    for every, key, step in (("day", "2024-07-01", 19_906), ("hour", "2024-07-01-23:00", 477_744)):
        project = project_in(tmp_path, served.replace("EVERY", every), "")
        block = project.block("returned_watch")
        assert isinstance(block, Monitor)
        assert block.partitions is not None
        window = partition_window(block, block.partitions, key)
        assert step_of(project, block, window) == step
