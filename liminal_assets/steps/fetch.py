"""Fetch: rows from a database, from files or from a function, streamed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from liminal_assets.errors import StepError
from liminal_assets.language.datasets import Dataset, Fetch
from liminal_assets.language.diagnostics import Location, did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.partitions import partitions_of
from liminal_assets.steps.context import StepContext
from liminal_assets.steps.functions import call_function
from liminal_assets.steps.rows import made_at, table_of
from liminal_assets.steps.sql import fill_path, partition_values, sql_of
from liminal_assets.storage.connections import connected, query
from liminal_assets.storage.forms import engine_errors, literal
from liminal_assets.storage.sessions import connect, register_filesystem
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

__all__ = ["fetch", "open_source", "source_files", "source_version"]

_READERS = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}
_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".zst", ".bz2")


def fetch(
    project: Project,
    dataset: Dataset | str,
    partition: str | None = None,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Table:
    """The rows that a dataset's ``fetch:`` reads, nothing written.

    Args:
        dataset: the dataset or its name.
        partition: the key of the partition to fetch, for a dataset that has partitions.
        connection: the DuckDB session that reads files; default: a new one.

    Raises:
        StepError: what the source reports, with the place in the YAML.
    """
    block = _dataset(project, dataset)
    if partition is None and (cut := partitions_of(project, block)):
        known = ", ".join(cut.values or ()) or f"by {cut.every}, from {cut.start}"
        raise StepError(
            f"{block.name} is fetched partition by partition: which one?",
            location=project.locate(block, "partitions"),
            hint=f"its partitions are {known}",
        )
    context = StepContext(project, block, partition)
    with open_source(context, connection or connect()) as rows:
        return table_of(rows, block.name, made_at(project, block))


def _dataset(project: Project, dataset: Dataset | str) -> Dataset:
    block = project.block(dataset) if isinstance(dataset, str) else dataset
    if not isinstance(block, Dataset) or block.fetch is None:
        name = getattr(block, "name", dataset)
        raise StepError(f"{name} is not a dataset with 'fetch'", location=project.locate(block))
    return block


@contextmanager
def open_source(context: StepContext, session: duckdb.DuckDBPyConnection) -> Iterator[Any]:
    """The rows of a dataset's source, streamed while the block is open.

    Yields:
        A DuckDB relation, an Arrow reader or what a user function returned.

    Raises:
        StepError: what the source reports.
    """
    project, block = context.project, context.block
    spec = block.fetch if isinstance(block, Dataset) else None
    if spec is None:
        raise StepError(f"{block} fetches nothing", location=project.locate(block))
    if spec.python:
        at = project.locate(block, "fetch", "python")
        yield call_function(project, spec.python, {}, context=context, location=at)
    elif spec.file:
        yield _read_files(context, spec, session)
    else:
        key = "sql" if spec.sql else "table"
        at = project.locate(block, "fetch", key)
        with connected(project, spec.connection, location=at) as backend:
            yield query(backend, _query(context, spec, at, backend.dialect))


def _query(context: StepContext, spec: Fetch, at: Location, dialect: Any) -> str:
    if spec.sql:
        return sql_of(context.project, context.block, spec.sql, context.partition_key, at)
    import sqlglot as sg

    parts = [sg.to_identifier(part, quoted=True) for part in str(spec.table).split(".")]
    return f"SELECT * FROM {'.'.join(part.sql(dialect=dialect) for part in parts)}"


def _read_files(
    context: StepContext, spec: Fetch, session: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    project, block = context.project, context.block
    at = project.locate(block, "fetch", "file")
    files = source_files(project, block, context.partition_key)
    form = spec.format or _format_of(files[0].path, at)
    for file in files:
        if file.filesystem is not None:
            register_filesystem(session, file.filesystem)
    options = dict(spec.options)
    if len(files) > 1 and form != "json":
        options.setdefault("union_by_name", True)
    for name in options:
        if not name.isidentifier():
            place = project.locate(block, "fetch", "options", name, key=True)
            raise StepError(f"{name!r} is no option of DuckDB's {form} reader", location=place)
    named = "".join(f", {name} = {literal(value)}" for name, value in options.items())
    paths = literal([file.path for file in files])
    with _file_errors(project, block, form, options):
        return session.sql(f"SELECT * FROM {_READERS[form]}({paths}{named})")


@contextmanager
def _file_errors(
    project: Project, block: Dataset | Any, form: str, options: dict[str, Any]
) -> Iterator[None]:
    import duckdb

    try:
        with engine_errors(
            f"read the {form} files", location=project.locate(block, "fetch", "file")
        ):
            yield
    except StepError as error:
        cause = error.__cause__
        found = re.match(r'Binder Error: Invalid named parameter "(\w+)"', str(cause))
        if isinstance(cause, duckdb.BinderException) and found:
            wrong = found[1]
            raise StepError(
                f"{wrong!r} is no option of DuckDB's {form} reader",
                location=project.locate(block, "fetch", "options", wrong, key=True),
                hint=did_you_mean(wrong, re.findall(r'"(\w+)"', str(cause)[found.end() :])),
            ) from cause
        raise


class SourceFile:
    """A file found for ``fetch: {file: …}``: a local path, or a URL and its file system."""

    __slots__ = ("filesystem", "path", "version")

    def __init__(self, path: str, version: str, filesystem: Any = None) -> None:
        self.path = path
        self.version = version
        """Changes when the file does."""
        self.filesystem = filesystem


def source_files(project: Project, block: Dataset | Any, partition: str | None) -> list[SourceFile]:
    """The files that a dataset reads for a partition, in the order of the YAML, globs sorted.

    Raises:
        StepError: a path or a pattern leads to no file, or a file system can't be reached.
    """
    spec = cast("Fetch", block.fetch)
    found: list[SourceFile] = []
    for index, written in enumerate(spec.file or ()):
        at = project.locate(block, "fetch", "file", index)
        values = partition_values(project, block, partition, at)
        path = fill_path(written, values, at)
        matches = (
            _remote_files(path, spec.storage_options, at)
            if "://" in path and not path.startswith("file://")
            else _local_files(project, path.removeprefix("file://"))
        )
        if not matches:
            kind = "matches" if _is_pattern(path) else "is called"
            raise StepError(
                f"no file {kind} {path}",
                location=at,
                hint=None if "://" in path else f"a relative path starts at {project.root}",
            )
        found.extend(matches)
    return found


def _is_pattern(path: str) -> bool:
    return any(character in path for character in "*?[")


def _local_files(project: Project, path: str) -> list[SourceFile]:
    import glob

    whole = str(project.root / Path(path).expanduser())
    names = sorted(glob.glob(whole, recursive=True)) if _is_pattern(path) else [whole]
    files = []
    for name in names:
        if Path(name).is_file():
            status = Path(name).stat()
            files.append(SourceFile(name, f"{status.st_size}-{status.st_mtime_ns}"))
    return files


def _remote_files(url: str, options: dict[str, Any], at: Location) -> list[SourceFile]:
    import fsspec

    try:
        filesystem, path = fsspec.url_to_fs(url, **options)
        filesystem.invalidate_cache()
        names = (
            sorted(filesystem.glob(path))
            if _is_pattern(path)
            else [path]
            if filesystem.exists(path)
            else []
        )
        return [
            SourceFile(str(filesystem.unstrip_protocol(name)), filesystem.ukey(name), filesystem)
            for name in names
        ]
    except ImportError as error:
        scheme = url.partition("://")[0]
        raise StepError(
            f"the file system for {scheme}:// isn't installed", location=at, hint=str(error)
        ) from error
    except (OSError, ValueError) as error:
        raise StepError(f"cannot reach {url}: {error}", location=at, transient=True) from error


def _format_of(path: str, at: Location) -> str:
    name = path.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    for ending, form in _ENDINGS.items():
        if name.endswith(ending):
            return form
    raise StepError(
        f"the ending of {path} tells no format",
        location=at,
        hint="add 'format: csv', 'json' or 'parquet'",
    )


def source_version(
    project: Project, dataset: Dataset | str, partition: str | None = None
) -> str | None:
    """16 hexadecimal digits that change when the files of a dataset do; none for other sources.

    Raises:
        StepError: there are no such files.
    """
    block = _dataset(project, dataset)
    if block.fetch is None or not block.fetch.file:
        return None
    digest = hashlib.sha256()
    for file in source_files(project, block, partition):
        path = file.path.removeprefix(f"{project.root}/")
        digest.update(f"{path}\0{file.version}\0".encode())
    return digest.hexdigest()[:16]
