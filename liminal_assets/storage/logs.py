"""Where the logs of a deployment are: Parquet files, or tables of a database."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.storage.log_files import LogFiles
from liminal_assets.storage.log_table import LogTable
from liminal_assets.storage.tables import TableStore

__all__ = ["RowLog", "in_utc", "log_of"]


def log_of(project: Project, deployment: str, kind: str, moment: str) -> LogFiles | LogTable:
    """Where a deployment's log is: as ``log_predictions: {to: …}`` says.

    Args:
        kind: ``predictions``, ``feedback`` or ``shadow``.
        moment: the column that says when a row was made.
    """
    block = project.blocks.get(deployment)
    serve = block.serve if isinstance(block, Deployment) else None
    target = serve.log_predictions.to if serve and serve.log_predictions else None
    if target is None or block is None:
        return LogFiles(TableStore(project), f"{deployment}__{kind}", moment)
    table = target.table if kind == "predictions" else f"{target.table}__{kind}"
    at = project.locate(block, "serve", "log_predictions", "to")
    return LogTable(project, target.connection, table, moment, at)


class RowLog:
    """Rows of a deployment's log, added and never changed.

    Args:
        kind: ``predictions``, ``feedback`` or ``shadow``.
        moment: the column that says when a row was made.
    """

    def __init__(self, project: Project, deployment: str, kind: str, moment: str) -> None:
        self.asset = f"{deployment}__{kind}"
        self._rows = log_of(project, deployment, kind, moment)

    def append(self, rows: Any, *, batch: str | None = None) -> int:
        """Adds rows, seen by readers as a whole or not at all.

        Args:
            rows: in any form that a table may have, with an aware moment.
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

    def exists(self) -> bool:
        """Whether any row was ever kept."""
        return self._rows.exists()

    def begins(self) -> datetime | None:
        """The moment of the oldest row that is still there; None without any."""
        return self._rows.begins()


def in_utc(moment: datetime | None) -> datetime | None:
    """A moment in UTC; one without a time zone is taken to be."""
    if moment is None:
        return None
    return (
        moment.replace(tzinfo=timezone.utc)
        if moment.tzinfo is None
        else moment.astimezone(timezone.utc)
    )
