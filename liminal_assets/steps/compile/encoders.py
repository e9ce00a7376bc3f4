"""Encoders of categories: the fitted steps are asked about every value that they know.

Whatever options they have, what they make of one value doesn't depend on other values. So the
steps from the column to the encoded numbers become one table, filled by the steps themselves: a row
for each known value, one for a value never seen, one for null.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from liminal_assets.steps.compile.converters import transformer
from liminal_assets.steps.compile.preparation import checked
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError
from liminal_assets.steps.signature import Field, Signature

__all__ = ["is_encoder", "may_precede", "tabulated"]

_ENCODERS = ("Factors", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
_BEFORE = ("Categories", "SimpleImputer")
_CELLS = 10_000_000
"""The largest table of one column."""
_ASKED = 20_000
"""Values that are asked about at a time; fewer where each is answered by many numbers."""
_REFUSED = 100
"""The most known values that may be refused."""
_NEVER_SEEN: dict[str, Any] = {
    "string": "never seen before \U0001f9ed",
    "long": -(2**62) + 1,
    "integer": -(2**31) + 1,
    "double": -1.2345678901e200,
}
_REFUSALS = (ValueError, TypeError, OverflowError)


def is_encoder(fitted: Any) -> bool:
    """Whether a transformer makes numbers of categories."""
    return type(fitted).__name__ in _ENCODERS


def may_precede(fitted: Any) -> bool:
    """Whether a transformer may come between a column and its encoder."""
    return type(fitted).__name__ in _BEFORE


@transformer("sklearn.OneHotEncoder", "sklearn.TargetEncoder", "liminal_assets.Factors")
def _encoder(fitted: Any, value: Columns | Matrix) -> Matrix:
    return tabulated([fitted], value)


@transformer("sklearn.OrdinalEncoder")
def _ordinal(fitted: Any, value: Columns | Matrix) -> Matrix:
    if isinstance(value, Matrix) and value.labels:
        return recoded(fitted, value)
    return tabulated([fitted], value)


def recoded(fitted: Any, value: Matrix) -> Matrix:
    """An ``OrdinalEncoder`` that makes NaN of what it doesn't know, on every column of a matrix.

    Columns of categories (see :class:`Matrix`) are found by what their numbers stand for.
    """
    if fitted.handle_unknown != "use_encoded_value" or not np.isnan(fitted.unknown_value):
        raise UnsupportedError("an encoder after other steps")
    known = []
    for place, categories in enumerate(fitted.categories_):
        labels = value.labels.get(place)
        plain = [c for c in categories.tolist() if c is not None and c == c]
        if labels is not None:
            codes = {label: float(code) for code, label in enumerate(labels)}
            plain = [codes[category] for category in plain]
        known.append(np.asarray(plain, float))
    return value.stepped({"op": "recode", "places": list(range(len(known))), "known": known})


def tabulated(chain: Sequence[Any], value: Columns | Matrix) -> Matrix:
    """Columns after some fitted steps, the last of which encodes them.

    Raises:
        UnsupportedError: what the steps make of a column depends on another one, or is too large.
    """
    if isinstance(value, Matrix):
        return _of_numbers(chain, value)
    asked = _Asked(chain, value)
    known = [_known(chain, place, column) for place, column in enumerate(value.fields)]
    pairs = zip(known, value.fields, strict=True)
    asked.base = [values[0] if values else _unseen(column) for values, column in pairs]
    start = asked.rows([asked.base])
    if start is None:
        raise UnsupportedError(f"{type(chain[-1]).__name__} refuses its own categories")
    asked.nothing = start[:0]
    constant = start.toarray()[0]
    tables: list[Node] = []
    owner: dict[int, str] = {}
    for place, column in enumerate(value.fields):
        keys, found = asked.column(place, known[place])
        others = []
        for odd in (_unseen(column), None):
            answer = asked.rows([asked.with_value(place, odd)])
            others.append(-1 if answer is None else found.shape[0])
            if answer is not None:
                found = sparse.vstack([found, answer], format="csr")
        if len(keys) < len(known[place]) and others[0] >= 0:
            raise UnsupportedError(f"{type(chain[-1]).__name__} refuses some known categories")
        own = _changed(found, start)
        for number in own.tolist():
            if owner.setdefault(number, column.name) != column.name:
                raise UnsupportedError(f"{owner[number]} and {column.name} encoded as one")
        constant[own] = 0.0
        tables.append(
            {
                "name": column.name,
                "keys": keys,
                "unknown": others[0],
                "missing": others[1],
                **_cells(found[:, own], own, column),
            }
        )
    node = {"op": "categories", "width": len(constant), "constant": constant, "tables": tables}
    return Matrix(node, len(constant), asked.labels)


def _of_numbers(chain: Sequence[Any], value: Matrix) -> Matrix:
    """Columns of numbers that other steps made, as if they were a request's."""
    fields = tuple(Field(str(place), "double", required=False) for place in range(value.width))
    made = tabulated(chain, Columns(Signature(fields), tuple(field.name for field in fields)))
    known = checked(value)
    step = {**made.node, "op": "encode"}
    if known.labels or made.labels:
        raise UnsupportedError(f"{type(chain[-1]).__name__} after other steps")
    return known.stepped(step, made.width)


def _changed(found: sparse.csr_array, start: sparse.csr_array) -> np.ndarray:
    """The columns in which any row of ``found`` isn't as in ``start``."""
    changed = np.zeros(found.shape[1], bool)
    changed[found.indices] = True
    for number in start.indices.tolist():
        one, all_of_it = start[0, number], found[:, [number]].toarray()
        changed[number] = not ((all_of_it == one) | (np.isnan(all_of_it) & np.isnan(one))).all()
    return np.flatnonzero(changed)


def _cells(found: sparse.csr_array, own: np.ndarray, column: Field) -> Node:
    """The numbers of each value: one and its place where there is never more than one."""
    counts = np.diff(found.indptr)
    if len(own) == 0 or counts.max(initial=0) > 1:
        if found.shape[0] * len(own) > _CELLS:
            raise UnsupportedError(f"the {found.shape[0]:,} categories of {column.name}")
        return {"places": own, "values": found.toarray()}
    there = counts > 0
    places, values = np.full(len(counts), -1), np.zeros(len(counts))
    places[there], values[there] = own[found.indices], found.data
    return {"places": places, "values": values}


class _Asked:
    """Fitted steps that are asked about rows as a server would have them.

    Attributes:
        base: a row that they take.
        nothing: what they make of no rows.
        labels: for columns that stand for categories, what each number stands for.
    """

    base: list[Any]
    nothing: sparse.csr_array

    def __init__(self, chain: Sequence[Any], value: Columns) -> None:
        self._chain = chain
        self._signature = Signature(tuple(value.fields))
        self._refused = 0
        self._sparse = False
        self.labels: dict[int, Sequence[Any]] = {}

    def with_value(self, place: int, one: Any) -> list[Any]:
        """The base with another value of one column."""
        return [*self.base[:place], one, *self.base[place + 1 :]]

    def rows(self, rows: Sequence[Sequence[Any]]) -> sparse.csr_array | None:
        """What they make of rows, without zeros; None if they refuse them."""
        columns = dict(zip(self._signature.names, map(list, zip(*rows, strict=True)), strict=True))
        made: Any = self._signature.frame(columns, len(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for step in self._chain:
                    made = step.transform(made)
            except _REFUSALS:
                return None
        self._sparse = sparse.issparse(made)
        found = sparse.csr_array(made if self._sparse else self._dense(made), dtype=float)
        found.sum_duplicates()
        found.eliminate_zeros()
        return found

    def column(self, place: int, values: list[Any]) -> tuple[list[Any], sparse.csr_array]:
        """The values of one column that they take, and what they make of them.

        Refused values are found by halves: few among many cost few questions.
        """
        width = max(self.nothing.shape[1], 1)
        most = _ASKED if self._sparse else max(1, min(_ASKED, _CELLS // width))
        starts = range(0, len(values), most)
        return self._together([self._part(place, values[at : at + most]) for at in starts])

    def _part(self, place: int, values: list[Any]) -> tuple[list[Any], sparse.csr_array]:
        found = self.rows([self.with_value(place, one) for one in values])
        if found is not None:
            return values, found
        if len(values) == 1:
            self._refused += 1
            if self._refused > _REFUSED:
                raise UnsupportedError(f"{type(self._chain[-1]).__name__} refuses many categories")
            return self._together([])
        half = len(values) // 2
        return self._together([self._part(place, part) for part in (values[:half], values[half:])])

    def _together(
        self, parts: Sequence[tuple[list[Any], sparse.csr_array]]
    ) -> tuple[list[Any], sparse.csr_array]:
        taken = [one for values, _ in parts for one in values]
        return taken, sparse.vstack([self.nothing, *(found for _, found in parts)], format="csr")

    def _dense(self, made: Any) -> np.ndarray:
        if not hasattr(made, "dtypes"):
            return np.asarray(made, float)
        columns = []
        for place, (_, column) in enumerate(made.items()):
            if hasattr(column, "cat"):
                self.labels[place] = column.cat.categories.tolist()
                codes = column.cat.codes.to_numpy()
                columns.append(np.where(codes < 0, np.nan, codes))
            else:
                columns.append(column.to_numpy(float))
        return np.stack(columns, axis=1)


def _unseen(column: Field) -> Any:
    # a truth value is always one of two
    return _NEVER_SEEN.get(column.type, True)


def _known(chain: Sequence[Any], place: int, column: Field) -> list[Any]:
    """The values of a column that any of the steps may know, as the request has them."""
    if column.type not in ("string", "boolean", "integer", "long", "double"):
        raise UnsupportedError(f"categories of {column.name} ({column.type})")
    if column.type == "boolean":
        return [False, True]
    text = type(chain[0]).__name__ == "Categories"
    found: dict[Any, None] = {}
    for said in (one for step in reversed(chain) for one in _said(step, place)):
        one = _from_text(said, column) if text else _of_type(said, column)
        if one is not None:
            found[one] = None
    return list(found)


def _said(step: Any, place: int) -> Iterable[Any]:
    for name in ("categories_", "kept_", "fill_", "statistics_"):
        learned = getattr(step, name, None)
        if learned is None or place >= len(learned) or learned[place] is None:
            continue
        one = learned[place]
        yield from one.tolist() if isinstance(one, np.ndarray) and one.ndim else [one]
    for name in ("missing_values", "fill_value"):
        yield getattr(step, name, None)


def _of_type(said: Any, column: Field) -> Any:
    if said is None or said != said:
        return None
    if column.type == "string":
        return said if isinstance(said, str) else None
    if not isinstance(said, int | float | np.number) or not np.isfinite(said):
        return None
    if column.type == "double":
        return float(said)
    whole = int(said)
    return whole if whole == said and abs(whole) < _limit(column) else None


def _limit(column: Field) -> int:
    return 2**31 if column.type == "integer" else 2**63


def _from_text(said: Any, column: Field) -> Any:
    """The value that has a text as its name; None if no value of this type has."""
    from liminal_assets.steps.transformers import as_text

    if column.type == "string" or not isinstance(said, str):
        return _of_type(said, column)
    try:
        one = _of_type(float(said) if column.type == "double" else int(said), column)
    except ValueError:
        return None
    return one if one is not None and as_text(one) == said else None
