"""Labels that were sent to a deployment: those of a window's rows, and those of no row at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Labels
from liminal_assets.steps.identity import entity_columns, moment_of_rows
from liminal_assets.steps.labels import label_text
from liminal_assets.storage.feedback import REQUESTED, FeedbackLog, labels_of, unmatched_of
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.ids import new_id, row_ids
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import Table, TableStore

__all__ = ["Unmatched", "record_labels", "sent_labels", "unmatched_labels"]


@dataclass(frozen=True)
class Unmatched:
    """Labels that belong to no row.

    Attributes:
        unknown: those of ids and entities that aren't in the log.
        unsampled: those of requests that a log of a share of them leaves out.
    """

    unknown: int
    unsampled: int = 0


def sent_labels(
    project: Project, deployment: Deployment, rows: Table, since: datetime | None = None
) -> Table:
    """The label of each row that has one, as text; see
    :func:`~liminal_assets.storage.feedback.labels_of`.

    Args:
        rows: served rows or batch scores.
        since: no label of theirs arrived before.
    """
    labels = FeedbackLog(project, deployment.name).read(since)
    with engine_errors(f"join the labels of {deployment.name}"):
        return labels_of(rows, labels, _moment(project, deployment))


def unmatched_labels(
    project: Project, deployment: Deployment, spec: Labels, until: datetime
) -> Unmatched:
    """The labels of the last ``within`` that belong to no row.

    Args:
        until: the end of that time.
    """
    since = None if deployment.batch else until - spec.within
    labels = FeedbackLog(project, deployment.name).read(since, until)
    if not labels.rows:
        return Unmatched(0)
    log = PredictionLog(project, deployment.name)
    store, sample = TableStore(project), 1.0
    if deployment.batch:
        rows = store.read(deployment.name)
    else:
        # what a label of the first day is about may be as much older
        rows, sample = log.read(until - 2 * spec.within, until), log.sample
    with engine_errors(f"join the labels of {deployment.name}"):
        found = unmatched_of(rows, labels, _moment(project, deployment), sample=sample)
    unsampled = found.to("arrow")["sampled"].to_pylist().count(False)
    return Unmatched(found.rows - unsampled, unsampled)


def record_labels(project: Project, deployment: Deployment | str, rows: Any) -> int:
    """Records labels, as ``POST /feedback`` does, for jobs that have many at once.

    >>> la.steps.record_labels(project, "late_arrival_api", outcomes[["flight_id", "label"]])

    Args:
        deployment: a server, or batch scores.
        rows: in any form that a table may have: ``label``, and ``prediction_id`` or the entity's
            columns with, if wanted, ``at``; ``labelled_at`` where the truth was known before now.
            Rows without a label are left out.

    Returns:
        The number of labels recorded.

    Raises:
        StepError: a column is missing, or the log can't be written.
    """
    import pyarrow.compute as pc

    name = deployment if isinstance(deployment, str) else deployment.name
    block = project.blocks.get(name)
    if not isinstance(block, Deployment):
        known = [one.name for one in project.spec.deployments]
        message = f"no deployment is called {name!r}"
        raise StepError(message, hint=did_you_mean(name, known))
    table = Table.from_rows(rows, "labels").to("arrow")
    about = _about(project, block, table.schema.names)
    known = table.filter(pc.invert(table["label"].is_null(nan_is_null=True)))
    if not known.num_rows:
        return 0
    return FeedbackLog(project, name).append(_recorded(known, about))


def _about(project: Project, block: Deployment, names: Sequence[str]) -> list[str]:
    """The columns that say what labels are about."""
    entity = entity_columns(project, block.model)
    at = project.locate(block)
    if "label" not in names:
        message, hint = "the labels have no column 'label'", did_you_mean("label", names)
        raise StepError(message, location=at, hint=hint)
    if "prediction_id" in names:
        return ["prediction_id"]
    if entity and set(entity) <= set(names):
        return [*entity, *(["at"] if "at" in names else [])]
    others = f" or {' and '.join(map(repr, entity))}" if entity else ""
    raise StepError(
        f"the labels don't say what they are about: there is no column 'prediction_id'{others}",
        location=at,
    )


def _recorded(table: Any, about: Sequence[str]) -> Any:
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    now = pa.repeat(pa.scalar(datetime.now(timezone.utc), moment), table.num_rows)
    columns = {name: table[name] for name in about}
    columns.setdefault("prediction_id", pa.nulls(table.num_rows, pa.string()))
    columns["at"] = _moments(columns.get("at"), pa.nulls(table.num_rows, moment))
    known = table["labelled_at"] if "labelled_at" in table.schema.names else None
    return pa.table(
        {
            "feedback_id": row_ids(new_id(), table.num_rows),
            **columns,
            "label": pa.array([label_text(v) for v in table["label"].to_pylist()], pa.string()),
            "labelled_at": _moments(known, now),
            "received_at": now,
        }
    )


def _moments(values: Any, default: Any) -> Any:
    """Moments in UTC; those without a time zone are taken to be."""
    import pyarrow.compute as pc

    if values is None:
        return default
    return pc.coalesce(values.cast(default.type), default)


def _moment(project: Project, deployment: Deployment) -> str:
    """The column that says when a row was."""
    if deployment.batch is None:
        return REQUESTED
    return moment_of_rows(project, deployment.model) or "scored_at"
