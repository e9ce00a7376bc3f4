"""Tensors of the Open Inference Protocol, version 2: rows in, scores out.

Rows are one tensor per column, of shape ``[rows]`` or ``[rows, 1]``; or, where every column is a
number, one matrix ``[rows, columns]`` in the order of the signature.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from liminal_assets.serving.errors import RequestError
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.records import Rows, check_count
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import NUMBERS, Field, FieldType, Signature

__all__ = [
    "TENSOR_TYPES",
    "Tensor",
    "from_raw",
    "inputs_of",
    "outputs_of",
    "rows_of",
    "tensors_of",
    "to_raw",
]

_DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""NumPy's types of the protocol's; BYTES has none."""

TENSOR_TYPES = (*_DTYPES, "BYTES")
"""The protocol's types."""

_DATATYPES: Mapping[FieldType, str] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
}
"""The protocol's types of ours; others are BYTES."""

_KINDS = {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FP64"}
"""The protocol's types of the answers, by NumPy's kind; others are BYTES."""


@dataclass(frozen=True)
class Tensor:
    """A tensor, flat.

    Attributes:
        values: an array, or a list of texts, bytes or whatever JSON held.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    values: Any

    def __post_init__(self) -> None:
        if self.datatype != "BYTES" and self.datatype not in _DTYPES:
            raise _wrong(f"{self.name}: unknown datatype {self.datatype!r}")
        if not self.shape or any(size < 0 for size in self.shape):
            raise _wrong(f"{self.name}: its shape must be [rows] or [rows, columns]")
        if prod(self.shape) != len(self.values):
            said = f"{list(self.shape)} needs {prod(self.shape)} values, not {len(self.values)}"
            raise _wrong(f"{self.name}: its shape {said}")


def _wrong(message: str) -> RequestError:
    return RequestError(400, "invalid_tensors", message)


def from_raw(name: str, datatype: str, data: bytes | memoryview) -> Any:
    """The values of a tensor in binary: little-endian numbers, or BYTES with their lengths.

    Raises:
        RequestError: 400 if they can't be that.
    """
    if datatype == "BYTES":
        return list(_texts(name, data))
    if datatype not in _DTYPES:
        raise _wrong(f"{name}: unknown datatype {datatype!r}")
    kind = np.dtype(_DTYPES[datatype])
    if len(data) % kind.itemsize:
        raise _wrong(f"{name}: {len(data)} bytes are no whole number of {datatype}")
    return np.frombuffer(data, kind)


def _texts(name: str, data: bytes | memoryview) -> Any:
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise _wrong(f"{name}: BYTES are cut off")
        (size,) = struct.unpack_from("<I", data, at)
        at += 4 + size
        if at > len(data):
            raise _wrong(f"{name}: BYTES are cut off")
        yield bytes(data[at - size : at])


def to_raw(tensor: Tensor) -> bytes:
    """What :func:`from_raw` reads."""
    if tensor.datatype == "BYTES":
        texts = [str(value).encode() for value in tensor.values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.asarray(tensor.values).astype(_DTYPES[tensor.datatype]).tobytes()


def rows_of(tensors: Sequence[Tensor], signature: Signature, max_rows: int) -> Rows:
    """The rows that tensors hold.

    Raises:
        RequestError: 400 for tensors of different lengths or other shapes, 413 for too many rows.
    """
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise _wrong("the inputs must have different names")
    if len(tensors) == 1 and _is_matrix(tensors[0], signature):
        return _from_matrix(tensors[0], signature, max_rows)
    for tensor in tensors:
        if prod(tensor.shape) != tensor.shape[0]:
            shape = list(tensor.shape)
            raise _wrong(f"{tensor.name}: its shape must be [rows] or [rows, 1], not {shape}")
    counts = {tensor.shape[0] for tensor in tensors}
    if len(counts) > 1:
        raise _wrong("the inputs must have the same number of rows")
    count = counts.pop() if counts else 0
    check_count(count, max_rows)
    known = signature.known
    return Rows({one.name: _read(one, known.get(one.name)) for one in tensors}, count, native=True)


def _is_matrix(tensor: Tensor, signature: Signature) -> bool:
    shape = tensor.shape
    return len(shape) == 2 and shape[1] > 1 and tensor.name not in signature.known


def _from_matrix(tensor: Tensor, signature: Signature, max_rows: int) -> Rows:
    rows, width = tensor.shape
    names = signature.names
    if any(field.type not in NUMBERS for field in signature.fields):
        raise _wrong("not every input is a number: send one tensor per column")
    if width != len(names):
        raise _wrong(f"{tensor.name}: {width} columns, and the model takes {len(names)}")
    check_count(rows, max_rows)
    values = tensor.values
    if isinstance(values, np.ndarray):
        columns: dict[str, Any] = dict(zip(names, values.reshape(rows, width).T, strict=True))
    else:
        columns = {name: values[i::width] for i, name in enumerate(names)}
    return Rows(columns, rows, native=True)


def _read(tensor: Tensor, field: Field | None) -> Any:
    """The values of a tensor as the type of a column would have them."""
    values = tensor.values
    if tensor.datatype == "BYTES" and (field is None or field.type != "binary"):
        return [_text(tensor.name, value) for value in values]
    if field and field.type == "binary":
        return [value.encode() if isinstance(value, str) else value for value in values]
    return values


def _text(name: str, value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise _wrong(f"{name}: BYTES must be text in UTF-8") from None


def tensors_of(scores: Scores, wanted: Sequence[str] = ()) -> list[Tensor]:
    """The answers as tensors of shape ``[rows]``.

    Args:
        wanted: their names; all if there are none.

    Raises:
        RequestError: 400 for a name that there isn't.
    """
    columns = scores.columns
    for name in wanted:
        if name not in columns:
            raise _wrong(f"there is no output {name!r}; there are {', '.join(columns)}")
    return [_tensor(name, columns[name]) for name in wanted or columns]


def _tensor(name: str, column: Any) -> Tensor:
    datatype = _KINDS.get(column.dtype.kind, "BYTES")
    values = [str(value) for value in column.tolist()] if datatype == "BYTES" else column
    return Tensor(name, datatype, [len(column)], values)


def inputs_of(signature: Signature) -> list[dict[str, Any]]:
    """The inputs as metadata tells them."""
    return [
        {"name": field.name, "datatype": _DATATYPES.get(field.type, "BYTES"), "shape": [-1]}
        for field in signature.fields
    ]


def outputs_of(model: ServedModel) -> list[dict[str, Any]]:
    """The outputs as metadata tells them: those of the example's answer."""
    example = {name: [value] for name, value in model.signature.sample(model.example).items()}
    return [
        {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1]}
        for tensor in tensors_of(model.predict(example, 1))
    ]
