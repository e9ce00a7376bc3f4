"""What a monitor measured, for dashboards: in MLflow window by window, elsewhere the newest."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import partitions_of
from liminal_assets.steps.history import history
from liminal_assets.steps.observation import Observation, Window
from liminal_assets.storage.tables import TableStore

if TYPE_CHECKING:
    from liminal_assets.integrations.metrics import Metric

__all__ = ["log_window", "newest_metrics", "send_metrics", "step_of"]

_WINDOWS = 60
"""The newest windows among which one with enough labels is looked for."""
_DAY = timedelta(days=1)


def log_window(project: Project, monitor: Monitor, seen: Observation) -> bool:
    """Logs a window's numbers to the MLflow run that trained the version which it is about, as
    ``<monitor>/<name>`` with the window as the step. Judged again they are logged again, and the
    last counts.

    Returns:
        Whether there is such a run.

    Raises:
        StepError: MLflow can't be reached.
    """
    from liminal_assets.storage.tracking import tracking_client, tracking_errors, tracking_exists

    deployment, version = project.blocks.get(monitor.deployment), seen.model_version
    if not isinstance(deployment, Deployment) or version is None or not tracking_exists(project):
        return False
    from mlflow.entities import Metric as Point

    from liminal_assets.storage.registry import ModelRegistry

    known = {str(v.version): v for v in ModelRegistry(project).versions(deployment.model)}
    if version not in known or not known[version].run_id:
        return False
    now, step = int(time.time() * 1000), step_of(project, monitor, seen.window)
    points = [
        Point(f"{monitor.name}/{name}", value, now, step)
        for name, value in _numbers(monitor, seen).items()
        if value is not None and math.isfinite(value)
    ]
    with tracking_errors(f"log the window {seen.window.key} of {monitor.name} to MLflow"):
        tracking_client(project).log_batch(known[version].run_id, metrics=points)
    return True


def step_of(project: Project, monitor: Monitor, window: Window) -> int:
    """A window as a step of MLflow: the days from 1970 to its end (hours, where windows are
    shorter than a day); of partitions by listed values their place."""
    deployment = project.blocks[monitor.deployment]
    if window.until is None:
        keys = TableStore(project).partitions(deployment.name)
        return keys.index(window.key) if window.key in keys else len(keys)
    cut = partitions_of(project, monitor)
    hours = cut.every == "hour" if cut else (monitor.window or _DAY) < _DAY
    return int(window.until.timestamp() // (3600 if hours else 86400))


def _numbers(monitor: Monitor, seen: Observation) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {"rows": float(seen.rows)}
    if seen.drift:
        compared = seen.drift.compared
        numbers["drifted_columns"] = float(len(seen.drift.drifted))
        numbers["largest_distance"] = compared[0].distance if compared else None
    if monitor.performance:
        metric = monitor.performance.metric
        numbers["labelled_rows"] = None if seen.labelled is None else float(seen.labelled)
        if (seen.labelled or 0) >= monitor.min_rows:
            numbers[metric] = seen.score
        numbers[f"estimated_{metric}"] = seen.estimate.value if seen.estimate else None
    return {**numbers, **{f"kpi_{name}": value for name, value in (seen.kpis or {}).items()}}


def send_metrics(project: Project, monitor: Monitor) -> int:
    """Sends a monitor's newest numbers to ``monitoring.metrics_backends``.

    Returns:
        How many.

    Raises:
        StepError: a backend didn't take them.
    """
    backends = project.spec.monitoring.metrics_backends
    if not backends:
        return 0
    from liminal_assets.integrations.metrics import send

    found = list(newest_metrics(project, monitor))
    for spec in backends:
        send(spec, project.root, found)
    return len(found)


def newest_metrics(project: Project, monitor: Monitor) -> Iterator[Metric]:
    """A monitor's numbers: those of the newest window; its performance that of the newest window
    whose truth is known for enough rows."""
    from liminal_assets.integrations.metrics import Metric

    past = history(project, monitor, newest=_WINDOWS)
    if not past:
        return
    tags = {"Project": project.name, "Monitor": monitor.name}
    newest = [row for row in past if row["window"] == past[-1]["window"]]

    def metric(name: str, value: float, **more: str) -> Metric:
        return Metric("", f"Monitor{name}", float(value), {**tags, **more})

    yield metric("Rows", newest[0]["rows"])
    yield metric("Breaches", sum(row["breach"] for row in newest))
    distances = [row for row in newest if row["check"] in ("drift", "prediction_drift")]
    if distances:
        yield metric("DriftedColumns", sum(row["breach"] for row in distances))
        yield metric("LargestDistance", max(row["value"] for row in distances))
    for row in newest:
        if row["check"].startswith("kpi_") and _known(row):
            yield metric("Kpi", row["value"], Kpi=row["subject"])
        elif row["check"] == "estimated_performance" and _known(row):
            yield metric("Estimate", row["value"], Metric=row["subject"])
    judged = [row for row in past if _is_score(row, monitor.min_rows)]
    if judged:
        yield metric("Score", judged[-1]["value"], Metric=judged[-1]["subject"])
        yield metric("LabelledRows", judged[-1]["labelled"], Metric=judged[-1]["subject"])


def _is_score(row: Mapping[str, Any], least: int) -> bool:
    return row["check"] == "performance" and _known(row) and (row["labelled"] or 0) >= least


def _known(row: Mapping[str, Any]) -> bool:
    return row["value"] is not None and math.isfinite(row["value"])
