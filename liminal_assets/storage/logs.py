"""Where the logs of a deployment are: Parquet files, or tables of a database."""

from __future__ import annotations

from datetime import datetime, timezone

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.storage.log_files import LogFiles
from liminal_assets.storage.log_table import LogTable
from liminal_assets.storage.tables import TableStore

__all__ = ["in_utc", "log_of"]


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


def in_utc(moment: datetime | None) -> datetime | None:
    """A moment in UTC; one without a time zone is taken to be."""
    if moment is None:
        return None
    return (
        moment.replace(tzinfo=timezone.utc)
        if moment.tzinfo is None
        else moment.astimezone(timezone.utc)
    )
