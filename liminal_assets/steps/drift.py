"""Drift: how far the columns of some rows are from those of reference rows.

>>> report = la.steps.drift(training_frame, todays_frame, method="psi", threshold=0.2)
>>> report.drifted
('wind_speed',)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.monitors import ColumnDrift, Drift, DriftMethod
from liminal_assets.storage.forms import NotRowsError, engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

    from liminal_assets.steps.bins import ColumnKind, Floats, Histograms

__all__ = [
    "CELLS_AT_ONCE",
    "ColumnDistance",
    "Comparison",
    "DriftReport",
    "comparisons",
    "drift",
]

Verdict = Literal["drifted", "stable", "ignored", "not compared"]

CELLS_AT_ONCE = 24_000_000
"""Numbers of one table held in memory at once: 192 MB."""


@dataclass(frozen=True)
class ColumnDistance:
    """One column's distance from the reference."""

    column: str
    verdict: Verdict
    kind: ColumnKind
    method: DriftMethod
    threshold: float
    distance: float | None = None
    """None where there is nothing to compare; ``note`` says why."""
    note: str = ""
    histograms: Histograms | None = field(default=None, repr=False)
    """The reference's bins with the rows of both."""

    @property
    def drifted(self) -> bool:
        """Whether the distance is above the threshold."""
        return self.verdict == "drifted"

    def record(self) -> dict[str, Any]:
        """A row of the table of columns."""
        from liminal_assets.steps.bins import MISSING, UNSEEN

        shown = ("column", "verdict", "distance", "threshold", "method", "kind")
        row = {key: value for key, value in asdict(self).items() if key in shown}
        row["distance"] = None if self.distance is None else round(self.distance, 4)
        missing = self.histograms.share_of(MISSING) if self.histograms else (None, None)
        unseen = self.histograms.share_of(UNSEEN)[1] if self.histograms else None
        return {
            **{key: row[key] for key in shown},
            "missing before": missing[0],
            "missing now": missing[1],
            "unseen now": unseen,
            "note": self.note,
        }


@dataclass(frozen=True)
class DriftReport:
    """The distances of all columns, the farthest (in thresholds) first."""

    columns: tuple[ColumnDistance, ...]
    reference_rows: int
    rows: int

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns above their threshold."""
        return tuple(column.column for column in self.columns if column.drifted)

    @property
    def compared(self) -> tuple[ColumnDistance, ...]:
        """The columns that have a distance."""
        return tuple(column for column in self.columns if column.distance is not None)

    def __getitem__(self, column: str) -> ColumnDistance:
        """One column's distance.

        Raises:
            KeyError: there is no such column.
        """
        for found in self.columns:
            if found.column == column:
                return found
        raise KeyError(column)

    def only(self, columns: Collection[str]) -> DriftReport:
        """The report of some columns."""
        kept = tuple(column for column in self.columns if column.column in columns)
        return DriftReport(kept, self.reference_rows, self.rows)

    def held_to(self, spec: Drift) -> DriftReport:
        """The same distances, held to other thresholds."""

        def judged(column: ColumnDistance) -> ColumnDistance:
            own = spec.columns.get(column.column, ColumnDrift())
            threshold, distance = own.threshold or spec.threshold, column.distance
            verdict = column.verdict
            if distance is not None:
                verdict = "drifted" if distance > threshold else "stable"
            return replace(column, threshold=threshold, verdict=verdict)

        columns = sorted(map(judged, self.columns), key=_nearness)
        return DriftReport(tuple(columns), self.reference_rows, self.rows)

    def records(self) -> list[dict[str, Any]]:
        """A table of the columns as plain rows."""
        return [column.record() for column in self.columns]

    def to_pandas(self) -> Any:
        """The table of the columns as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(index=False))


def drift(
    reference: Any,
    current: Any,
    *,
    method: DriftMethod = "psi",
    threshold: float = 0.2,
    bins: int = 10,
    columns: Mapping[str, ColumnDrift | Mapping[str, Any]] | None = None,
    only: Collection[str] | None = None,
    categorical: Collection[str] = (),
) -> DriftReport:
    """Compares the columns of two tables.

    A column with no order (text, booleans) is compared by category; there ``ks`` and
    ``wasserstein`` are the total variation distance, which is what they become without an order.
    Numbers are compared by the reference's quantile bins (``psi``, ``chi2``,
    ``jensen_shannon``) or value by value. Missing values count as a bin of their own, and so do
    categories that the reference lacks. Of more than 50 categories the rarer ones are pooled.
    Moments (dates, timestamps) always move on: they are left out unless ``columns`` names them.
    A column that the current rows lack counts as missing in all of them. Without rows on either
    side nothing is compared.

    Args:
        reference: rows in any form (pandas, Polars, Arrow, DuckDB, a list of mappings, a
            :class:`~liminal_assets.storage.tables.Table`).
        current: the rows to judge, in any form.
        method: ``psi``, ``ks``, ``chi2``, ``wasserstein`` or ``jensen_shannon``; see
            :mod:`liminal_assets.steps.distances`.
        threshold: the largest distance of a stable column.
        bins: the number of quantile bins of numbers.
        columns: per column ``method``, ``threshold`` and ``ignore`` where they differ.
        only: the columns to look at; default: those of the reference.
        categorical: number columns whose values are codes, compared by category.

    Raises:
        StepError: a named column is in neither table, or the rows can't be read.
        ValueError: pydantic's, for a method or threshold that there isn't.
    """
    spec = Drift.model_validate(
        {"method": method, "threshold": threshold, "bins": bins, "columns": dict(columns or {})}
    )
    before, now = _table(reference, "reference"), _table(current, "current")
    remote = before.filesystem is not None or now.filesystem is not None
    with session(private=remote) as connection, engine_errors("compare with the reference"):
        tables = _Tables(connection, before, now)
        names = list(tables.reference.columns) if only is None else list(only)
        _all_known([*names, *spec.columns], tables)
        tasks = [_task(spec, tables, name, name in categorical) for name in names]
        found = list(_distances(tables, tasks))
    found.sort(key=_nearness)
    return DriftReport(tuple(found), tables.reference_rows, tables.rows)


def _nearness(column: ColumnDistance) -> float:
    """Sorts the farthest, in thresholds, to the front."""
    return -(column.distance or 0.0) / column.threshold


def comparisons(
    reference: Table, current: Table, spec: Drift, only: Collection[str], codes: Collection[str]
) -> list[Comparison]:
    """How the columns of two tables are compared, those that are; see :func:`drift`."""
    remote = reference.filesystem is not None or current.filesystem is not None
    with session(private=remote) as connection, engine_errors("compare with the reference"):
        tables = _Tables(connection, reference, current)
        tasks = (_task(spec, tables, name, name in codes) for name in only)
        return [task for task in tasks if task.skip is None]


@dataclass(frozen=True)
class Comparison:
    """How one column is compared, or why it isn't."""

    column: str
    kind: ColumnKind
    method: DriftMethod
    threshold: float
    bins: int
    skip: tuple[Verdict, str] | None = None
    note: str = ""

    def skipped(self) -> ColumnDistance:
        verdict, note = self.skip or ("not compared", self.note)
        return ColumnDistance(
            self.column, verdict, self.kind, self.method, self.threshold, note=note
        )

    def judged(self, distance: float, histograms: Histograms) -> ColumnDistance:
        return ColumnDistance(
            self.column,
            "drifted" if distance > self.threshold else "stable",
            self.kind,
            self.method,
            self.threshold,
            distance,
            self.note,
            histograms,
        )


class _Tables:
    """Both tables in one session, the current one with every column of the reference."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, reference: Table, current: Table
    ) -> None:
        self.reference = reference.relation(connection)
        self.current = current.relation(connection)
        self.kinds = _types(self.reference)
        self.current_kinds = _types(self.current)
        self.lacking = [name for name in self.kinds if name not in self.current_kinds]
        if self.lacking:
            nulls = (f"NULL::{self.kinds[name]} AS {identifier(name)}" for name in self.lacking)
            self.current = self.current.project(f"*, {', '.join(nulls)}")
        self.reference_rows, self.rows = (
            int(side.aggregate("count(*)").fetchall()[0][0])
            for side in (self.reference, self.current)
        )


def _types(rows: duckdb.DuckDBPyRelation) -> dict[str, str]:
    return dict(zip(rows.columns, map(str, rows.types), strict=True))


def _table(rows: Any, name: str) -> Table:
    if isinstance(rows, Table) and rows.value is None:
        return rows
    try:
        # a query is a stream, which can be read only once
        return Table.from_rows(rows.value if isinstance(rows, Table) else rows, name)
    except NotRowsError as error:
        raise StepError(f"the {name} rows can't be read: {error}") from None


def _all_known(names: Sequence[str], tables: _Tables) -> None:
    known = {**tables.kinds, **tables.current_kinds}
    for name in names:
        if name not in known:
            raise StepError(
                f"there is no column {name!r} to compare", hint=did_you_mean(name, known)
            )


def _task(spec: Drift, tables: _Tables, name: str, codes: bool) -> Comparison:
    """How a column is compared, or why it isn't."""
    from liminal_assets.steps.bins import kind_of

    own = spec.columns.get(name, ColumnDrift())
    before, now = tables.kinds.get(name), tables.current_kinds.get(name)
    kind = kind_of(before or now or "")
    note, skip = "", None
    if now is None:
        note = "the rows lack this column: every value counts as missing"
    elif before is not None and kind_of(now) != kind and now not in ('"NULL"', "NULL"):
        kind, note = "categorical", f"was {before}, is {now}: compared as text"
    if codes and kind == "numerical":
        kind = "categorical"
    if own.ignore:
        skip = ("ignored", "ignored by the monitor's settings")
    elif before is None:
        skip = ("not compared", "the reference lacks this column")
    elif kind == "other":
        skip = ("not compared", f"{before} has no distance")
    elif kind == "moment" and name not in spec.columns:
        skip = ("not compared", "moments always move on; name it under 'columns' to compare it")
    elif not tables.reference_rows or not tables.rows:
        side = "window" if tables.reference_rows else "reference"
        skip = ("not compared", f"the {side} has no rows")
    method, threshold = own.method or spec.method, own.threshold or spec.threshold
    return Comparison(name, kind, method, threshold, spec.bins, skip, note)  # type: ignore[arg-type]


def _distances(tables: _Tables, tasks: Sequence[Comparison]) -> Iterator[ColumnDistance]:
    from liminal_assets.steps.bins import category_histograms, numbers

    wanted = [task for task in tasks if task.skip is None]
    yield from (task.skipped() for task in tasks if task.skip is not None)
    for task in wanted:
        if task.kind == "categorical":
            histograms = category_histograms(tables.reference, tables.current, task.column)
            yield _by_category(task, histograms)
    ordered = [task for task in wanted if task.kind in ("numerical", "moment")]
    size = max(1, CELLS_AT_ONCE // max(tables.reference_rows, tables.rows, 1))
    # NumPy lets go of the interpreter while it sorts and counts
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(ordered), size):
            chunk = ordered[start : start + size]
            names = [task.column for task in chunk]
            moments = [task.column for task in chunk if task.kind == "moment"]
            before = numbers(tables.reference, names, moments=moments)
            now = numbers(tables.current, names, moments=moments)
            yield from pool.map(
                lambda task, a=before, b=now: _by_number(task, a[task.column], b[task.column]),
                chunk,
            )


def _by_category(task: Comparison, histograms: Histograms) -> ColumnDistance:
    from liminal_assets.steps import distances

    measures = {
        "psi": distances.psi,
        "chi2": distances.chi2,
        "jensen_shannon": distances.jensen_shannon,
        "ks": distances.total_variation,
        "wasserstein": distances.total_variation,
    }
    distance = measures[task.method](histograms.reference, histograms.current)
    return task.judged(distance, histograms)


def _by_number(task: Comparison, reference: Floats, current: Floats) -> ColumnDistance:
    from liminal_assets.steps import distances
    from liminal_assets.steps.bins import number_histograms

    if task.method in ("ks", "wasserstein"):
        # both need the order, and so it is made once; histograms of ordered values are cheaper too
        reference, current = distances.in_order(reference), distances.in_order(current)
    histograms = number_histograms(reference, current, task.bins)
    if task.method == "ks":
        return task.judged(distances.ks(reference, current), histograms)
    if task.method == "wasserstein":
        return task.judged(distances.wasserstein(reference, current), histograms)
    return _by_category(task, histograms)
