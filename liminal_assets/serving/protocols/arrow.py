"""Rows as an Arrow IPC stream or a Parquet file in, answers as an Arrow IPC stream out: for bulk.

Nothing of a foreign stream is believed: it is validated whole, and what it may grow to is known
before it does.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from liminal_assets.serving.engine import Answer
from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.protocols.records import Rows, check_count

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARROW", "PARQUET", "encode", "from_parquet", "from_stream"]

ARROW = b"application/vnd.apache.arrow.stream"
PARQUET = b"application/vnd.apache.parquet"

_FLAWS = (ValueError, OverflowError, OSError, struct.error)
"""What reading a malformed body raises, besides Arrow's own."""

_DICTIONARY = 2
"""Of the messages, the one that holds a dictionary."""

_GROWTH = 8
"""A compressed body may grow by this factor over the largest body."""


def from_stream(body: bytes, max_rows: int, max_bytes: int) -> Rows:
    """The rows of an Arrow IPC stream.

    Args:
        max_bytes: the largest body of a request.

    Raises:
        RequestError: 400 for what is no stream of flat columns, 413 for more rows or bytes than
            a request may carry.
    """
    import pyarrow as pa

    try:
        _check_growth(body, max_bytes * _GROWTH)
        batches, rows = [], 0
        with pa.ipc.open_stream(body) as reader:
            schema = reader.schema
            for batch in reader:
                rows += batch.num_rows
                if rows > max_rows:
                    check_count(rows, max_rows)
                batch.validate(full=True)
                batches.append(batch)
        return _rows(pa.Table.from_batches(batches, schema), max_rows, max_bytes * _GROWTH)
    except (*_FLAWS, pa.ArrowException) as error:
        raise _malformed("an Arrow IPC stream", error) from None


def from_parquet(body: bytes, max_rows: int, max_bytes: int) -> Rows:
    """The rows of a Parquet file; errors as of :func:`from_stream`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        check_count(file.metadata.num_rows, max_rows)
        groups = range(file.metadata.num_row_groups)
        _check_size(
            sum(file.metadata.row_group(i).total_byte_size for i in groups), max_bytes * _GROWTH
        )
        table = file.read()
        table.validate(full=True)
        return _rows(table, max_rows, max_bytes * _GROWTH)
    except (*_FLAWS, pa.ArrowException) as error:
        raise _malformed("a Parquet file", error) from None


def encode(answer: Answer) -> bytes:
    """The answer as a stream: the columns of the scores, and ``prediction_id``."""
    import pyarrow as pa

    columns = {name: pa.array(values) for name, values in answer.scores.columns.items()}
    said = {
        "model": answer.model.name,
        "model_version": answer.model.version,
        "prediction_id": answer.id,
    }
    table = pa.table({**columns, "prediction_id": list(answer.ids)}, metadata=said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _malformed(what: str, error: Exception) -> RequestError:
    first = str(error).strip().split("\n")[0][:200]
    return RequestError(400, "invalid_rows", f"the body is not {what}: {first}")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        message = f"the rows are larger than {limit / 2**20:.3g} MiB when they are unpacked"
        raise RequestError(413, "body_too_large", message)


def _rows(table: pa.Table, max_rows: int, limit: int) -> Rows:
    check_count(table.num_rows, max_rows)
    names = table.column_names
    if len(set(names)) != len(names):
        raise RequestError(400, "invalid_rows", "the columns must have different names")
    columns = {
        name: _values(name, column, limit)
        for name, column in zip(names, table.columns, strict=True)
    }
    return Rows(columns, table.num_rows, native=True)


def _values(name: str, column: pa.ChunkedArray, limit: int) -> Any:
    """An array of numbers without nulls, else a list of Python's values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if types.is_dictionary(column.type):
        column = _unpacked(column, limit)
    kind = column.type
    if types.is_decimal(kind) or types.is_float16(kind):
        column = pc.cast(column, pa.float64())
    elif types.is_timestamp(kind):
        # Python has no nanoseconds
        column = pc.cast(column, pa.timestamp("us", kind.tz and "UTC"), safe=False)
    elif types.is_date(kind):
        column = pc.cast(column, pa.timestamp("us"))
    elif kind in (pa.string_view(), pa.binary_view()):
        # views may show the same bytes again and again
        _check_size(sum(_viewed(chunk) for chunk in column.chunks), limit)
    elif not (_is_text(kind) or types.is_primitive(kind) or types.is_null(kind)):
        raise RequestError(400, "invalid_rows", f"{name}: a column can't be of type {kind}")
    number = types.is_integer(column.type) or types.is_floating(column.type)
    if number and not column.null_count:
        return column.to_numpy()
    return [None if value != value else value for value in column.to_pylist()]


def _unpacked(column: pa.ChunkedArray, limit: int) -> pa.ChunkedArray:
    """A column whose values are in a dictionary, with a value of its own for each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if _is_text(column.type.value_type):
        parts = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
        _check_size(sum(pc.sum(part).as_py() or 0 for part in parts), limit)
    elif not pa.types.is_primitive(column.type.value_type):
        raise RequestError(400, "invalid_rows", f"a column can't be of type {column.type}")
    return pc.cast(column, column.type.value_type)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    fixed = pa.types.is_fixed_size_binary(kind)
    return fixed or str(kind) in ("string", "large_string", "binary", "large_binary")


def _viewed(chunk: pa.Array) -> int:
    """The bytes that the views of a chunk show: the first of four numbers is the length."""
    import numpy as np

    views = np.frombuffer(chunk.buffers()[1], "<i4").reshape(-1, 4)
    return int(views[chunk.offset : chunk.offset + len(chunk), 0].sum(dtype="int64"))


def _check_growth(body: bytes, limit: int) -> None:
    """Refuses a stream whose compressed buffers claim to be too large; a decoder believes them.

    Raises:
        RequestError: 413.
    """
    import pyarrow as pa

    size = 0
    reader = pa.ipc.MessageReader.open_stream(body)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type != "schema" and message.body is not None:
            size += _claimed(memoryview(message.metadata), memoryview(message.body))
            _check_size(size, limit)


def _claimed(metadata: memoryview, body: memoryview) -> int:
    """The bytes that the buffers of a batch say they unpack to.

    Reads Arrow's Message.fbs (``Message.header`` → ``RecordBatch.buffers``, ``.compression``), that
    pyarrow doesn't show; it has verified the FlatBuffers by now.
    """
    message = _Table(metadata, _uint(metadata, 0))
    batch = message.table(2)
    if message.byte(1) == _DICTIONARY:
        batch = batch.table(1)
    if not batch.field(3):
        return 0
    start, size = batch.vector(2), 0
    for i in range(_uint(metadata, start)):
        offset, length = struct.unpack_from("<qq", metadata, start + 4 + 16 * i)
        if length >= 8 and offset >= 0:
            size += max(struct.unpack_from("<q", body, offset)[0], 0)
    return size


class _Table:
    """A table of FlatBuffers at a position: where its fields are, in the order of its schema."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at

    def field(self, index: int) -> int:
        """The position of a field; 0 if it isn't there."""
        vtable = self._at - struct.unpack_from("<i", self._data, self._at)[0]
        (size,) = struct.unpack_from("<H", self._data, vtable)
        if 4 + 2 * index >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, vtable + 4 + 2 * index)
        return self._at + offset if offset else 0

    def byte(self, index: int) -> int:
        at = self.field(index)
        return self._data[at] if at else 0

    def vector(self, index: int) -> int:
        """Where a vector begins, with its length."""
        at = self.field(index)
        return at + _uint(self._data, at)

    def table(self, index: int) -> _Table:
        return _Table(self._data, self.vector(index))


def _uint(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])
