"""The prediction log: Parquet files or a table of a database."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.storage.feedback import FeedbackLog, labels_of, unmatched_of
from liminal_assets.storage.ids import is_id, moment_of
from liminal_assets.storage.logs import RowLog, in_utc
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FeedbackLog", "PredictionLog", "ShadowLog"]

_LONGEST_REQUEST = timedelta(hours=1)
"""From a whole request to the id of its answer."""


class PredictionLog(RowLog):
    """What a deployment's server answered.

    Rows hold the request's entity, timestamp and input columns, ``prediction``, ``probability``
    (binary) or ``probability_<class>``, ``model_version``, ``scored_at``, ``prediction_id``,
    ``requested_at``, ``sample_rate``, and ``sent`` where inputs came from the online store.
    """

    def __init__(self, project: Project, deployment: str) -> None:
        super().__init__(project, deployment, "predictions", "requested_at")
        self.deployment = deployment
        self._project = project

    def read(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The rows requested from ``since`` on and before ``until``, oldest first.

        Args:
            since: default: the beginning. A moment without a time zone is in UTC.
            until: default: now.

        Returns:
            A table, empty if nothing was asked in that time; of a log that was never written with
            the columns alone that every log has.
        """
        found = self._rows.read(in_utc(since), in_utc(until))
        if found is None:
            return Table(self.asset, value=_nothing())
        return Table(self.asset, value=found.order("requested_at, prediction_id"))

    def find(self, own: str) -> Table:
        """The rows of a request, or the one of that id.

        An id of ours says when it was made, so that little of the log is read for it.
        """
        since, until = None, None
        if is_id(own):
            # hexadecimal digits may be of no moment at all
            with suppress(ValueError, OverflowError):
                made = moment_of(own)
                since, until = made - _LONGEST_REQUEST, made + timedelta(seconds=1)
        found = self._rows.read(since, until, own)
        if found is None:
            return Table(self.asset, value=_nothing())
        return Table.from_rows(found.order("requested_at, prediction_id"), self.asset)

    def feedback(self) -> FeedbackLog:
        """The labels that were sent to the deployment's server."""
        return FeedbackLog(self._project, self.deployment)

    def labels(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """The label of each prediction that has one, as text; see
        :func:`~liminal_assets.storage.feedback.labels_of`.

        Args:
            since: of predictions requested from then on.
            until: of predictions requested before.
        """
        return labels_of(self.read(since, until), self.feedback().read())

    def labelled(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """:meth:`read`, with ``label`` and ``labelled_at``: null where there is no label yet."""
        rows = Table.from_rows(self.read(since, until).value, self.asset)
        labels = labels_of(rows, self.feedback().read())
        with session() as connection:
            rows.relation(connection).create_view("predictions")
            labels.relation(connection).create_view("labels")
            joined = connection.sql(
                "SELECT p.*, label, labelled_at FROM predictions p "
                "LEFT JOIN labels l USING (prediction_id) ORDER BY requested_at, prediction_id"
            )
            return Table(self.asset, value=joined.to_arrow_table())

    def unmatched_feedback(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Table:
        """Labels of no prediction in the log: unknown ids and entities, and requests outside of
        the sample (``sampled`` is false).

        Args:
            since: of labels received, and of predictions requested, from then on.
            until: of labels received before.
        """
        labels, rows = self.feedback().read(since, until), self.read(since, until)
        return unmatched_of(rows, labels, sample=self.sample)

    @property
    def sample(self) -> float:
        """The share of requests that the deployment logs now."""
        block = self._project.blocks.get(self.deployment)
        serve = block.serve if isinstance(block, Deployment) else None
        return serve.log_predictions.sample if serve and serve.log_predictions else 1.0


class ShadowLog(RowLog):
    """What versions said in the background that nobody was answered by: ``prediction_id`` of the
    request, ``prediction`` and probabilities, ``model_version``, ``scored_at``, ``requested_at``,
    ``sample_rate``. It is a table of its own, so that none of it is taken for an answer."""

    def __init__(self, project: Project, deployment: str) -> None:
        super().__init__(project, deployment, "shadow", "requested_at")

    def read(self, since: datetime | None = None, until: datetime | None = None) -> Table:
        """What was said of requests from ``since`` on and before ``until``, oldest first."""
        found = self._rows.read(in_utc(since), in_utc(until))
        if found is None:
            return Table(self.asset, value=_nothing())
        return Table(self.asset, value=found.order("requested_at, prediction_id"))


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
