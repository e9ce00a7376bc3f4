"""How many rows a window stands for, and how many are usual."""

from __future__ import annotations

from datetime import datetime, timezone
from statistics import median

from liminal_assets.language.alarm_rates import DEFAULT_WINDOW
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.observation import Window
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["USUAL_WINDOWS", "sample_rate", "usual_rows"]

USUAL_WINDOWS = 12
"""Earlier windows that tell how many rows are usual."""


def usual_rows(
    project: Project, monitor: Monitor, deployment: Deployment, window: Window
) -> float | None:
    """The median number of rows of the windows before, whoever made them.

    It comes from the rows themselves, so that a replay knows what a live run knew.
    """
    if monitor.quality is None:
        return None
    if deployment.batch:
        if window.partition is None:
            return None
        store = TableStore(project)
        keys = [key for key in store.partitions(deployment.name) if key < window.partition]
        counts = [store.read(deployment.name, [key]).rows for key in keys[-USUAL_WINDOWS:]]
        return float(median(counts)) if counts else None
    length = monitor.window or DEFAULT_WINDOW
    since = (window.since or datetime.now(timezone.utc)) - USUAL_WINDOWS * length
    log = PredictionLog(project, deployment.name).read(since, window.since).relation()
    place = f"floor((epoch(requested_at) - {since.timestamp()}) / {length.total_seconds()})"
    # of a share of requests each row stands for several
    rows = "sum(1 / coalesce(sample_rate, 1.0))" if "sample_rate" in log.columns else "count(*)"
    with engine_errors("count the rows of earlier windows"):
        found = dict(log.aggregate(f"({place})::INTEGER AS place, {rows}", "place").fetchall())
    # windows before the first request aren't empty, they aren't there
    return (
        float(median(found.get(at, 0) for at in range(min(found), USUAL_WINDOWS)))
        if found
        else None
    )


def sample_rate(rows: Table) -> float | None:
    """The share of requests that are among the rows: the harmonic mean, so that the number of rows
    through it is the number of those answered."""
    if "sample_rate" not in rows.schema.names:
        return None
    with engine_errors(f"read {rows.name}"):
        mean = "count(*) / sum(1 / coalesce(sample_rate, 1.0))"
        ((found,),) = rows.relation().aggregate(mean).fetchall()
    return float(found) if found is not None and found < 1 else None
