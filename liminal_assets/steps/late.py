"""Labels that come late: which windows were judged without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import moments_of, partitions_of
from liminal_assets.steps.arrivals import sent_labels
from liminal_assets.steps.history import PastWindow, past_windows
from liminal_assets.steps.identity import entity_columns, moment_of_rows
from liminal_assets.steps.performance import LabelState, label_state
from liminal_assets.steps.windows import VERSION, WatchedRows, served_window, watched_rows
from liminal_assets.storage.feedback import REQUESTED
from liminal_assets.storage.forms import identifier, literal
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["LateWindow", "late_windows", "rows_again"]

_MOST_WINDOWS = 400
"""Earlier windows that are looked at in one run, the newest of them."""


@dataclass(frozen=True)
class LateWindow:
    """A window whose labels have changed since it was judged.

    Attributes:
        past: as it was judged.
        labels: as they are now.
    """

    past: PastWindow
    labels: LabelState


def late_windows(
    project: Project,
    monitor: Monitor,
    partitions: Collection[str | None],
    *,
    now: datetime | None = None,
) -> Iterator[LateWindow]:
    """The windows before those that are judged now, as far back as ``labels.within``, whose labels
    have changed: came, were corrected, or went.

    Args:
        partitions: those that are judged now; None for served rows.
        now: default: the present.
    """
    spec, deployment = monitor.labels, project.blocks.get(monitor.deployment)
    if spec is None or not isinstance(deployment, Deployment):
        return
    if deployment.batch and None in partitions:
        # scores in one piece: those of the windows before are gone
        return
    end = _end(project, deployment, partitions, now or datetime.now(timezone.utc))
    judged = {*partitions} if deployment.batch else {served_window(monitor, end).key if end else ""}
    for past in past_windows(project, monitor)[-_MOST_WINDOWS:]:
        in_time = not (end and past.until) or end - spec.within <= past.until < end
        if past.key in judged or not in_time:
            continue
        found = _state(project, monitor, deployment, past)
        if found is not None and (found.count, found.digest) != (past.labelled, past.labels):
            yield LateWindow(past, found)


def rows_again(project: Project, monitor: Monitor, past: PastWindow) -> WatchedRows:
    """The rows of a window that was judged before, of the same model version, with the labels that
    are there now.

    Raises:
        StepError: they are gone.
    """
    deployment = project.blocks.get(monitor.deployment)
    batch = isinstance(deployment, Deployment) and deployment.batch
    return watched_rows(
        project,
        monitor,
        past.key if batch else None,
        now=None if batch else past.until,
        version=past.model_version,
    )


def _end(
    project: Project, deployment: Deployment, partitions: Collection[str | None], now: datetime
) -> datetime | None:
    """The end of the newest window; None where partitions have no time."""
    if deployment.batch is None:
        return now
    cut = partitions_of(project, deployment)
    if cut is None or not cut.every:
        return None
    return max(moments_of(cut, key)[1] for key in partitions if key is not None)


def _state(
    project: Project, monitor: Monitor, deployment: Deployment, past: PastWindow
) -> LabelState | None:
    """The labels that the rows of a window have now; None if the rows aren't there any more."""
    spec, store = monitor.labels, TableStore(project)
    if spec is None:
        return None
    if deployment.batch:
        if past.key not in store.partitions(deployment.name):
            return None
        since, found = None, store.read(deployment.name, [past.key])
    else:
        window = served_window(monitor, past.until) if past.until else None
        if window is None or window.key != past.key:
            # the length of a window was another then
            return None
        since = window.since
        found = PredictionLog(project, deployment.name).read(since, window.until)
    keys = {*spec.key, *entity_columns(project, deployment.model)}
    moment = moment_of_rows(project, deployment.model)
    rows = _keyed(found, past, keys | ({moment} if moment else set()))
    if not rows.rows:
        return None
    if spec.from_feedback:
        labels = sent_labels(project, deployment, rows, since)
    elif store.exists(spec.from_):
        labels = store.read(spec.from_)
    else:
        return None
    return label_state(project, monitor, rows, labels)


def _keyed(found: Table, past: PastWindow, keys: Collection[str]) -> Table:
    """The rows of the version that was judged, with what labels find them by."""
    relation = found.value if found.value is not None else found.relation()
    names = {"prediction", "prediction_id", REQUESTED, "scored_at", *keys}
    if past.model_version is not None and VERSION in relation.columns:
        relation = relation.filter(f"{VERSION}::VARCHAR = {literal(past.model_version)}")
    kept = relation.select(*(identifier(c) for c in relation.columns if c in names))
    return Table.from_rows(kept, found.name)
