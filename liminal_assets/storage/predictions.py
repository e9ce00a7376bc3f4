"""The prediction log and the labels that arrive later: Parquet files or tables of a database."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import identifier
from liminal_assets.storage.log_files import LogFiles
from liminal_assets.storage.log_table import LogTable
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table, TableStore

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["FeedbackLog", "PredictionLog"]

_OWN = ("feedback_id", "prediction_id", "at", "label", "received_at")
"""Columns of the feedback table; others are the entity's."""


class PredictionLog:
    """What a deployment's server answered.

    Rows hold the request's entity, timestamp and input columns, ``prediction``, ``probability``
    (binary) or ``probability_<class>``, ``model_version``, ``scored_at``, ``prediction_id``,
    ``requested_at``, ``sample_rate``, and ``sent`` where inputs came from the online store.
    """

    def __init__(self, project: Project, deployment: str) -> None:
        self.asset = f"{deployment}__predictions"
        self.deployment = deployment
        self._project = project
        self._rows = _log_of(project, deployment, "predictions", "requested_at")

    def append(self, rows: Any, *, batch: str | None = None) -> int:
        """Adds rows, seen by readers as a whole or not at all.

        Args:
            rows: in any form that a table may have, with an aware ``requested_at``.
            batch: a name: rows that were added under it before are replaced.

        Returns:
            The number of rows added.

        Raises:
            StepError: the log can't be written.
        """
        return self._rows.append(rows, batch=batch)

    def tidy(self) -> None:
        """Puts small files together.

        Raises:
            StepError: the log can't be written.
        """
        self._rows.tidy()

    def read(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The rows requested from ``since`` on and before ``until``, oldest first.

        Args:
            since: default: the beginning. A moment without a time zone is in UTC.
            until: default: now.

        Returns:
            A table, empty if nothing was asked in that time; of a log that was never written with
            the columns alone that every log has.
        """
        found = self._rows.read(_utc(since), _utc(until))
        if found is None:
            return Table(self.asset, value=_nothing())
        return Table(self.asset, value=found.order("requested_at, prediction_id"))

    def exists(self) -> bool:
        """Whether anything was ever logged."""
        return self._rows.exists()

    def feedback(self) -> FeedbackLog:
        """The labels that were sent to the deployment's server."""
        return FeedbackLog(self._project, self.deployment)

    def labels(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The newest label of each prediction that has one: ``prediction_id``, ``label`` (text)
        and ``labelled_at``.

        A label is that of a prediction by its id; or by its entity: of the newest prediction of
        the entity that was requested at or before the label's ``at``, and without ``at`` of every
        one requested before the label arrived.

        Args:
            since: of predictions requested from then on.
            until: of predictions requested before.
        """
        with session() as connection:
            labels = _labels(self.read(since, until), self.feedback().read(), connection)
            return Table(f"{self.deployment}__labels", value=labels.to_arrow_table())

    def labelled(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """:meth:`read`, with ``label`` and ``labelled_at``: null where there is no label yet."""
        with session() as connection:
            labels = _labels(self.read(since, until), self.feedback().read(), connection)
            labels.create_view("labels")
            joined = connection.sql(
                "FROM predictions LEFT JOIN labels USING (prediction_id) "
                "ORDER BY requested_at, prediction_id"
            )
            return Table(self.asset, value=joined.to_arrow_table())

    def unmatched_feedback(self) -> Table:
        """Labels of predictions that aren't in the log: unknown ids, or requests outside of the
        sample."""
        feedback = self.feedback().read()
        with session() as connection:
            _viewed(feedback, "feedback", connection)
            _viewed(self.read(), "predictions", connection)
            found = connection.sql(
                "FROM feedback WHERE prediction_id IS NOT NULL AND prediction_id NOT IN "
                "(SELECT prediction_id FROM predictions)"
            )
            return Table(feedback.name, value=found.to_arrow_table())


class FeedbackLog:
    """Labels that were sent to a deployment's server: ``feedback_id``, ``prediction_id`` or the
    entity's columns, ``at``, ``label`` (text) and ``received_at``. None is ever changed: the
    newest counts."""

    def __init__(self, project: Project, deployment: str) -> None:
        self.asset = f"{deployment}__feedback"
        self._rows = _log_of(project, deployment, "feedback", "received_at")

    def append(self, rows: Any, *, batch: str | None = None) -> int:
        """Adds labels; those of the same batch are replaced.

        Raises:
            StepError: they can't be written.
        """
        return self._rows.append(rows, batch=batch)

    def tidy(self) -> None:
        """Puts small files together.

        Raises:
            StepError: they can't be written.
        """
        self._rows.tidy()

    def read(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The labels received from ``since`` on and before ``until``, oldest first."""
        found = self._rows.read(_utc(since), _utc(until))
        if found is None:
            return Table(self.asset, value=_no_feedback())
        return Table(self.asset, value=found.order("received_at, feedback_id"))


def _log_of(project: Project, deployment: str, kind: str, moment: str) -> LogFiles | LogTable:
    """Where a deployment's log is: as ``log_predictions: {to: …}`` says."""
    block = project.blocks.get(deployment)
    serve = block.serve if isinstance(block, Deployment) else None
    target = serve.log_predictions.to if serve and serve.log_predictions else None
    if target is None or block is None:
        return LogFiles(TableStore(project), f"{deployment}__{kind}", moment)
    table = target.table if kind == "predictions" else f"{target.table}__{kind}"
    at = project.locate(block, "serve", "log_predictions", "to")
    return LogTable(project, target.connection, table, moment, at)


def _labels(
    predictions: Table, feedback: Table, connection: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    rows = _viewed(predictions, "predictions", connection)
    _viewed(feedback, "feedback", connection)
    newest = "max_by(label, (received_at, feedback_id)) AS label, max(received_at) AS labelled_at"
    found = [
        "SELECT prediction_id, label, received_at, feedback_id FROM feedback "
        "WHERE prediction_id IN (SELECT prediction_id FROM predictions)"
    ]
    entity = [c for c in feedback.schema.names if c not in _OWN and c in rows.columns]
    if entity:
        # an entity of another version of the feature has fewer columns
        same = " AND ".join(f"(f.{c} IS NULL OR f.{c} = p.{c})" for c in map(identifier, entity))
        told = " OR ".join(f"f.{c} IS NOT NULL" for c in map(identifier, entity))
        joined = f"feedback f JOIN predictions p ON ({same}) AND ({told})"
        columns = "p.prediction_id, f.label, f.received_at, f.feedback_id"
        found += [
            f"SELECT {columns} FROM {joined} WHERE f.prediction_id IS NULL AND f.at IS NULL "
            "AND p.requested_at <= f.received_at",
            f"SELECT {columns} FROM {joined} WHERE f.prediction_id IS NULL "
            "AND p.requested_at <= f.at QUALIFY row_number() OVER "
            "(PARTITION BY f.feedback_id ORDER BY p.requested_at DESC) = 1",
        ]
    return connection.sql(
        f"SELECT prediction_id, {newest} FROM ({' UNION ALL '.join(found)}) GROUP BY prediction_id"
    )


def _viewed(
    rows: Table, name: str, connection: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    """Rows that a query may read more than once."""
    relation = connection.from_arrow(rows.to("arrow"))
    relation.create_view(name)
    return relation


def _nothing() -> pa.Table:
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    columns = {
        "model_version": pa.string(),
        "prediction_id": pa.string(),
        "requested_at": moment,
        "scored_at": moment,
    }
    return pa.schema(list(columns.items())).empty_table()


def _no_feedback() -> pa.Table:
    import pyarrow as pa

    text, moment = pa.string(), pa.timestamp("us", "UTC")
    kinds = dict.fromkeys(_OWN, text) | {"at": moment, "received_at": moment}
    return pa.schema(list(kinds.items())).empty_table()


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return (
        moment.replace(tzinfo=timezone.utc)
        if moment.tzinfo is None
        else moment.astimezone(timezone.utc)
    )
