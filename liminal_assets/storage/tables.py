"""Tables as Parquet files: staged, then published by one atomic rename.

``<data>/<project>/<asset>/data.parquet``, or ``<data>/<project>/<asset>/<partition>/data.parquet``.
A crash at any moment leaves the last published rows; half-written ones stay in a staging folder
that no reader looks into.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import (
    Form,
    engine_errors,
    identifier,
    to_form,
    to_relation,
)
from liminal_assets.storage.sessions import connect, reader, register_filesystem

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = [
    "StagedTable",
    "Table",
    "TableStore",
    "content_sum",
    "content_version",
    "version_of",
]

_FILE = "data.parquet"
_STALE_AFTER = 24 * 3600.0
"""Seconds after which a staging file can only be what a crash left."""


@dataclass(frozen=True)
class Table:
    """Rows that can be read in any form: Parquet files, or a value in memory."""

    name: str
    files: tuple[str, ...] = ()
    value: Any = field(default=None, repr=False)
    filesystem: Any = field(default=None, repr=False)
    """The fsspec file system of ``files``; none for local ones."""

    @classmethod
    def from_rows(cls, rows: Any, name: str = "rows") -> Table:
        """Rows in memory, in any form that a user function may return.

        Raises:
            NotRowsError: the value holds no rows.
        """
        import duckdb
        import pyarrow as pa

        # read once: a stream can't be read twice, and a relation ends with its connection
        if isinstance(rows, duckdb.DuckDBPyRelation):
            rows = rows.to_arrow_table()
        elif not isinstance(rows, pa.Table):
            rows = to_relation(rows, reader()).to_arrow_table()
        return cls(name, value=rows)

    def relation(
        self, connection: duckdb.DuckDBPyConnection | None = None
    ) -> duckdb.DuckDBPyRelation:
        """The rows as a DuckDB relation; nothing is read yet.

        Args:
            connection: the session it belongs to; default: a new one.
        """
        if connection is None:
            connection = reader() if self.filesystem is None else connect()
        if self.value is not None:
            return to_relation(self.value, connection)
        if self.filesystem is not None:
            register_filesystem(connection, self.filesystem)
        with engine_errors(f"read {self.name}", hint="refresh it to write it anew"):
            # partitions written before a column was added lack it
            return connection.from_parquet(list(self.files), union_by_name=len(self.files) > 1)

    def to(self, form: Form) -> Any:
        """The rows in one of the forms of :data:`~liminal_assets.storage.forms.FORMS`."""
        import duckdb

        computed = isinstance(self.value, duckdb.DuckDBPyRelation)
        relation = self.value if computed else self.relation()
        hint = None if computed else "refresh it to write it anew"
        with engine_errors(f"read {self.name}", hint=hint):
            return to_form(relation, form)

    @property
    def rows(self) -> int:
        """The number of rows."""
        if self.value is not None and hasattr(self.value, "num_rows"):
            return int(self.value.num_rows)
        relation = self.relation()
        with engine_errors(f"read {self.name}", hint="refresh it to write it anew"):
            return int(relation.aggregate("count(*)").fetchall()[0][0])

    @property
    def schema(self) -> pa.Schema:
        """Column names and Arrow types."""
        return self.relation().limit(0).to_arrow_table().schema


@dataclass(frozen=True)
class StagedTable(Table):
    """Rows written but not yet seen by readers.

    As a context manager it discards what was not published.
    """

    asset: str = ""
    partition: str | None = None
    row_count: int = 0
    data_version: str = ""
    """A hash of the rows' content, whatever their order: equal rows, equal version."""

    @property
    def rows(self) -> int:
        return self.row_count

    def discard(self) -> None:
        """Drops the rows unless they were published."""
        for file in self.files:
            Path(file).unlink(missing_ok=True)

    def __enter__(self) -> StagedTable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


class TableStore:
    """The tables of one project.

    Args:
        project: says where: ``storage.data`` (a folder or an fsspec URL), by default the state
            folder.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        where = project.spec.storage.data
        self._options = project.spec.storage.data_options
        self.remote = where is not None and "://" in where and not where.startswith("file://")
        if self.remote:
            self.root = f"{where}".rstrip("/") + f"/{project.name}"
        else:
            local = (
                project.root / where.removeprefix("file://") if where else project.state / "data"
            )
            self.root = str(local / project.name)

    def exists(self, asset: str) -> bool:
        """Whether any rows of an asset were published."""
        return bool(self._files(asset))

    def partitions(self, asset: str) -> list[str]:
        """The published partitions of an asset, sorted."""
        return sorted(key for key in self._files(asset) if key is not None)

    def read(self, asset: str, partitions: Sequence[str] | None = None) -> Table:
        """The published rows of an asset.

        Args:
            partitions: the partitions to read; default: all that exist. Of an asset without
                partitions they read everything.

        Raises:
            StepError: there are none yet.
        """
        files = self._files(asset)
        if partitions is not None and None not in files:
            missing = [key for key in partitions if key not in files]
            if missing:
                shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
                raise StepError(
                    f"{asset} has no rows for partition {shown}",
                    hint=f"materialise {asset} for it first",
                )
            files = {key: files[key] for key in partitions}
        if not files:
            raise StepError(f"{asset} has no rows yet", hint=f"materialise {asset} first")
        names = [files[key] for key in sorted(files, key=str)]
        return Table(asset, tuple(names), filesystem=self._filesystem())

    def stage(
        self,
        asset: str,
        partition: str | None,
        rows: Any,
        connection: duckdb.DuckDBPyConnection | None = None,
        *,
        measure: bool = True,
    ) -> StagedTable:
        """Writes rows where no reader sees them, in bounded memory where they stream.

        Args:
            rows: a DuckDB relation, Arrow table or reader, pandas or Polars frame, Ibis or
                Spark expression, list of mappings, or a :class:`Table`.
            connection: the session that ``rows`` belongs to, if it is a relation.
            measure: whether to count and hash the rows; an audit does it along with the rest.

        Raises:
            NotRowsError: the value holds no rows.
            StepError: the disk is full, or the rows can't be computed.
        """
        import duckdb

        path = self._staging() / f"{asset}-{uuid.uuid4().hex}.parquet"
        session = connection or (connect() if self.remote else reader())
        if isinstance(rows, Table):
            rows = rows.relation(session)
        elif not isinstance(rows, duckdb.DuckDBPyRelation):
            rows = to_relation(rows, session)
        try:
            with engine_errors(f"write the rows of {asset}"):
                rows.write_parquet(str(path), compression="zstd")
                written = reader().from_parquet(str(path))
                count, version = content_version(written) if measure else (0, "")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return StagedTable(
            asset,
            (str(path),),
            asset=asset,
            partition=partition,
            row_count=count,
            data_version=version,
        )

    def publish(self, staged: StagedTable) -> Table:
        """Makes staged rows the ones that readers see, at once and as a whole.

        Raises:
            StepError: the store can't be written.
        """
        (source,) = staged.files
        target = self._path(staged.asset, staged.partition)
        with engine_errors(f"publish the rows of {staged.asset}"):
            self._set_aside_other_layout(staged.asset, staged.partition)
            if self.remote:
                filesystem, path = self._filesystem(), self._bare(target)
                # a no-op where there are no folders
                filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
                filesystem.put_file(source, path)
                Path(source).unlink()
            else:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(source).replace(target)
        return Table(staged.asset, (target,), filesystem=self._filesystem())

    def write(self, asset: str, partition: str | None, rows: Any) -> StagedTable:
        """Stages and publishes rows that need no audit."""
        with self.stage(asset, partition, rows) as staged:
            self.publish(staged)
        return staged

    def delete(self, asset: str, partition: str | None) -> None:
        """Takes published rows away; those that aren't there are no error."""
        target = self._path(asset, partition)
        if not self.remote:
            Path(target).unlink(missing_ok=True)
            if partition is not None:
                # others may be in it, or it is gone
                with suppress(OSError):
                    Path(target).parent.rmdir()
        elif (filesystem := self._filesystem()).exists(self._bare(target)):
            filesystem.rm_file(self._bare(target))

    def size(self, asset: str, partition: str | None) -> int:
        """The bytes of published rows.

        Raises:
            StepError: there are none.
        """
        path = self._path(asset, partition)
        with engine_errors(f"read {asset}"):
            if not self.remote:
                return Path(path).stat().st_size
            return int(self._filesystem().size(self._bare(path)))

    def age(self, asset: str, partition: str | None) -> float:
        """The seconds since rows were published, by the clock of whoever keeps them.

        Raises:
            StepError: there are none.
        """
        path = self._path(asset, partition)
        with engine_errors(f"read {asset}"):
            if not self.remote:
                return time.time() - Path(path).stat().st_mtime
            return time.time() - float(self._filesystem().modified(self._bare(path)).timestamp())

    def _filesystem(self) -> Any:
        if not self.remote:
            return None
        import fsspec

        filesystem, _ = fsspec.url_to_fs(self.root, **self._options)
        return filesystem

    def _bare(self, path: str) -> str:
        return str(self._filesystem()._strip_protocol(path))

    def _path(self, asset: str, partition: str | None) -> str:
        return "/".join([self.root, asset, *([_escaped(partition)] if partition else []), _FILE])

    def _files(self, asset: str) -> dict[str | None, str]:
        """Published files by partition; None is the key of a table without partitions."""
        files = self._listing(f"{self.root}/{asset}")
        return {
            None if len(parts) == 1 else unquote(parts[0]): path
            for parts, path in files
            if parts[-1] == _FILE and len(parts) <= 2 and not parts[0].startswith(".")
        }

    def _listing(self, folder: str) -> list[tuple[list[str], str]]:
        if not self.remote:
            names = [path for path in Path(folder).glob("*") if not path.name.startswith(".")]
            local = [path / _FILE if path.is_dir() else path for path in names]
            return [
                (path.relative_to(folder).as_posix().split("/"), str(path))
                for path in local
                if path.is_file()
            ]
        filesystem = self._filesystem()
        bare = self._bare(folder)
        filesystem.invalidate_cache()
        found = filesystem.find(bare, maxdepth=2) if filesystem.exists(bare) else []
        return [
            (path[len(bare) :].strip("/").split("/"), str(filesystem.unstrip_protocol(path)))
            for path in found
        ]

    def _set_aside_other_layout(self, asset: str, partition: str | None) -> None:
        """A table that got or lost its partitions keeps its old rows out of the readers' sight."""
        files = self._files(asset)
        other = {key: path for key, path in files.items() if (key is None) != (partition is None)}
        aside = f"{asset}/.replaced-{int(time.time())}"
        for key, path in other.items():
            target = self._path(aside, key)
            if self.remote:
                self._filesystem().mv(self._bare(path), self._bare(target))
            else:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(path).replace(target)

    def _staging(self) -> Path:
        """The folder of half-written rows, on the same disk as the tables if they are local."""
        if self.remote:
            folder = Path(tempfile.gettempdir()) / f"liminal-staging-{os.getuid()}"
        else:
            folder = Path(self.root) / ".staging"
        with engine_errors("make the staging folder"):
            folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.parquet"):
            try:
                if time.time() - left.stat().st_mtime > _STALE_AFTER:
                    left.unlink()
            except FileNotFoundError:
                continue
        return folder


def _escaped(key: str) -> str:
    """A partition key as a folder name that :func:`urllib.parse.unquote` takes back."""
    escaped = quote(key, safe=" :@+,=-_")
    return escaped.replace(".", "%2E") if escaped.startswith(".") else escaped


def content_version(relation: duckdb.DuckDBPyRelation) -> tuple[int, str]:
    """The number of rows and a hash of their content, columns and types, whatever their order."""
    hashed = content_sum(map(identifier, relation.columns))
    ((count, total),) = relation.aggregate(f"count(*), {hashed}").fetchall()
    return count, version_of(relation, count, total)


def content_sum(columns: Iterable[str]) -> str:
    """SQL of an aggregate that tells rows of other content, in whatever order, apart.

    Args:
        columns: SQL of each column, in order.
    """
    return f"coalesce(sum(hash({', '.join(columns)})::HUGEINT), 0) % 18446744073709551557"


def version_of(relation: duckdb.DuckDBPyRelation, count: int, total: int) -> str:
    """The data version of a relation's rows from their number and :func:`content_sum`."""
    schema = ", ".join(
        f"{name} {kind}" for name, kind in zip(relation.columns, relation.types, strict=True)
    )
    ((digest,),) = reader().execute("SELECT hash($1)", [f"{total} of {schema}"]).fetchall()
    return f"{count}-{digest:016x}"
