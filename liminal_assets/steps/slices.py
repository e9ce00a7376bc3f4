"""The rows of a window in groups, each measured by itself: the metric, and its answers' drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.measures import Slices
from liminal_assets.language.monitors import Drift, Monitor
from liminal_assets.storage.forms import engine_errors, identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

    from liminal_assets.steps.performance import Answered
    from liminal_assets.steps.windows import WatchedRows
    from liminal_assets.storage.tables import Table

__all__ = ["OTHERS", "SliceMeasure", "slice_measures"]

OTHERS = "(others)"
MISSING = "(missing)"


@dataclass(frozen=True)
class SliceMeasure:
    """One group of rows."""

    column: str
    value: str
    """The value as text; ``(others)`` is all values with fewer rows than those shown."""
    rows: int
    labelled: int | None = None
    score: float | None = None
    """The metric of the labelled rows; NaN where they don't define it."""
    estimate: float | None = None
    drift: float | None = None
    """How far the answers are from the same group's in the reference."""
    answer: str = ""
    """The column whose drift it is."""

    @property
    def name(self) -> str:
        """``column=value``."""
        return f"{self.column}={self.value}"

    def record(self) -> Mapping[str, Any]:
        """A row of the table of slices."""
        return {
            "slice": self.name,
            "rows": self.rows,
            "labelled": self.labelled,
            "metric": self.score,
            "estimated": self.estimate,
            "drift of the answers": self.drift,
        }


def slice_measures(
    project: Project, block: Monitor, watched: WatchedRows, answers: Answered | None
) -> tuple[SliceMeasure, ...]:
    """Measures the groups of a window, those with the most rows first.

    Raises:
        StepError: there is no such column, with its place in the YAML.
    """
    spec = block.slices
    if spec is None:
        return ()
    there = watched.rows.schema.names
    for name in spec.by:
        if name not in there:
            raise StepError(
                f"there is no column {name!r} to slice by",
                location=project.locate(block, "slices"),
                hint=did_you_mean(name, there),
            )
    found: list[SliceMeasure] = []
    for column in spec.by:
        found.extend(_of_column(block, spec, column, watched, answers))
    return tuple(found)


@dataclass(frozen=True)
class _Group:
    """The rows of one value (None: missing), or of all but those ``shown``."""

    column: str
    value: str | None
    rows: int
    shown: tuple[str | None, ...] | None = None

    @property
    def name(self) -> str:
        if self.shown is not None:
            return OTHERS
        return MISSING if self.value is None else self.value

    @property
    def where(self) -> str:
        """SQL for whether a row belongs to it."""
        text = _text(self.column)
        if self.shown is None:
            return f"{text} IS NOT DISTINCT FROM {literal(self.value)}"
        named = ", ".join(literal(value) for value in self.shown if value is not None)
        rest = f"NOT coalesce({text} IN ({named or 'NULL'}), false)"
        return f"{rest} AND {text} IS NOT NULL" if None in self.shown else rest

    def mask(self, texts: Any) -> Any:
        """Which rows belong to it, by their values as text."""
        if self.shown is None:
            found = texts.isna() if self.value is None else texts == self.value
        else:
            found = ~texts.isin([value for value in self.shown if value is not None])
            if None in self.shown:
                found &= texts.notna()
        return found.to_numpy()


def _of_column(
    block: Monitor, spec: Slices, column: str, watched: WatchedRows, answers: Answered | None
) -> Iterator[SliceMeasure]:
    for group in _groups(watched.rows, column, spec.most):
        distance, answer = _drift(block.drift, group, watched)
        measured: dict[str, Any] = {}
        if answers is not None:
            mask = group.mask(answers.texts(column))
            measured["labelled"], measured["score"] = answers.score(mask)
            if block.performance and block.performance.estimate:
                measured["estimate"] = answers.estimate_of(mask)
        yield SliceMeasure(
            column, group.name, group.rows, drift=distance, answer=answer, **measured
        )


def _groups(rows: Table, column: str, most: int) -> Iterator[_Group]:
    with engine_errors(f"count the rows by {column}"):
        counted = rows.relation().aggregate(f"{_text(column)} AS value, count(*) AS n", "value")
        counts = counted.order("n DESC, value").fetchall()
    for value, count in counts[:most]:
        yield _Group(column, value, count)
    if others := sum(count for _, count in counts[most:]):
        yield _Group(column, None, others, tuple(value for value, _ in counts[:most]))


def _text(column: str) -> str:
    return f"CAST({identifier(column)} AS VARCHAR)"


def _drift(spec: Drift | None, group: _Group, watched: WatchedRows) -> tuple[float | None, str]:
    """How far the answers of a group are from those of the same in the reference; which answer."""
    from liminal_assets.steps.drift import drift

    reference = watched.reference
    if spec is None or reference is None or group.column not in reference.schema.names:
        return None, ""
    both = set(reference.schema.names) & set(watched.rows.schema.names)
    answer = next((name for name in ("probability", "prediction") if name in both), None)
    if answer is None:
        return None, ""
    before, now = (_some(rows, answer, group.where) for rows in (reference, watched.rows))
    report = drift(before, now, method=spec.method, bins=spec.bins, only=[answer])
    return report[answer].distance, answer


def _some(rows: Table, answer: str, where: str) -> pa.Table:
    with engine_errors(f"read {rows.name}"):
        return rows.relation().filter(where).project(identifier(answer)).to_arrow_table()
