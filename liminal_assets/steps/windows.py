"""The rows that a monitor looks at: a window of scores, what they are compared with, the truth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import moments_of, partitions_of
from liminal_assets.steps import identity
from liminal_assets.steps.arrivals import Unmatched, sent_labels, unmatched_labels
from liminal_assets.steps.counting import sample_rate, usual_rows
from liminal_assets.steps.identity import identifying_columns
from liminal_assets.steps.observation import OUR_COLUMNS, Window, is_answer
from liminal_assets.steps.served_windows import partition_window, served_window, window_before
from liminal_assets.storage.forms import engine_errors, literal
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.locks import file_lock
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore

__all__ = [
    "WatchedRows",
    "compared_columns",
    "entity_columns",
    "expected_columns",
    "given_rows",
    "moment_column",
    "watched_rows",
]

VERSION = "model_version"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchedRows:
    """The rows of a window and everything that they are judged by.

    Attributes:
        rows: those of the model version that the judgement is about.
        others: how many rows of other versions there are.
        reference: the rows to compare with; None where there are none.
        reference_name: what they are, in words; without them, why.
        labels: the table with the truth; None before it has any rows.
        training: the rows that the version was evaluated on, with the truth; None without any.
        usual_rows: the median number of rows of up to 12 windows before; None before the first.
        served: whether they are a server's, where the same may be asked again.
        unmatched: labels that were sent and belong to no row; None where none are sent.
        sample_rate: the share of requests that the log holds; None where it holds all.
    """

    window: Window
    rows: Table
    model_version: str | None = None
    others: int = 0
    reference: Table | None = None
    reference_name: str = ""
    labels: Table | None = None
    training: Table | None = None
    usual_rows: float | None = None
    served: bool = False
    unmatched: Unmatched | None = None
    sample_rate: float | None = None


def watched_rows(
    project: Project,
    monitor: Monitor,
    partition: str | None = None,
    *,
    now: datetime | None = None,
    version: str | None = None,
) -> WatchedRows:
    """The window of a monitor: a partition, or the newest served rows.

    A partition of served rows is looked at as of its end: at the rows of the version that was in
    use then.

    Args:
        partition: which; of served rows default: the newest that is complete.
        now: where a window of served rows without partitions ends; default: the present.
        version: the model version to look at; default: the one in use.

    Raises:
        StepError: there are no scores or predictions yet, there is no such partition, or no
            reference for their version.
    """
    now = now or datetime.now(timezone.utc)
    deployment = project.blocks.get(monitor.deployment)
    if not isinstance(deployment, Deployment):
        raise StepError(
            f"no deployment is called {monitor.deployment!r}",
            location=project.locate(monitor, "deployment"),
            hint="give the monitor its rows in Python, or the project the deployment",
        )
    if deployment.batch:
        window = _partition_window(project, deployment, partition)
        found = TableStore(project).read(deployment.name, [partition] if partition else None)
        if partition is None:
            window = _refresh_window(found, now)
    else:
        window = served_window(project, monitor, partition, now)
        log = PredictionLog(project, deployment.name)
        _tidied(project, deployment, log)
        found = _in_memory(log.read(window.since, window.until))
    at = window.until if deployment.batch is None and window.partition else None
    rows, version, others = of_one_version(found, version or _live(project, deployment, at))
    spec = monitor.labels
    sent = spec is not None and spec.from_feedback
    watched = WatchedRows(
        window,
        rows,
        version,
        others,
        labels=_labels(project, monitor, deployment, rows, window),
        unmatched=(
            unmatched_labels(project, deployment, spec, at or now) if spec and sent else None
        ),
        sample_rate=sample_rate(rows),
        usual_rows=usual_rows(project, monitor, deployment, window),
        served=deployment.batch is None,
    )
    return _with_reference(project, monitor, deployment, watched)


def _tidied(project: Project, deployment: Deployment, log: PredictionLog) -> None:
    """Servers elsewhere leave many small files, which none of them can put together alone."""
    if deployment.serve is None or deployment.serve.target == "local":
        return
    with file_lock(project.state / "serving" / deployment.name / "tidy.lock"):
        try:
            log.tidy()
        except StepError as error:
            _log.warning("the prediction log of %s can't be tidied: %s", deployment.name, error)


def given_rows(
    partition: str | None,
    rows: Any,
    reference: Any = None,
    labels: Any = None,
    *,
    monitor: Monitor | None = None,
) -> WatchedRows:
    """A window of rows that a team gives itself, in any form.

    Args:
        monitor: says when partitions end, if it has any.
    """
    table = Table.from_rows(rows, "rows")
    window = Window(partition or "", partition=partition)
    if partition is None:
        window = _refresh_window(table, datetime.now(timezone.utc))
    elif monitor and monitor.partitions:
        window = partition_window(monitor, monitor.partitions, partition)
    mine, version, others = of_one_version(table, None)
    known = None if reference is None else Table.from_rows(reference, "reference")
    return WatchedRows(
        window,
        mine,
        version,
        others,
        reference=known,
        reference_name="the reference rows",
        labels=None if labels is None else Table.from_rows(labels, "labels"),
        training=known,
    )


def _partition_window(project: Project, deployment: Deployment, key: str | None) -> Window:
    partitions = partitions_of(project, deployment)
    if key is None or partitions is None:
        return Window("")
    since, until = moments_of(partitions, key) if partitions.every else (None, None)
    return Window(key, since, until, key)


def _refresh_window(scores: Table, now: datetime) -> Window:
    """Batch scores in one piece are a window each time they are made."""
    made = now
    if "scored_at" in scores.schema.names:
        with engine_errors(f"read {scores.name}"):
            newest = "epoch_us(max(scored_at::TIMESTAMPTZ))"
            ((found,),) = scores.relation().aggregate(newest).fetchall()
        made = datetime.fromtimestamp(found / 1e6, timezone.utc) if found else now
    return Window(made.strftime("%Y-%m-%dT%H:%M:%SZ"), None, made)


def of_one_version(rows: Table, champion: str | None) -> tuple[Table, str | None, int]:
    """The rows of the champion, or where it made none those of the version that made the newest.

    Just after a promotion most rows of a served window are of the model before.

    Returns:
        The rows, the version (None if they don't say it), and how many rows others made.
    """
    if VERSION not in rows.schema.names:
        return rows, None, 0
    relation = rows.relation()
    clock = next((c for c in ("requested_at", "scored_at") if c in relation.columns), None)
    newest = f"max({clock})" if clock else "count(*)"
    with engine_errors(f"read {rows.name}"):
        counts = (
            relation.filter(f"{VERSION} IS NOT NULL")
            .aggregate(f"{VERSION}::VARCHAR AS v, count(*) AS n, {newest} AS made", VERSION)
            .order("made DESC, n DESC")
            .fetchall()
        )
    if not counts:
        return rows, None, 0
    versions = [version for version, _, _ in counts]
    chosen = champion if champion in versions else versions[0]
    others = sum(count for version, count, _ in counts if version != chosen)
    if not others:
        return rows, chosen, 0
    mine = relation.filter(f"{VERSION}::VARCHAR = {literal(chosen)}")
    return _in_memory(Table(rows.name, value=mine)), chosen, others


def _in_memory(rows: Table) -> Table:
    """Rows that can be read more than once, unlike a query's."""
    with engine_errors(f"read {rows.name}"):
        return Table(rows.name, value=rows.relation().to_arrow_table())


def _live(project: Project, deployment: Deployment, at: datetime | None) -> str | None:
    """The version in use, now or at a moment, as the journals say; reading the registry would
    import MLflow. A server that is in the middle of a rollout isn't where the champion is yet."""
    names = (deployment.name, deployment.model) if deployment.serve else (deployment.model,)
    for name in names:
        journal = Journal(project, name)
        last = journal.at(at) if at else journal.last()
        if last and last.champion is not None:
            return str(last.champion)
    return None


def _labels(
    project: Project, monitor: Monitor, deployment: Deployment, rows: Table, window: Window
) -> Table | None:
    if monitor.labels is None:
        return None
    if monitor.labels.from_feedback:
        return sent_labels(project, deployment, rows, None if deployment.batch else window.since)
    store, name = TableStore(project), monitor.labels.from_
    return store.read(name) if store.exists(name) else None


def _with_reference(
    project: Project, monitor: Monitor, deployment: Deployment, watched: WatchedRows
) -> WatchedRows:
    # the truth in the reference tells the classes of the model's answers
    if not (monitor.drift or monitor.performance or monitor.quality):
        return watched
    store, name = TableStore(project), f"{deployment.model}__reference"
    version = watched.model_version or _newest(store.partitions(name))
    known = version is not None and version in store.partitions(name)
    training = store.read(name, [version]) if known and version else None
    watched = replace(watched, training=training)
    if monitor.drift and monitor.drift.reference == "previous":
        return _with_previous(project, monitor, deployment, watched)
    if training is not None:
        said = f"the training rows of v{version}"
        return replace(watched, reference=training, reference_name=said)
    if not monitor.drift:
        return watched
    raise StepError(
        f"there are no training rows of version {version or '?'} of {deployment.model} "
        "to compare with",
        location=project.locate(monitor, "drift", key=True),
        hint=f"train {deployment.model}, or compare with 'reference: previous'",
    )


def _newest(versions: Sequence[str]) -> str | None:
    return max(versions, key=lambda v: (int(v) if v.isdigit() else -1, v), default=None)


def _with_previous(
    project: Project, monitor: Monitor, deployment: Deployment, watched: WatchedRows
) -> WatchedRows:
    window = watched.window
    if deployment.batch:
        store = TableStore(project)
        earlier = [key for key in store.partitions(deployment.name) if key < window.key]
        if window.partition is None or not earlier:
            return replace(watched, reference_name="there is no window before this one")
        found = store.read(deployment.name, [earlier[-1]])
        return replace(watched, reference=found, reference_name=f"the rows of {earlier[-1]}")
    before = window_before(monitor, window)
    found = _in_memory(PredictionLog(project, deployment.name).read(before.since, before.until))
    if not found.rows:
        return replace(watched, reference_name="there is no window before this one")
    said = f"the rows of {before.key}" if before.partition else "the window before"
    return replace(watched, reference=found, reference_name=said)


def compared_columns(
    project: Project, monitor: Monitor, watched: WatchedRows
) -> tuple[list[str], list[str]]:
    """The columns to compare with the reference, and those of them that hold codes.

    Keys, moments, the truth and our own columns are left out: the model never sees them. So are
    columns that the log masks, for what it holds of them isn't what the model saw.
    """
    if watched.reference is None:
        return [], []
    columns, codes = expected_columns(project, monitor, watched)
    there = set(watched.rows.schema.names)
    columns = [column for column in columns if column in there]
    return columns, [code for code in codes if code in columns]


def expected_columns(
    project: Project, monitor: Monitor, watched: WatchedRows
) -> tuple[list[str], list[str]]:
    """The columns that the rows should have, and those of them that hold codes: inputs that the
    model names and what the rows share with the reference, the answers last."""
    model = _model(project, monitor)
    hidden, codes, named = set(OUR_COLUMNS), list[str](), set[str]()
    deployment = project.blocks.get(monitor.deployment)
    serve = deployment.serve if isinstance(deployment, Deployment) else None
    if serve and serve.log_predictions:
        hidden |= serve.log_predictions.mask.keys()
    if model is not None:
        features = project.blocks.get(model.features)
        hidden |= {model.target, *(identifying_columns(features) if features else ())}
        hidden |= set(model.columns.drop)
        codes = list(model.columns.categorical)
        named = {*codes, *model.columns.numeric, *model.columns.passthrough}
    there = set(watched.rows.schema.names)
    known = watched.reference.schema.names if watched.reference else watched.rows.schema.names
    columns = [c for c in known if (c in there or c in named) and c not in hidden]
    # the answers last, so that equal distances name an input first
    return sorted(columns, key=is_answer), [code for code in codes if code in columns]


def entity_columns(project: Project, monitor: Monitor) -> tuple[str, ...]:
    """The columns that name what a row is about; none where the project doesn't say."""
    deployment = project.blocks.get(monitor.deployment)
    model = deployment.model if isinstance(deployment, Deployment) else ""
    return identity.entity_columns(project, model)


def moment_column(project: Project, monitor: Monitor) -> str | None:
    """The column that says when a row was; None where the project doesn't say."""
    deployment = project.blocks.get(monitor.deployment)
    model = deployment.model if isinstance(deployment, Deployment) else ""
    return identity.moment_of_rows(project, model)


def _model(project: Project, monitor: Monitor) -> Model | None:
    deployment = project.blocks.get(monitor.deployment)
    model = project.blocks.get(deployment.model) if isinstance(deployment, Deployment) else None
    return model if isinstance(model, Model) else None
