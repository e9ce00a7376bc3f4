"""Batch inference: a feature's rows scored by the champion, kept as a table and delivered."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import BatchTarget, Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import partitions_of
from liminal_assets.steps.champion import Champion, load_champion
from liminal_assets.steps.distribution import prediction_summary
from liminal_assets.steps.identity import identifying_columns
from liminal_assets.steps.inputs import read_input
from liminal_assets.steps.report import Records
from liminal_assets.steps.score import CHUNK_ROWS, ScoreStream
from liminal_assets.storage.database_tables import write_table
from liminal_assets.storage.forms import connect, engine_errors
from liminal_assets.storage.ids import new_id
from liminal_assets.storage.tables import StagedTable, Table, TableStore, content_version

__all__ = ["PARTITION_COLUMN", "BatchScores", "score_batch"]

PARTITION_COLUMN = "partition_key"
"""The column of a connection's table that says which partition a row belongs to."""

_PREVIEW_ROWS = 5
_CONTENT = "* EXCLUDE (scored_at, prediction_id)"


@dataclass(frozen=True)
class BatchScores:
    """The scores of one partition, published.

    Attributes:
        table: their rows as they were staged.
        published: their rows where readers find them.
        champion: the version that gave them.
        data_version: a hash of the rows without the moment of scoring: equal scores, equal
            version.
        metadata: what people want to see of them.
    """

    table: StagedTable
    published: Table
    champion: Champion
    data_version: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def score_batch(
    project: Project,
    deployment: Deployment | str,
    partition: str | None = None,
    champion: Champion | None = None,
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> BatchScores:
    """Scores the rows that a ``batch`` deployment reads, in bounded memory.

    The scores are delivered to ``to:``, then published as the table of the deployment; both
    replace those of the same partition.

    Args:
        partition: the partition; None for a feature in one piece.
        champion: the champion, where it is loaded already.

    Raises:
        StepError: there is no champion, there are no rows, the model can't answer them, or the
            scores can't be delivered.
    """
    block = project.blocks.get(deployment) if isinstance(deployment, str) else deployment
    if not isinstance(block, Deployment) or block.batch is None:
        raise StepError(f"{deployment} is no deployment that scores in batches")
    started = time.perf_counter()
    champion = champion or load_champion(project, block)
    at = project.locate(block, "batch", "from")
    rows = read_input(project, block, block.batch.from_, partition, location=at)
    stream = ScoreStream(
        champion.pipeline,
        champion.signature,
        # a database of its own: the one that writes pulls these rows while it works
        rows.relation(connect()),
        keep=identifying_columns(project.blocks.get(block.batch.from_)),
        model_version=str(champion.version.version),
        own_id=new_id(),
        chunk_rows=chunk_rows,
        where={"location": at},
    )
    store = TableStore(project)
    with _staged(store, block, partition, stream) as staged:
        if not staged.rows and partition is None:
            raise StepError(f"{block.batch.from_} has no rows to score", location=at)
        delivered = _deliver(project, block, partition, staged)
        report = _report(champion, staged)
        _, version = content_version(staged.relation().select(_CONTENT))
        published = store.publish(staged)
    seconds = round(time.perf_counter() - started, 3)
    told = {**report, "delivered_to": delivered, "seconds": seconds}
    return BatchScores(staged, published, champion, version, told)


def _staged(
    store: TableStore, block: Deployment, partition: str | None, stream: ScoreStream
) -> StagedTable:
    try:
        return store.stage(block.name, partition, stream.reader())
    except StepError:
        # the engine only knows that the stream ended; the stream knows why
        stream.check()
        raise


def _deliver(
    project: Project, block: Deployment, partition: str | None, scores: StagedTable
) -> str | None:
    """Writes scores where ``to:`` says, over those of the same partition."""
    target = block.batch.to if block.batch else None
    if target is None:
        return None
    at = project.locate(block, "batch", "to")
    if target.table is not None:
        rows, replaced = scores.relation(), None
        if partition is not None:
            key = f"'{partition.replace(chr(39), chr(39) * 2)}' AS {PARTITION_COLUMN}"
            rows, replaced = rows.select(f"*, {key}"), {PARTITION_COLUMN: partition}
        table = Table(scores.name, value=rows)
        write_table(project, target.connection, target.table, table, replaced, location=at)
        name = target.connection or project.spec.connections[0].connection
        return f"{name}: {target.table}"
    partitioned = partitions_of(project, block) is not None
    url = _file_url(project, target, partition if partitioned else None)
    with engine_errors(f"write the scores of {block.name} to {url}", location=at):
        _put(Path(scores.files[0]), url, target.storage_options)
    return url


def _file_url(project: Project, target: BatchTarget, partition: str | None) -> str:
    """One file per partition in the folder that ``file:`` names, or the file itself."""
    said = (target.file or "").rstrip("/")
    if partition is None:
        url = said if said.endswith(".parquet") else f"{said}/scores.parquet"
    else:
        url = f"{said}/{quote(partition, safe=' :@+,=-_')}.parquet"
    return url if "://" in url else str(project.root / url)


def _put(source: Path, url: str, options: Mapping[str, Any]) -> None:
    """Copies a file to a URL; readers see the old one or the new one."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    filesystem, path = fsspec.url_to_fs(url, **options)
    filesystem.makedirs(filesystem._parent(path), exist_ok=True)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.put_file(str(source), path)
        return
    draft = f"{path}.{uuid.uuid4().hex[:8]}.draft"
    try:
        filesystem.put_file(str(source), draft)
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _report(champion: Champion, scores: StagedTable) -> dict[str, Any]:
    version = champion.version
    said: dict[str, Any] = {
        "model_version": str(version.version),
        "mlflow_run": version.run_id,
    }
    if not scores.rows:
        return {**said, "warning": "there are no rows"}
    relation = scores.relation()
    with engine_errors(f"read the scores of {scores.asset}"):
        said |= prediction_summary(relation)
        head = relation.limit(_PREVIEW_ROWS)
        rows = [dict(zip(head.columns, row, strict=True)) for row in head.fetchall()]
    return {**said, "preview": Records(rows)}
