"""Data quality of a window: what is missing, new, out of range, constant, repeated or of another
type, beside the reference rows; judged by a pure function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.language.measures import ColumnQuality, Quality
from liminal_assets.steps.chance import beyond_by_chance, share_by_chance, unseen_by_chance
from liminal_assets.steps.drift import CELLS_AT_ONCE
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb

    from liminal_assets.steps.bins import ColumnKind, Floats

__all__ = ["ColumnState", "QualityFinding", "QualityReport", "measure_quality", "quality_findings"]

_MISSING_MARGIN = 0.05
_SMALL = 0.01


@dataclass(frozen=True)
class ColumnState:
    """One column of a window beside the reference; shares are of the window's rows, for
    ``unseen`` and ``outside`` of its values. What can't be had is None."""

    column: str
    kind: ColumnKind
    before: str | None
    """The reference's type, as DuckDB calls it."""
    now: str | None
    """The window's; None where it lacks the column."""
    missing: float
    missing_before: float | None = None
    constant: bool = False
    constant_before: bool | None = None
    unseen: float | None = None
    expected_unseen: float = 0.0
    """The share of unseen values to expect of more rows like the reference's: that of values it
    has once (I. J. Good, *The population frequencies of species*, Biometrika 1953)."""
    outside: float | None = None
    low: float | None = None
    """The reference's smallest number."""
    high: float | None = None

    @property
    def changed_type(self) -> bool:
        """Whether the column is of another kind than the reference's; of numbers every is one."""
        from liminal_assets.steps.bins import kind_of

        if self.before is None or self.now is None or "NULL" in self.now:
            return False
        return kind_of(self.before) != kind_of(self.now)


@dataclass(frozen=True)
class QualityReport:
    """The state of a window's columns, and of its rows as a whole."""

    columns: tuple[ColumnState, ...]
    rows: int
    usual_rows: float | None = None
    """The median of earlier windows; None where there are none."""
    duplicates: float | None = None
    """The share of rows whose entity another row has; None without an entity."""
    duplicates_before: float | None = None
    repeats: bool = False
    """Whether the same may be asked again: served rows."""
    measured: int = 0
    """The rows of the window that the shares are of."""
    reference_rows: int = 0

    def records(self) -> list[dict[str, Any]]:
        """A table of the columns as plain rows."""
        return [
            {
                "column": c.column,
                "type": c.now,
                "missing": c.missing,
                "missing before": c.missing_before,
                "unseen": c.unseen,
                "out of range": c.outside,
                "constant": c.constant,
                "reference": c.before if c.changed_type or c.now is None else "",
            }
            for c in self.columns
        ]


@dataclass(frozen=True)
class QualityFinding:
    """One measure against its bound."""

    measure: str
    """``missing``, ``unseen``, ``out_of_range``, ``constant``, ``type``, ``duplicates``,
    ``rows``."""
    column: str
    """The column; empty for the rows as a whole."""
    value: float | None
    bound: str
    broken: bool
    said: str = ""
    """What was found, where it is no number."""

    @property
    def subject(self) -> str:
        """The column and the measure."""
        return f"{self.column} {self.measure}".strip()


def measure_quality(
    current: Table,
    reference: Table | None,
    columns: Sequence[str],
    *,
    entity: Sequence[str] = (),
    categorical: Sequence[str] = (),
    usual_rows: float | None = None,
    repeats: bool = False,
    others: int = 0,
    sample_rate: float | None = None,
) -> QualityReport:
    """Measures the columns of a window.

    Args:
        reference: rows as they should be; None: there are none.
        columns: those to look at; one that the window lacks counts as missing throughout.
        entity: the columns that name what a row is about.
        categorical: number columns whose values are codes.
        usual_rows: how many rows earlier windows had.
        repeats: whether an entity may come again.
        others: rows of the window that aren't in ``current``, for the number of rows alone.
        sample_rate: the share of the rows that are there at all, for that number too.

    Raises:
        StepError: the rows can't be read.
    """
    remote = any(t is not None and t.filesystem is not None for t in (current, reference))
    with session(private=remote) as connection, engine_errors("measure the data quality"):
        now = current.relation(connection)
        before = reference.relation(connection) if reference is not None else None
        states: list[ColumnState] = []
        most = max(current.rows, reference.rows if reference is not None else 0, 1)
        size = max(1, min(len(columns), CELLS_AT_ONCE // most))
        for start in range(0, len(columns), size):
            chunk = columns[start : start + size]
            states.extend(_states(now, before, chunk, set(categorical)))
        rows = int(now.aggregate("count(*)").fetchall()[0][0])
        return QualityReport(
            tuple(states),
            round((rows + others) / (sample_rate or 1.0)),
            usual_rows,
            _duplicates(now, entity),
            _duplicates(before, entity) if before is not None else None,
            repeats,
            rows,
            reference.rows if reference is not None else 0,
        )


@dataclass(frozen=True)
class _Side:
    """What is known of some columns in one table: values that are there, whether they are all
    one, and numbers."""

    rows: int
    types: Mapping[str, str]
    present: Mapping[str, int]
    constant: Mapping[str, bool]
    numbers: Mapping[str, Floats]
    """Those that are there, NaN left out."""

    @classmethod
    def of(cls, table: duckdb.DuckDBPyRelation | None, columns: Sequence[str]) -> _Side:
        if table is None:
            return cls(0, {}, {}, {}, {})
        import numpy as np

        from liminal_assets.steps.bins import kind_of, numbers

        types = dict(zip(table.columns, map(str, table.types), strict=True))
        there = [column for column in columns if column in types]
        numerical = [column for column in there if kind_of(types[column]) == "numerical"]
        found = {
            column: values[~np.isnan(values)]
            for column, values in numbers(table, numerical).items()
        }
        rows, present, constant = _counted(table, [c for c in there if c not in found], types)
        for column, values in found.items():
            present[column] = len(values)
            constant[column] = bool(len(values)) and bool((values == values[0]).all())
        return cls(rows, types, present, constant, found)

    def missing(self, column: str) -> float | None:
        """The share of rows without a value; None without rows."""
        return 1 - self.present.get(column, 0) / self.rows if self.rows else None


def _counted(
    table: duckdb.DuckDBPyRelation, columns: Sequence[str], types: Mapping[str, str]
) -> tuple[int, dict[str, int], dict[str, bool]]:
    from liminal_assets.steps.bins import kind_of

    wanted = ["count(*)"]
    for column in columns:
        name = identifier(column)
        ordered = kind_of(types[column]) != "other"
        wanted += [f"count({name})", f"min({name}) = max({name})" if ordered else "false"]
    (found,) = table.aggregate(", ".join(wanted)).fetchall()
    present = dict(zip(columns, found[1::2], strict=True))
    constant = {column: bool(one) for column, one in zip(columns, found[2::2], strict=True)}
    return found[0], present, constant


def _states(
    now: duckdb.DuckDBPyRelation,
    before: duckdb.DuckDBPyRelation | None,
    columns: Sequence[str],
    codes: set[str],
) -> Iterator[ColumnState]:
    from liminal_assets.steps.bins import kind_of

    window, reference = _Side.of(now, columns), _Side.of(before, columns)
    for column in columns:
        old, new = reference.types.get(column), window.types.get(column)
        kind = kind_of(old or new or "")
        kind = "categorical" if column in codes and kind == "numerical" else kind
        unseen, expected = None, 0.0
        if before is not None and kind == "categorical" and old and new:
            unseen, expected = _unseen(now, before, column)
        extent = reference.numbers.get(column) if kind == "numerical" else None
        low = high = None
        if extent is not None and len(extent):
            low, high = float(extent.min()), float(extent.max())
        yield ColumnState(
            column,
            kind,
            old,
            new,
            missing=window.missing(column) or 0.0,
            missing_before=reference.missing(column),
            # one row alone is no sign of a constant
            constant=window.constant.get(column, False) and window.present[column] > 1,
            constant_before=reference.constant.get(column, False) if reference.rows else None,
            unseen=unseen,
            expected_unseen=expected,
            outside=_outside(window.numbers.get(column), low, high),
            low=low,
            high=high,
        )


def _outside(values: Floats | None, low: float | None, high: float | None) -> float | None:
    """The share of values beyond the reference's smallest and largest."""
    if values is None or low is None or high is None:
        return None
    return float(((values < low) | (values > high)).mean()) if len(values) else 0.0


def _unseen(
    now: duckdb.DuckDBPyRelation, before: duckdb.DuckDBPyRelation, column: str
) -> tuple[float | None, float]:
    """The share of values that the reference lacks, and the share of its values that it has
    once."""
    name = identifier(column)
    counted = [
        side.project(f"CAST({name} AS VARCHAR) AS value")
        .filter("value IS NOT NULL")
        .aggregate("value, count(*) AS n", "value")
        .set_alias(alias)
        for side, alias in ((now, "c"), (before, "r"))
    ]
    joined = counted[0].join(counted[1], "c.value = r.value", how="outer")
    ((new, values, single, values_before),) = joined.aggregate(
        "sum(c.n) FILTER (WHERE r.n IS NULL), sum(c.n), count(*) FILTER (WHERE r.n = 1), sum(r.n)"
    ).fetchall()
    share = float(new or 0) / float(values) if values else None
    return share, float(single or 0) / float(values_before) if values_before else 0.0


def _duplicates(rows: duckdb.DuckDBPyRelation, entity: Sequence[str]) -> float | None:
    if not entity or not set(entity) <= set(rows.columns):
        return None
    keys = ", ".join(map(identifier, entity))
    ((count, distinct),) = (
        rows.aggregate(f"{keys}, count(*) AS n", keys).aggregate("sum(n), count(*)").fetchall()
    )
    return 1 - float(distinct) / float(count) if count else 0.0


def quality_findings(spec: Quality, report: QualityReport) -> list[QualityFinding]:
    """What was measured against the bounds: those of the YAML, or relative to the reference.

    Pure: the same live and in a replay.
    """
    found = [_rows(spec, report)] if report.usual_rows else []
    if report.rows == 0:
        return found
    if report.duplicates is not None:
        found += _duplicate_rows(spec, report)
    for state in report.columns:
        own = spec.columns.get(state.column, ColumnQuality())
        if not own.ignore:
            found.extend(_of_column(spec, own, state, report))
    return found


def _rows(spec: Quality, report: QualityReport) -> QualityFinding:
    usual = report.usual_rows or 1.0
    low, high = spec.rows[0] * usual, spec.rows[1] * usual
    bound = f"from {low:,.0f} to {high:,.0f} (usual: {usual:,.0f})"
    return QualityFinding("rows", "", float(report.rows), bound, not low <= report.rows <= high)


def _duplicate_rows(spec: Quality, report: QualityReport) -> Iterator[QualityFinding]:
    most = spec.duplicates
    if most is None:
        if report.repeats:
            return
        most = (report.duplicates_before or 0.0) + _SMALL
    yield _at_most("duplicates", "", report.duplicates or 0.0, most)


def _of_column(
    spec: Quality, own: ColumnQuality, state: ColumnState, report: QualityReport
) -> Iterator[QualityFinding]:
    if state.now is None or state.changed_type:
        if spec.types:
            said = f"is {state.now}" if state.now else "isn't there"
            yield QualityFinding("type", state.column, None, f"{state.before}", True, said)
        if state.now is None:
            return
    yield _missing(spec, own, state, report)
    if spec.constant and state.constant_before is not None:
        newly = state.constant and not state.constant_before
        said = "has one value only" if newly else "has several values"
        yield QualityFinding("constant", state.column, None, "several values", newly, said)
    if state.unseen is not None:
        chance = unseen_by_chance(state.expected_unseen, report.measured, report.reference_rows)
        expected = max(_SMALL, 2 * state.expected_unseen, chance)
        yield _at_most(
            "unseen", state.column, state.unseen, _first(own.unseen, spec.unseen, expected)
        )
    if state.outside is not None:
        values = round(report.measured * (1 - state.missing))
        before = round(report.reference_rows * (1 - (state.missing_before or 0.0)))
        usual = max(_SMALL, beyond_by_chance(values, before))
        most = _first(own.out_of_range, spec.out_of_range, usual)
        yield _at_most("out_of_range", state.column, state.outside, most)


def _missing(
    spec: Quality, own: ColumnQuality, state: ColumnState, report: QualityReport
) -> QualityFinding:
    usual = state.missing_before or 0.0
    default = usual + _MISSING_MARGIN
    if report.reference_rows:
        default = max(default, share_by_chance(usual, report.measured, report.reference_rows))
    most = min(_first(own.missing, spec.missing, default), 1.0)
    finding = _at_most("missing", state.column, state.missing, most)
    if state.missing == 1.0 and usual < 1.0 and not finding.broken:
        bound = "at least one value, as the reference has"
        return QualityFinding("missing", state.column, 1.0, bound, True)
    return finding


def _first(*bounds: float | None) -> float:
    return next(bound for bound in bounds if bound is not None)


def _at_most(measure: str, column: str, value: float, most: float) -> QualityFinding:
    return QualityFinding(measure, column, value, f"at most {most:.3g}", value > most)
