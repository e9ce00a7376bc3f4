"""The certificate of a compiled form: it was asked what the pipeline was asked, and answered alike.

Equal means: the same labels, probabilities within 1e-9, values within 1e-9 of their size, and no
answer where the pipeline has none.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from liminal_assets.steps.compile.edges import edge_rows
from liminal_assets.steps.scores import Scores
from liminal_assets.steps.signature import Signature

__all__ = ["TOLERANCE", "Certificate", "DifferentError", "certify", "microseconds"]

TOLERANCE = 1e-9
_SMALLEST = 1e-12
"""Values of a regression closer to 0 than this are alike."""
_TIMED_SECONDS = 0.05
_ONE_BY_ONE = 25
"""Held-out rows that are asked alone as well."""

Form = Callable[[Mapping[str, Sequence[Any]], int], Scores]
_REFUSALS = (ValueError, TypeError, OverflowError, FloatingPointError)


class DifferentError(Exception):
    """A form doesn't answer as the pipeline, and about what."""


@dataclass(frozen=True)
class Certificate:
    """What shows that a form answers as the pipeline does.

    Attributes:
        form: the form that answers.
        rows: the held-out rows that were asked.
        edge_cases: the rows at the edges that were asked.
        refused_alike: how many rows, asked alone, the pipeline has no answer for, and so the form
            neither.
        largest_difference: of a probability, or of a value relative to its size.
        tolerance: the largest that was allowed.
        microseconds: how long one row takes, by form.
        refused: the forms that can't be used, and why.
    """

    form: str
    rows: int = 0
    edge_cases: int = 0
    refused_alike: int = 0
    largest_difference: float = 0.0
    tolerance: float = TOLERANCE
    microseconds: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def certify(
    name: str,
    form: Form,
    pipeline: Form,
    signature: Signature,
    known: Sequence[Mapping[str, Any]],
    *,
    alone: int | None = None,
) -> Certificate:
    """Asks a form what the pipeline is asked: all rows at once, and one by one.

    Args:
        name: the form's name.
        form: the form.
        pipeline: the pipeline, as a server asks it.
        signature: the model's inputs.
        known: rows that the model didn't learn from, as :meth:`Signature.sample` has them; at
            least one.
        alone: how many of the rows at the edges are asked one by one; default: all.

    Raises:
        DifferentError: an answer differs.
    """
    from threadpoolctl import threadpool_limits

    edges = edge_rows(signature, known)
    worst = 0.0
    refused = 0
    # one row is answered by one core, as in a server
    with threadpool_limits(1), warnings.catch_warnings():
        # what the pipeline warns of at the edges it did in training too
        warnings.simplefilter("ignore")
        few = edges if alone is None else edges[:: max(1, len(edges) // max(alone, 1))]
        groups = [known, edges, *([row] for row in [*known[:_ONE_BY_ONE][:alone], *few])]
        for rows in groups:
            columns = {name: [row[name] for row in rows] for name in signature.names}
            expected, got = _answer(pipeline, columns, len(rows)), _answer(form, columns, len(rows))
            if expected is None or got is None:
                if expected is not None or got is not None:
                    who = "the form" if got is None else "the pipeline"
                    raise DifferentError(f"{who} alone has no answer for {_shown(rows)}")
                refused += len(rows) == 1
                continue
            worst = max(worst, _difference(expected, got, rows))
    return Certificate(name, len(known), len(edges), refused, worst)


def _answer(form: Form, columns: Mapping[str, Sequence[Any]], rows: int) -> Scores | None:
    """The answer; None where a server would refuse."""
    try:
        scores = form(columns, rows)
    except _REFUSALS:
        return None
    # a single row without a finite answer is refused; of several, each is compared
    return scores if rows > 1 or scores.all_finite() else None


def _difference(expected: Scores, got: Scores, rows: Sequence[Mapping[str, Any]]) -> float:
    """The largest difference.

    Raises:
        DifferentError: it is too large, or a label differs.
    """
    if list(expected.columns) != list(got.columns):
        raise DifferentError(f"it answers {list(got.columns)}, not {list(expected.columns)}")
    worst = 0.0
    # a row without a finite answer is refused, whatever its answer is
    there, also = expected.finite().tolist(), got.finite().tolist()
    if there != also:
        place = next(place for place, one in enumerate(there) if one != also[place])
        who = "the pipeline" if there[place] else "the form"
        raise DifferentError(f"{who} alone has a finite answer for {_shown([rows[place]])}")
    for name, column in expected.columns.items():
        relative = name == "prediction" and not expected.probabilities
        pairs = zip(rows, column.tolist(), got.columns[name].tolist(), strict=True)
        for row, one, other in compress(pairs, there):
            if isinstance(one, float) and isinstance(other, float):
                away = _away(one, other, relative=relative)
                if not away <= TOLERANCE:
                    raise DifferentError(
                        f"its {name} is {other!r}, the pipeline's {one!r}, for {_shown([row])}"
                    )
                worst = max(worst, away)
            elif type(one) is not type(other) or one != other:
                raise DifferentError(
                    f"its {name} is {other!r}, the pipeline's {one!r}, for {_shown([row])}"
                )
    return worst


def _away(one: float, other: float, *, relative: bool) -> float:
    away = abs(one - other)
    if not relative:
        return away
    return 0.0 if away <= _SMALLEST else away / max(abs(one), abs(other))


def _shown(rows: Sequence[Mapping[str, Any]]) -> str:
    text = ", ".join(f"{name}: {value!r}" for name, value in rows[0].items())
    return text if len(text) <= 300 else text[:299] + "…"


def microseconds(
    forms: Mapping[str, Form], signature: Signature, known: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The fastest of some calls about one row, for others may have waited for a core; nothing if
    the first row has no answer."""
    from threadpoolctl import threadpool_limits

    columns = {name: [known[0][name]] for name in signature.names}
    if any(_answer(form, columns, 1) is None for form in forms.values()):
        return {}
    found = {}
    with threadpool_limits(1):
        for name, form in forms.items():
            best = math.inf
            until = time.perf_counter() + _TIMED_SECONDS
            while time.perf_counter() < until:
                before = time.perf_counter()
                form(columns, 1)
                best = min(best, time.perf_counter() - before)
            found[name] = round(best * 1e6, 2)
    return found
