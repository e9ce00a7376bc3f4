"""The inputs of a model: names and types, and rows of them in the one form that pipelines get.

Served rows, batch scores and ``liminal predict`` all go through :meth:`Signature.frame`, so that
one row is answered alike wherever it comes from.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from liminal_assets.errors import StepError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "NUMBERS",
    "SQL_TYPES",
    "Field",
    "FieldType",
    "Signature",
]

FieldType = Literal[
    "boolean", "integer", "long", "float", "double", "string", "datetime", "binary", "any"
]
"""MLflow's column types; ``any`` is a scalar of unknown type."""

NUMBERS: Mapping[FieldType, str] = {
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
}
"""NumPy's type of each numeric one."""

SQL_TYPES: Mapping[FieldType, str] = {
    "boolean": "BOOLEAN",
    "integer": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "datetime": "TIMESTAMP",
    "binary": "BLOB",
}
"""DuckDB's type of each; ``any`` stays what it is."""


@dataclass(frozen=True)
class Field:
    """One column."""

    name: str
    type: FieldType
    required: bool = True
    """Whether it must be there and not null."""
    stored: bool = False
    """Whether a row may leave it out, for it can be looked up by the row's entity."""

    @property
    def needed(self) -> bool:
        """Whether every row must hold it itself."""
        return self.required and not self.stored


@dataclass(frozen=True)
class Signature:
    """What a model takes.

    Attributes:
        fields: its input columns, in the order in which it learned them.
        carried: columns that rows may have besides (entity, timestamp): they are logged and
            returned, and never reach the model.
    """

    fields: tuple[Field, ...]
    carried: tuple[Field, ...] = ()

    @classmethod
    def of(cls, signature: Any) -> Signature:
        """The signature of an MLflow model (or its ``to_dict()``), or of a frame to learn from.

        Raises:
            StepError: it names no columns.
        """
        if isinstance(signature, Signature):
            return signature
        if hasattr(signature, "dtypes") and hasattr(signature, "columns"):
            return cls(tuple(_learned(str(name), signature[name]) for name in signature.columns))
        if hasattr(signature, "to_dict"):
            signature = signature.to_dict()
        inputs = signature.get("inputs") if isinstance(signature, Mapping) else None
        columns = json.loads(inputs) if isinstance(inputs, str) else inputs
        if not columns or any("name" not in column for column in columns):
            raise StepError(
                "the model's signature names no input columns",
                hint="log it with mlflow.models.infer_signature(frame, ...) of a pandas frame",
            )
        return cls(tuple(_field(column) for column in columns))

    def carrying(self, fields: Sequence[Field]) -> Signature:
        """The same with columns that are carried along, unless the model takes them."""
        own = set(self.names)
        return replace(self, carried=tuple(field for field in fields if field.name not in own))

    def storing(self, entity: Sequence[str]) -> Signature:
        """The same where rows may leave out all inputs but the columns of their entity."""
        fields = (replace(field, stored=field.name not in entity) for field in self.fields)
        return replace(self, fields=tuple(fields))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The input columns."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def known(self) -> Mapping[str, Field]:
        """Every column that a row may have."""
        return {field.name: field for field in (*self.fields, *self.carried)}

    def frame(self, columns: Mapping[str, Sequence[Any]], rows: int) -> pd.DataFrame:
        """The input columns as pandas holds them: numbers in NumPy's types, with NaN for null
        (whole numbers with nulls become float64); text, and truth values with nulls, as objects
        with None; moments as datetime64[us].

        Args:
            columns: checked values by name; None is null. Others are left out.
        """
        import pandas as pd

        if self.all_double:
            return pd.DataFrame(self.matrix(columns, rows), columns=self._index, copy=False)
        arrays = {field.name: _array(field, columns[field.name]) for field in self.fields}
        return pd.DataFrame(arrays, columns=self._index, copy=False)

    def matrix(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray[Any, Any]:
        """What ``frame(...).to_numpy()`` is where every input is a double."""
        import numpy as np

        matrix = np.empty((rows, len(self.fields)))
        for position, name in enumerate(self.names):
            # NumPy reads None as NaN
            matrix[:, position] = columns[name]
        return matrix

    def frame_of(self, rows: pa.Table | pa.RecordBatch) -> pd.DataFrame:
        """:meth:`frame` of Arrow rows that :meth:`select` made."""
        columns: dict[str, Any] = {}
        for field in self.fields:
            column = rows.column(field.name)
            if column.null_count or field.type in ("string", "binary", "any"):
                columns[field.name] = column.to_pylist()
            elif field.type == "boolean":
                columns[field.name] = column.to_numpy(zero_copy_only=False)
            else:
                columns[field.name] = column.to_numpy()
        return self.frame(columns, rows.num_rows)

    def sample(self, row: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A row of the inputs in Python's types: that of a table, or one made up.

        Args:
            row: values as Arrow or DuckDB gives them; NaN counts as null. A required column
                that it lacks is made up.
        """
        stored = row or {}
        return {field.name: _value(field, stored.get(field.name)) for field in self.fields}

    def as_json(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row in Python's types as values that JSON can hold."""
        return {name: _json(value) for name, value in row.items()}

    @cached_property
    def all_double(self) -> bool:
        """Whether every input is a double."""
        return all(field.type == "double" for field in self.fields)

    @cached_property
    def _index(self) -> Any:
        import pandas as pd

        return pd.Index(self.names)


def _learned(name: str, column: pd.Series) -> Field:
    """A column as MLflow would infer it, without the seconds that importing MLflow takes."""
    from pandas.api import types

    kind: FieldType = "any"
    dtype: Any = column.dtype
    if types.is_bool_dtype(column):
        kind = "boolean"
    elif types.is_integer_dtype(column):
        kind = "integer" if dtype.itemsize <= 4 else "long"
    elif types.is_float_dtype(column):
        kind = "float" if dtype.itemsize <= 4 else "double"
    elif types.is_datetime64_any_dtype(column):
        kind = "datetime"
    else:
        found = types.infer_dtype(column, skipna=True)
        kind = _INFERRED.get(found, "string" if found == "categorical" else "any")
    return Field(name, kind, required=not bool(column.isna().any()))


_INFERRED: Mapping[str, FieldType] = {
    "string": "string",
    "boolean": "boolean",
    "bytes": "binary",
    "decimal": "double",
    "datetime": "datetime",
    "date": "datetime",
}
"""pandas' words for what a column of objects holds."""


def _field(column: Mapping[str, Any]) -> Field:
    kind = column.get("type")
    known = kind if kind in get_args(FieldType) else "any"
    return Field(str(column["name"]), known, bool(column.get("required", True)))  # type: ignore[arg-type]


_SAMPLES: Mapping[FieldType, Any] = {
    "boolean": True,
    "integer": 1,
    "long": 1,
    "float": 1.0,
    "double": 1.0,
    "string": "text",
    "datetime": datetime(2026, 1, 31, 12),
    "binary": b"bytes",
    "any": 1,
}
_PYTHON: Mapping[FieldType, Callable[[Any], Any]] = {
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
}


def _value(field: Field, stored: Any) -> Any:
    if stored is None or (isinstance(stored, float) and math.isnan(stored)):
        return _SAMPLES[field.type] if field.required else None
    if field.type == "datetime" and isinstance(stored, datetime):
        return stored.astimezone(timezone.utc).replace(tzinfo=None) if stored.tzinfo else stored
    convert = _PYTHON.get(field.type)
    return convert(stored) if convert else stored


def _json(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _array(field: Field, values: Sequence[Any]) -> Any:
    import numpy as np

    if dtype := NUMBERS.get(field.type):
        if dtype.startswith("float"):
            return np.asarray(values, dtype)
        return np.asarray(values, "float64" if _has_null(values) else dtype)
    if field.type == "datetime":
        return np.asarray(values, "datetime64[us]")
    if field.type == "boolean" and not _has_null(values):
        return np.asarray(values, bool)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _has_null(values: Sequence[Any]) -> bool:
    return isinstance(values, list) and None in values
