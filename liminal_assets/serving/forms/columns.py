"""From the checked columns of a request to the matrix that the first step takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

__all__ = ["OPERATORS", "Row", "Source"]

Row = Callable[[Sequence[Any]], np.ndarray]
"""The values of one row → float64 of shape (1, width)."""


class Source(Protocol):
    """What makes the matrix."""

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
        """Columns and the number of rows → float64 of shape (rows, width)."""

    def row(self, names: Sequence[str]) -> Row:
        """The same for one row, whose values come in the order of ``names``."""


class Numbers:
    """Columns as numbers; null is NaN. What a request may carry is finite.

    Args:
        names: the columns.
        single: the places of those that the pipeline has as 32-bit floats.
    """

    def __init__(self, names: list[str], single: list[int]) -> None:
        self._names = names
        self._single = single

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
        matrix = np.empty((rows, len(self._names)))
        for place, name in enumerate(self._names):
            # NumPy reads None as NaN
            matrix[:, place] = columns[name]
        return self._rounded(matrix)

    def row(self, names: Sequence[str]) -> Row:
        take = _taking(self._names, names)
        shape = (1, len(self._names))

        def one(values: Sequence[Any]) -> np.ndarray:
            taken = take(values)
            try:
                # half of the time of np.array
                vector = np.fromiter(taken, float, shape[1])
            except TypeError:
                # a null, which NumPy's array reads as NaN
                vector = np.array(taken, float)
            return vector.reshape(shape)

        return (lambda values: self._rounded(one(values))) if self._single else one

    def _rounded(self, matrix: np.ndarray) -> np.ndarray:
        if self._single:
            matrix[:, self._single] = matrix[:, self._single].astype(np.float32)
        return matrix


def _taking(wanted: Sequence[str], names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Takes the wanted values out of those of ``names``."""
    places = [names.index(name) for name in wanted]
    if places == list(range(len(places))):
        return itemgetter(slice(len(places)))
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places)


class Categories:
    """Columns whose every value has its own few numbers, found in a table.

    Args:
        width: columns of the matrix.
        constant: what each of them is where no table says otherwise, of shape (width,).
        tables: per column of the request: ``name``; ``keys``, the known values; ``unknown`` and
            ``missing``, the table's row of all others and of null, or -1 where they are refused;
            and either ``places`` and ``values``, of shape (rows of the table,), one number of
            each value (a place of -1: none), or ``places`` of shape (n,) and ``values`` of shape
            (rows of the table, n).
    """

    def __init__(self, width: int, constant: np.ndarray, tables: list[dict[str, Any]]) -> None:
        self._constant = constant.reshape(1, width)
        self._tables = [_Table(**table) for table in tables]

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
        matrix = np.repeat(self._constant, rows, axis=0)
        for table in self._tables:
            table.write(matrix, columns[table.name])
        return matrix

    def row(self, names: Sequence[str]) -> Row:
        writers = [(table.write_one, names.index(table.name)) for table in self._tables]

        def one(values: Sequence[Any]) -> np.ndarray:
            matrix = self._constant.copy()
            row = matrix[0]
            for write, place in writers:
                write(row, values[place])
            return matrix

        return one


class _Table:
    def __init__(
        self,
        name: str,
        keys: list[Any],
        unknown: int,
        missing: int,
        places: np.ndarray,
        values: np.ndarray,
    ) -> None:
        self.name = name
        self._find = {key: place for place, key in enumerate(keys)}.get
        self._unknown = unknown
        self._missing = missing
        self._places, self._values = places, values
        self._one = values.ndim == 1
        # lists: an element of an array is slower to get
        self._place_list: list[int] = places.tolist()
        self._value_list: list[float] = values.tolist() if self._one else []

    def write_one(self, row: np.ndarray, value: Any) -> None:
        index = self._index(value)
        if index < 0:
            raise self._refused(value)
        if not self._one:
            row[self._places] = self._values[index]
        elif (place := self._place_list[index]) >= 0:
            row[place] = self._value_list[index]

    def write(self, matrix: np.ndarray, values: Sequence[Any]) -> None:
        plain = values.tolist() if isinstance(values, np.ndarray) else values
        indices = np.array([self._index(value) for value in plain])
        if (indices < 0).any():
            raise self._refused(plain[int((indices < 0).argmax())])
        if not self._one:
            matrix[:, self._places] = self._values[indices]
            return
        places = self._places[indices]
        written = np.flatnonzero(places >= 0)
        matrix[written, places[written]] = self._values[indices[written]]

    def _index(self, value: Any) -> int:
        if value is None or value != value:
            return self._missing
        return self._find(value, self._unknown)

    def _refused(self, value: Any) -> ValueError:
        return ValueError(f"found the unknown category {value!r} in column {self.name}")


class Encode:
    """Numbers of a matrix that stand for categories, each column by its own table.

    Args:
        width: as of :class:`Categories`.
        constant: as of :class:`Categories`.
        tables: as of :class:`Categories`; their names are those of the places from 0 on.
    """

    def __init__(self, width: int, constant: np.ndarray, tables: list[dict[str, Any]]) -> None:
        self._categories = Categories(width, constant, tables)
        self._names = [table["name"] for table in tables]

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        columns = dict(zip(self._names, matrix.T.tolist(), strict=True))
        return self._categories(columns, len(matrix))


class Beside:
    """Matrices side by side."""

    def __init__(self, parts: list[Source]) -> None:
        self._parts = parts

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
        return np.concatenate([part(columns, rows) for part in self._parts], axis=1)

    def row(self, names: Sequence[str]) -> Row:
        parts = [part.row(names) for part in self._parts]
        return lambda values: np.concatenate([part(values) for part in parts], axis=1)


class Chain:
    """A matrix and what is done to it, step by step."""

    def __init__(self, source: Source, steps: list[Callable[[np.ndarray], np.ndarray]]) -> None:
        self._source = source
        self._steps = steps

    def __call__(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
        return self._stepped(self._source(columns, rows))

    def row(self, names: Sequence[str]) -> Row:
        source, stepped = self._source.row(names), self._stepped
        return lambda values: stepped(source(values))

    def _stepped(self, matrix: np.ndarray) -> np.ndarray:
        for step in self._steps:
            matrix = step(matrix)
        return matrix


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "numbers": Numbers,
    "categories": Categories,
    "beside": Beside,
    "chain": Chain,
    "encode": Encode,
}
