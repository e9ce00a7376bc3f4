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

from liminal_assets.steps.compile.converters import transformer
from liminal_assets.steps.compile.values import Columns, Matrix, Node, UnsupportedError
from liminal_assets.steps.signature import Field

__all__ = ["is_encoder", "may_precede", "tabulated"]

_ENCODERS = ("Factors", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
_BEFORE = ("Categories", "SimpleImputer")
_CELLS = 10_000_000
"""The largest table of one column while it is made."""
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
    if isinstance(value, Columns):
        return tabulated([fitted], value)
    return recoded(fitted, value)


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
        raise UnsupportedError(f"{type(chain[-1]).__name__} after other steps")
    asked = _Asked(chain, value)
    known = [_known(chain, place, column) for place, column in enumerate(value.fields)]
    base = [values[0] if values else _unseen(f) for values, f in zip(known, value.fields)]  # noqa: B905
    start = asked.rows([base])
    if start is None:
        raise UnsupportedError(f"{type(chain[-1]).__name__} refuses its own categories")
    width = start.shape[1]
    tables: list[Node] = []
    owner: dict[int, str] = {}
    constant = start[0].copy()
    for place, column in enumerate(value.fields):
        if len(known[place]) * width > _CELLS:
            raise UnsupportedError(f"the {len(known[place]):,} categories of {column.name}")
        keys, found = asked.known(base, place, known[place], width)
        others = []
        for odd in (_unseen(column), None):
            answer = asked.rows([[*base[:place], odd, *base[place + 1 :]]])
            others.append(-1 if answer is None else len(found))
            if answer is not None:
                found = np.vstack([found, answer])
        if len(keys) < len(known[place]) and others[0] >= 0:
            raise UnsupportedError(f"{type(chain[-1]).__name__} refuses some known categories")
        changed = (found != start[0]) & ~(np.isnan(found) & np.isnan(start[0]))
        own = np.flatnonzero(changed.any(axis=0))
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
                **_cells(found[:, own], own),
            }
        )
    node = {"op": "categories", "width": width, "constant": constant, "tables": tables}
    return Matrix(node, width, asked.labels)


def _cells(found: np.ndarray, own: np.ndarray) -> Node:
    """The numbers of each value: one and its place where there is never more than one."""
    filled = found != 0
    most: Any = filled.sum(axis=1).max(initial=0)
    if len(own) == 0 or most > 1:
        return {"places": own, "values": found}
    first = filled.argmax(axis=1)
    there = filled.any(axis=1)
    values = np.where(there, found[np.arange(len(found)), first], 0.0)
    return {"places": np.where(there, own[first], -1), "values": values}


class _Asked:
    """Fitted steps that are asked about rows as a server would have them."""

    def __init__(self, chain: Sequence[Any], value: Columns) -> None:
        self._chain, self._value = chain, value
        self._sample = value.signature.sample()
        self.labels: dict[int, Sequence[Any]] = {}

    def rows(self, rows: Sequence[Sequence[Any]]) -> np.ndarray | None:
        """What they make of rows; None if they refuse them."""
        signature = self._value.signature
        columns = {name: [one] * len(rows) for name, one in self._sample.items()}
        for place, name in enumerate(self._value.names):
            columns[name] = [row[place] for row in rows]
        made: Any = signature.frame(columns, len(rows))[list(self._value.names)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for step in self._chain:
                    made = step.transform(made)
            except _REFUSALS:
                return None
        return self._dense(made)

    def known(
        self, base: list[Any], place: int, values: list[Any], width: int
    ) -> tuple[list[Any], np.ndarray]:
        """The values of one column that they take, and what they make of them."""
        rows = [[*base[:place], one, *base[place + 1 :]] for one in values]
        found = self.rows(rows) if rows else np.empty((0, width))
        if found is not None:
            return values, found
        answers = [self.rows([row]) for row in rows]
        pairs = zip(values, answers, strict=True)
        taken = [(one, answer) for one, answer in pairs if answer is not None]
        return [one for one, _ in taken], np.vstack([answer for _, answer in taken])

    def _dense(self, made: Any) -> np.ndarray:
        if hasattr(made, "toarray"):
            made = made.toarray()
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
