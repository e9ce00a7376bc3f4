"""How many rows a window stands for, and how many are usual."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import dropwhile
from statistics import median

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.observation import Window
from liminal_assets.steps.served_windows import window_before
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["USUAL_WINDOWS", "sample_rate", "usual_rows"]

USUAL_WINDOWS = 12
"""Earlier windows that tell how many rows are usual."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def usual_rows(
    project: Project, monitor: Monitor, deployment: Deployment, window: Window
) -> float | None:
    """The median number of rows of the windows before, whoever made them; served windows share no
    rows.

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
    return _usual_served_rows(project, monitor, deployment, window)


def _usual_served_rows(
    project: Project, monitor: Monitor, deployment: Deployment, window: Window
) -> float | None:
    earlier = [window_before(monitor, window)]
    while len(earlier) < USUAL_WINDOWS:
        earlier.append(window_before(monitor, earlier[-1]))
    log = PredictionLog(project, deployment.name).read(earlier[-1].since, earlier[0].until)
    relation = log.relation()
    # of a share of requests each row stands for several
    rows = (
        "sum(1 / coalesce(sample_rate, 1.0))" if "sample_rate" in relation.columns else "count(*)"
    )
    counts = [
        f"coalesce({rows} FILTER (epoch_us(requested_at) >= {_micros(one.since)} "
        f"AND epoch_us(requested_at) < {_micros(one.until)}), 0)"
        for one in reversed(earlier)
    ]
    with engine_errors("count the rows of earlier windows"):
        (found,) = relation.aggregate(", ".join(counts)).fetchall()
    # windows before the first request aren't empty, they aren't there
    there = list(dropwhile(lambda count: not count, found))
    return float(median(there)) if there else None


def _micros(moment: datetime | None) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) if moment else 0


def sample_rate(rows: Table) -> float | None:
    """The share of requests that are among the rows: the harmonic mean, so that the number of rows
    through it is the number of those answered."""
    if "sample_rate" not in rows.schema.names:
        return None
    with engine_errors(f"read {rows.name}"):
        mean = "count(*) / sum(1 / coalesce(sample_rate, 1.0))"
        ((found,),) = rows.relation().aggregate(mean).fetchall()
    return float(found) if found is not None and found < 1 else None
