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
from liminal_assets.steps.lost_rows import lost
from liminal_assets.steps.observation import Window
from liminal_assets.steps.performance import LabelState, label_state
from liminal_assets.steps.served_windows import partition_window, sliding_window
from liminal_assets.steps.windows import VERSION, WatchedRows, watched_rows
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
        partitions: those that are judged now; None for a window that slides.
        now: default: the present.
    """
    spec, deployment = monitor.labels, project.blocks.get(monitor.deployment)
    if spec is None or not isinstance(deployment, Deployment):
        return
    slides = deployment.batch is None and monitor.partitions is None
    if None in partitions and not slides:
        # scores in one piece: those of the windows before are gone
        return
    now = now or datetime.now(timezone.utc)
    end = now if slides else _end(project, monitor, partitions)
    judged = {sliding_window(monitor, now).key} if slides else {*partitions}
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
    slides = not batch and monitor.partitions is None
    return watched_rows(
        project,
        monitor,
        None if slides else past.key,
        now=past.until if slides else None,
        version=past.model_version,
    )


def _end(project: Project, monitor: Monitor, partitions: Collection[str | None]) -> datetime | None:
    """The end of the newest partition; None where they have no time."""
    cut = partitions_of(project, monitor)
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
        window, found = Window(past.key), store.read(deployment.name, [past.key])
    else:
        again = _again(monitor, past)
        if again is None:
            return None
        window = again
        found = PredictionLog(project, deployment.name).read(window.since, window.until)
    keys = {*spec.key, *entity_columns(project, deployment.model)}
    moment = moment_of_rows(project, deployment.model)
    rows = _keyed(found, past, keys | ({moment} if moment else set()))
    if not rows.rows or lost(project, deployment, window, past, rows.rows):
        return None
    if spec.from_feedback:
        labels = sent_labels(project, deployment, rows, window.since)
    elif store.exists(spec.from_):
        labels = store.read(spec.from_)
    else:
        return None
    return label_state(project, monitor, rows, labels)


def _again(monitor: Monitor, past: PastWindow) -> Window | None:
    """A window of served rows that was judged before; None if windows were cut otherwise then."""
    if past.until is None:
        return None
    try:
        window = (
            partition_window(monitor, monitor.partitions, past.key)
            if monitor.partitions
            else sliding_window(monitor, past.until)
        )
    except ValueError:
        return None
    return window if (window.key, window.until) == (past.key, past.until) else None


def _keyed(found: Table, past: PastWindow, keys: Collection[str]) -> Table:
    """The rows of the version that was judged, with what labels find them by."""
    relation = found.value if found.value is not None else found.relation()
    names = {"prediction", "prediction_id", REQUESTED, "scored_at", *keys}
    if past.model_version is not None and VERSION in relation.columns:
        relation = relation.filter(f"{VERSION}::VARCHAR = {literal(past.model_version)}")
    kept = relation.select(*(identifier(c) for c in relation.columns if c in names))
    return Table.from_rows(kept, found.name)
