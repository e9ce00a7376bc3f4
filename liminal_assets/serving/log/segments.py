"""Segments of the spool: append-only files of records that say themselves whether they are whole.

A segment is ``MAGIC`` and then frames: length and CRC-32 of a record (4 bytes each, little-endian),
then the record in MessagePack. Whatever a crash leaves of the last frame is told from a record by
its length or its sum, so a segment cut at any byte gives back the records before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

__all__ = [
    "MAGIC",
    "SUFFIX",
    "Feedback",
    "Layout",
    "Request",
    "Segment",
    "frame",
    "frames",
    "read_segment",
]

MAGIC = b"liminal spool 1\n"
SUFFIX = ".segment"
_HEAD = struct.Struct("<II")
_LARGEST = 1 << 30
"""No record is larger: a length beyond is not one."""


class Layout(msgspec.Struct, tag="layout", array_like=True, frozen=True):
    """Which columns the requests that name it have: once per segment, before the first of them.

    Attributes:
        key: what requests call it.
        model: the registered model.
        version: its version.
        run_id: the MLflow run that made it.
        columns: name and type (as in a signature) of each logged column.
        scores: the names of the answer's columns.
        rate: the share of requests that is logged.
        shadow: whether nobody was answered by them: a version said so in the background.
    """

    key: int
    model: str
    version: str
    run_id: str | None
    columns: Sequence[tuple[str, str]]
    scores: Sequence[str]
    rate: float
    shadow: bool = False


class Request(msgspec.Struct, tag="request", array_like=True, frozen=True):
    """The rows of one answered request.

    Attributes:
        layout: the key of its layout.
        id: the request's id.
        rows: how many rows it has.
        requested_at: seconds since 1970.
        scored_at: seconds since 1970.
        columns: the values of each logged column.
        scores: the values of each column of the answer.
        sent: the inputs that the request itself held, where others came from the online store.
    """

    layout: int
    id: str
    rows: int
    requested_at: float
    scored_at: float
    columns: Sequence[Any]
    scores: Sequence[Any]
    sent: Sequence[str] | None = None


class Feedback(msgspec.Struct, tag="feedback", array_like=True, frozen=True):
    """A label that arrived later.

    Attributes:
        id: its own id, which sorts by time.
        received_at: seconds since 1970.
        label: the truth, as text.
        prediction_id: the prediction that it is about.
        entity: name, type and value of each entity column, where it is about an entity.
        at: the moment that it is about: seconds since 1970.
        labelled_at: when the truth was known: seconds since 1970; None: when it arrived.
    """

    id: str
    received_at: float
    label: str
    prediction_id: str | None = None
    entity: Sequence[tuple[str, str, Any]] = ()
    at: float | None = None
    labelled_at: float | None = None


_decoder = msgspec.msgpack.Decoder(Layout | Request | Feedback)


@dataclass(frozen=True)
class Segment:
    """What was read of a segment.

    Attributes:
        requests: each with its layout.
        feedback: the labels.
        torn: bytes after the last whole record.
    """

    requests: Sequence[tuple[Layout, Request]]
    feedback: Sequence[Feedback]
    torn: int


def frame(record: bytes) -> bytes:
    """An encoded record as it stands in a segment."""
    return _HEAD.pack(len(record), crc32(record)) + record


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole records of a segment from its beginning, each with where it ends."""
    if not data.startswith(MAGIC):
        return
    view, position = memoryview(data), len(MAGIC)
    while position + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, position)
        end = position + _HEAD.size + length
        record = view[position + _HEAD.size : end]
        # zeros, which a power cut may leave, would be an empty record of the right sum
        if not 0 < length <= _LARGEST or end > len(data) or crc32(record) != checksum:
            return
        yield end, bytes(record)
        position = end


def read_segment(path: Path) -> Segment:
    """The records of a segment, whether it is complete, being written, or cut by a crash.

    Raises:
        OSError: it can't be read.
    """
    data = path.read_bytes()
    layouts: dict[int, Layout] = {}
    requests: list[tuple[Layout, Request]] = []
    feedback: list[Feedback] = []
    good = min(len(MAGIC), len(data)) if MAGIC.startswith(data[: len(MAGIC)]) else 0
    for end, payload in frames(data):
        record = _decoder.decode(payload)
        if isinstance(record, Layout):
            layouts[record.key] = record
        elif isinstance(record, Request):
            requests.append((layouts[record.layout], record))
        else:
            feedback.append(record)
        good = end
    return Segment(requests, feedback, len(data) - good)
