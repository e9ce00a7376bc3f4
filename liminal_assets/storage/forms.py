"""The forms that rows take: DuckDB, Arrow, pandas, Polars, Ibis and Spark, one into the other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from liminal_assets.errors import StepError
from liminal_assets.storage.sessions import connect, reader

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "FORMS",
    "Form",
    "NotRowsError",
    "bridge_ibis",
    "connect",
    "engine_errors",
    "identifier",
    "literal",
    "to_form",
    "to_relation",
]

Form = Literal["pandas", "polars", "polars_lazy", "arrow", "duckdb", "ibis", "spark"]

FORMS: dict[str, Form] = {
    "pandas.DataFrame": "pandas",
    "polars.DataFrame": "polars",
    "polars.LazyFrame": "polars_lazy",
    "pyarrow.Table": "arrow",
    "duckdb.DuckDBPyRelation": "duckdb",
    "ibis.Table": "ibis",
    "pyspark.sql.DataFrame": "spark",
}
"""Annotations of user functions and the form that each asks for."""


class NotRowsError(TypeError):
    """A value that holds no rows."""


def bridge_ibis() -> None:
    """Gives DuckDB 2 the two method names of DuckDB 1 that Ibis 12 still calls.

    To be called before Ibis computes with DuckDB.
    """
    import duckdb

    kind: Any = duckdb.DuckDBPyConnection
    if not hasattr(kind, "fetch_arrow_table"):

        def fetch_arrow_table(connection: Any) -> Any:
            return fetch_record_batch(connection).read_all()

        def fetch_record_batch(connection: Any, rows_per_batch: int = 1_000_000) -> Any:
            with warnings.catch_warnings():
                # Ibis asks a cursor, which DuckDB would rather not be asked
                warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
                return connection.to_arrow_reader(rows_per_batch)

        kind.fetch_arrow_table = fetch_arrow_table
        kind.fetch_record_batch = fetch_record_batch


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A plain value (text, number, moment, list, mapping, None) as SQL of DuckDB."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"'{value}'::DOUBLE"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(str(k))}: {literal(v)}" for k, v in value.items()) + "}"
    return "'" + str(value).replace("'", "''") + "'"


@contextmanager
def engine_errors(doing: str, **where: Any) -> Iterator[None]:
    """What DuckDB or the file system reports, as one :class:`StepError`.

    Args:
        doing: what went wrong when it fails: ``"write the rows of departures"``.
        where: ``location`` and ``hint`` of the error.
    """
    import duckdb

    try:
        yield
    except MemoryError as error:
        raise StepError(f"cannot {doing}: out of memory", **where) from error
    except (OSError, duckdb.Error) as error:
        message = str(error).strip()
        if "No space left" in message or "File too large" in message:
            hint = "free some space and run again: what was there before is untouched"
            raise StepError(
                f"cannot {doing}: the disk is full", **{**where, "hint": hint}
            ) from error
        first = message.split("\n\nLINE ")[0].split("\n\nStack")[0]
        raise StepError(f"cannot {doing}: {first}", **where) from error


def to_relation(rows: Any, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    """Rows of any form as a relation of ``connection``, streamed where the form allows it.

    Raises:
        NotRowsError: the value is none of the forms.
    """
    import duckdb
    import pyarrow as pa

    if isinstance(rows, duckdb.DuckDBPyRelation):
        return connection.from_arrow(pa.RecordBatchReader.from_stream(rows))
    if isinstance(rows, pa.Table | pa.RecordBatchReader):
        return connection.from_arrow(rows)
    if isinstance(rows, pa.RecordBatch):
        return connection.from_arrow(pa.Table.from_batches([rows]))
    if isinstance(rows, Iterator):
        return connection.from_arrow(_stream(rows))
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return connection.from_arrow(pa.Table.from_pylist(rows))
    library = type(rows).__module__.partition(".")[0]
    if library == "pandas" and hasattr(rows, "columns"):
        return connection.from_arrow(_pandas_to_arrow(rows))
    if library == "polars" and hasattr(rows, "collect"):
        rows = rows.collect(engine="streaming")
    if library == "polars" and hasattr(rows, "to_arrow") and hasattr(rows, "columns"):
        return connection.from_arrow(rows.to_arrow())
    if library == "ibis" and hasattr(rows, "to_pyarrow_batches"):
        bridge_ibis()
        return connection.from_arrow(rows.to_pyarrow_batches())
    if library == "pyspark":
        return connection.from_arrow(rows.toArrow())
    if hasattr(rows, "__arrow_c_stream__"):
        return connection.from_arrow(pa.RecordBatchReader.from_stream(rows))
    raise NotRowsError(f"{type(rows).__module__}.{type(rows).__qualname__} holds no rows")


def _stream(chunks: Iterator[Any]) -> Any:
    """Frames or tables one after the other, as Arrow batches of the first one's columns."""
    import pyarrow as pa

    first = next(chunks, None)
    if first is None:
        raise NotRowsError("a generator that yields nothing holds no rows")

    def table(chunk: Any) -> Any:
        return to_relation(chunk, reader()).to_arrow_table()

    head = table(first)

    def batches() -> Iterator[Any]:
        yield from head.to_batches()
        for chunk in chunks:
            rows = table(chunk)
            if rows.schema != head.schema:
                rows = rows.select(head.schema.names).cast(head.schema)
            yield from rows.to_batches()

    return pa.RecordBatchReader.from_batches(head.schema, batches())


def _pandas_to_arrow(frame: Any) -> Any:
    import pyarrow as pa

    names = [name for name in frame.index.names if name is not None]
    if names and not set(names) & set(frame.columns):
        frame = frame.reset_index()
    if not all(isinstance(name, str) for name in frame.columns):
        frame = frame.rename(columns=str)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise StepError(
            f"a column holds values of different types: {error}",
            hint="give the column one type before returning it",
        ) from None


def to_form(relation: duckdb.DuckDBPyRelation, form: Form) -> Any:
    """The rows of a relation in another form.

    Raises:
        StepError: the form's library isn't installed.
    """
    if form == "duckdb":
        return relation
    if form == "pandas":
        return relation.df()
    if form == "arrow":
        return relation.to_arrow_table()
    try:
        if form == "polars":
            return relation.pl()
        if form == "polars_lazy":
            return relation.pl(lazy=True)
        if form == "ibis":
            import ibis

            bridge_ibis()
            return ibis.memtable(relation.to_arrow_table())
        from pyspark.sql import SparkSession

        return SparkSession.builder.getOrCreate().createDataFrame(relation.to_arrow_table())
    except ImportError as error:
        library = {"polars_lazy": "polars", "spark": "pyspark", "ibis": "ibis-framework"}
        name = library.get(form, form)
        raise StepError(
            f"a function asks for {name}, which isn't installed", hint=f"pip install {name}"
        ) from error
