"""Offline inference: the rows of a CSV, JSON or Parquet file scored by a deployment's champion."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.steps.champion import Champion, load_champion
from liminal_assets.steps.score import ScoreStream
from liminal_assets.steps.signature import SQL_TYPES, Signature
from liminal_assets.storage.forms import connect, engine_errors

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["FILE_KINDS", "ScoredFile", "copy_options", "file_kind", "score_file", "write_rows"]

FILE_KINDS: Mapping[str, str] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""What a file holds, by the end of its name; ``.gz`` may follow that of a text file."""


@dataclass(frozen=True)
class ScoredFile:
    """The scored rows of a file, computed while they are read."""

    champion: Champion
    stream: ScoreStream

    def reader(self) -> pa.RecordBatchReader:
        """The file's columns with the answers beside them."""
        return self.stream.reader()


def file_kind(path: Path) -> str:
    """``csv``, ``json`` or ``parquet``.

    Raises:
        StepError: the name says none of them.
    """
    name = path.name.lower().removesuffix(".gz")
    kind = next((kind for end, kind in FILE_KINDS.items() if name.endswith(end)), None)
    if kind is None:
        raise StepError(
            f"{path.name} is no csv, json or parquet file by its name",
            hint=f"names end in {', '.join(FILE_KINDS)}",
        )
    return kind


def score_file(project: Project, deployment: Deployment, path: Path) -> ScoredFile:
    """The rows of a file, read in the types of the model's inputs, with the champion's answers.

    Raises:
        StepError: there is no champion, the file can't be read, or it lacks a column.
    """
    kind = file_kind(path)
    champion = load_champion(project, deployment)
    with engine_errors(f"read {path}"):
        relation = _READERS[kind](connect(), path, champion.signature)
        columns = list(relation.columns)
    stream = ScoreStream(
        champion.pipeline,
        champion.signature,
        relation,
        keep=columns,
        model_version=str(champion.version.version),
    )
    return ScoredFile(champion, stream)


def _csv(
    session: duckdb.DuckDBPyConnection, path: Path, signature: Signature
) -> duckdb.DuckDBPyRelation:
    found = session.read_csv(str(path))
    # a guess would read the code 007 as the number 7
    types = {name: kind for name, kind in _types(signature).items() if name in found.columns}
    return session.read_csv(str(path), dtype=types)


def _json(
    session: duckdb.DuckDBPyConnection, path: Path, signature: Signature
) -> duckdb.DuckDBPyRelation:
    found = session.read_json(str(path))
    guessed = dict(zip(found.columns, map(str, found.types), strict=True))
    # a guess would read the text 2026-01-31 as a date
    types = {name: _types(signature).get(name, kind) for name, kind in guessed.items()}
    return session.read_json(str(path), columns=types)


def _parquet(
    session: duckdb.DuckDBPyConnection, path: Path, signature: Signature
) -> duckdb.DuckDBPyRelation:
    return session.from_parquet(str(path))


_READERS: Mapping[str, Callable[..., Any]] = {"csv": _csv, "json": _json, "parquet": _parquet}


def _types(signature: Signature) -> dict[str, str]:
    kinds = {field.name: SQL_TYPES.get(field.type) for field in signature.fields}
    return {name: kind for name, kind in kinds.items() if kind}


def write_rows(rows: ScoredFile, path: Path) -> int:
    """Writes scored rows to a file, whose name says as what; it appears whole or not at all.

    Returns:
        The number of rows.

    Raises:
        StepError: the rows can't be scored, or the file can't be written.
    """
    kind = file_kind(path)
    draft = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    counted = _Counted(rows.reader())
    try:
        with engine_errors(f"write {path}"):
            session = connect()
            session.register("scored", counted.reader)
            session.execute(
                f"COPY (FROM scored) TO '{_sql_text(draft)}' ({copy_options(path, kind)})"
            )
            draft.replace(path)
    except StepError:
        rows.stream.check()
        raise
    finally:
        draft.unlink(missing_ok=True)
    return counted.rows


def copy_options(path: Path, kind: str) -> str:
    """The options of DuckDB's ``COPY`` that write a file of its kind (:func:`file_kind`)."""
    name = path.name.lower()
    compressed = ", COMPRESSION gzip" if name.endswith(".gz") else ""
    if kind == "parquet":
        return "FORMAT parquet, COMPRESSION zstd"
    if kind == "json":
        array = ", ARRAY true" if ".json" in name.removesuffix(".gz")[-5:] else ""
        return f"FORMAT json{array}{compressed}"
    delimiter = ", DELIMITER '\t'" if ".tsv" in name else ""
    return f"FORMAT csv, HEADER{delimiter}{compressed}"


def _sql_text(path: Path) -> str:
    return str(path).replace("'", "''")


class _Counted:
    """A stream that knows how many rows went through."""

    def __init__(self, source: pa.RecordBatchReader) -> None:
        import pyarrow as pa

        self.rows = 0

        def batches() -> Any:
            for batch in source:
                self.rows += batch.num_rows
                yield batch

        self.reader = pa.RecordBatchReader.from_batches(source.schema, batches())
