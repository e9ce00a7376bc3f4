"""A suite of expectations over one batch of rows: one pass, judged by Great Expectations.

Each expectation says which metrics it needs; those of all expectations are computed together and
handed back, and the expectation itself decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.integrations.expectations.batch import Batch, compute
from liminal_assets.integrations.expectations.domains import Domain
from liminal_assets.integrations.expectations.fallback import (
    VALUE_TESTS,
    MetricError,
    judge_values,
    pandas_engine,
    resolve_whole,
)
from liminal_assets.integrations.expectations.library import quiet
from liminal_assets.integrations.expectations.metrics import Counted, Metric, metric_of, row_test_of
from liminal_assets.integrations.expectations.samples import failing_rows
from liminal_assets.integrations.expectations.sql import MissingColumnError, NotInSqlError, Schema

if TYPE_CHECKING:
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.validator.metric_configuration import MetricConfiguration

__all__ = ["MOST_ROWS", "Elsewhere", "Finding", "breaking_condition", "validate"]

UTC = timezone.utc
MOST_ROWS = 20
"""How many failing rows are shown."""
_RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": MOST_ROWS}
_COLUMNS = ("column", "column_A", "column_B", "column_list")


@dataclass(frozen=True)
class Finding:
    """What an expectation found."""

    success: bool
    result: Mapping[str, Any] = field(default_factory=dict)
    """Great Expectations' own result: counts, percentages, observed value."""
    rows: Sequence[Mapping[str, Any]] = ()
    """Some whole rows that break it."""
    error: str | None = None
    """Why it couldn't be judged."""
    hint: str | None = None


@dataclass(frozen=True)
class Elsewhere:
    """Rows that a few expectations compare with."""

    count: Callable[[str], int]
    """The number of rows of a table by name."""
    query: Callable[[str, str], list[dict[str, Any]]]
    """The rows that a query finds in a data source by name."""


@dataclass(frozen=True)
class _Case:
    """An expectation and the metrics it needs, by the names it knows them by."""

    expectation: Expectation
    metrics: Mapping[str, MetricConfiguration]
    result_format: Mapping[str, Any]

    @property
    def count(self) -> MetricConfiguration | None:
        """The number of wrong rows, of an expectation about rows."""
        return self.metrics.get(f"{getattr(self.expectation, 'map_metric', None)}.unexpected_count")

    @property
    def values(self) -> MetricConfiguration | None:
        """Some of the wrong values, of an expectation about rows."""
        return self.metrics.get(
            f"{getattr(self.expectation, 'map_metric', None)}.unexpected_values"
        )


def validate(
    expectations: Sequence[Expectation], batch: Batch, elsewhere: Elsewhere | None = None
) -> list[Finding]:
    """What each expectation finds in the rows, in their order; none raises for another.

    Raises:
        duckdb.IOException: the rows can't be read.
    """
    engine = pandas_engine(batch.query(f"SELECT * FROM {batch.name} LIMIT 0").df())
    cases = [_case(expectation, batch, engine) for expectation in expectations]
    wanted: dict[Any, Metric] = {}
    for case in cases:
        if isinstance(case, _Case):
            for metric in case.metrics.values():
                if metric is not case.values and metric.id not in wanted:
                    wanted[metric.id] = _metric(metric, batch, engine, elsewhere)
    found = compute(batch, wanted)
    return [
        _finding(case, batch, found, engine) if isinstance(case, _Case) else case for case in cases
    ]


def breaking_condition(expectation: Expectation, schema: Schema) -> str | None:
    """SQL that is true for a row that breaks an expectation, and never null.

    None for an expectation that isn't about single rows, or that SQL can't judge exactly.

    Args:
        schema: the columns, without a source: only the row at hand may be looked at.
    """
    from great_expectations.expectations.registry import get_metric_kwargs

    test = getattr(expectation, "map_metric", None)
    if test is None:
        return None
    try:
        expectation = _fitted(expectation, schema)
        with quiet():
            arguments = get_metric_kwargs(
                f"{test}.unexpected_count",
                expectation.configuration,
                {"result_format": dict(_RESULT_FORMAT)},
            )
        domain, row = row_test_of(
            test, arguments["metric_domain_kwargs"], arguments["metric_value_kwargs"], schema
        )
    except (NotInSqlError, MissingColumnError):
        return None
    if not row.local:
        return None
    parts = [part for part in (domain.condition, row.wrong(domain)) if part not in ("true", "")]
    return f"coalesce({' AND '.join(parts) or 'true'}, false)"


def _fitted(expectation: Expectation, schema: Schema) -> Expectation:
    """An expectation with its columns and bounds as the rows have them.

    Raises:
        MissingColumnError: a column isn't there.
    """
    fitted = expectation.copy(update=_real_columns(expectation, schema))
    return fitted.copy(update=_moments(fitted, schema))


def _case(expectation: Expectation, batch: Batch, engine: PandasExecutionEngine) -> _Case | Finding:
    """What an expectation needs, its columns called as the rows call them."""
    try:
        expectation = _fitted(expectation, batch.schema)
        with quiet():
            dependencies = expectation.get_validation_dependencies(
                engine, {"result_format": dict(_RESULT_FORMAT)}
            )
    except Exception as error:  # an expectation of anyone's may raise anything
        return _failure(error)
    metrics = dict(dependencies.metric_configurations)
    return _Case(expectation, metrics, dict(dependencies.result_format))


def _real_columns(expectation: Expectation, schema: Schema) -> dict[str, Any]:
    """The columns that an expectation names, as the rows call them."""
    named = {key: getattr(expectation, key) for key in _COLUMNS if key in expectation.domain_keys}
    return {
        key: list(map(schema.find, value)) if isinstance(value, list) else schema.find(value)
        for key, value in named.items()
    }


def _moments(expectation: Expectation, schema: Schema) -> dict[str, Any]:
    """Bounds of moments as moments: Great Expectations reads '2013-01-01' as a date, which
    pandas compares with no moment."""
    column = getattr(expectation, "column", None)
    if column is None or column not in schema.types:
        return {}
    if schema.kind(column) not in ("moment", "date"):
        return {}
    zone = UTC if schema.type(column) == "TIMESTAMP WITH TIME ZONE" else None
    return {
        key: datetime(bound.year, bound.month, bound.day, tzinfo=zone)
        if not isinstance(bound, datetime)
        else bound.replace(tzinfo=bound.tzinfo or zone)
        for key in ("min_value", "max_value")
        if isinstance(bound := getattr(expectation, key, None), date)
    }


def _metric(
    metric: MetricConfiguration,
    batch: Batch,
    engine: PandasExecutionEngine,
    elsewhere: Elsewhere | None,
) -> Metric:
    """How a metric is computed; what SQL can't do raises when it is advanced."""
    name, domain = metric.metric_name, metric.metric_domain_kwargs
    arguments = metric.metric_value_kwargs
    yield []
    if name == "table.column_types":
        dtypes = engine.dataframe.dtypes
        return [{"name": column, "type": dtype} for column, dtype in dtypes.items()]
    if name == "table.row_count" and domain.get("table"):
        return _there(elsewhere).count(domain["table"])
    if name == "comparison_query.data_source_table":
        return _there(elsewhere).query(
            arguments["comparison_data_source_name"], arguments["comparison_query"]
        )
    try:
        inner = metric_of(name, domain, arguments, batch.schema)
    except NotInSqlError:
        test, _, what = name.rpartition(".")
        if test not in VALUE_TESTS or what != "unexpected_count":
            raise
        inner = judge_values(batch, Domain.of(domain, batch.schema), test, arguments)
    return (yield from inner)


def _there(elsewhere: Elsewhere | None) -> Elsewhere:
    if elsewhere is None:
        raise MetricError("there is no project whose tables and connections it could look into")
    return elsewhere


def _finding(
    case: _Case, batch: Batch, found: Mapping[Any, Any], engine: PandasExecutionEngine
) -> Finding:
    """The expectation's own judgement of its metrics."""
    import duckdb

    needed = [metric for metric in case.metrics.values() if metric is not case.values]
    values = {metric.id: found[metric.id] for metric in needed}
    failures = [value for value in values.values() if isinstance(value, Exception)]
    try:
        if any(isinstance(failure, NotInSqlError | duckdb.Error) for failure in failures):
            values = resolve_whole(batch, needed, case.count, batch.schema)
        elif failures:
            raise failures[0]
        rows = _rows(case, batch, values)
        named = {name: values[metric.id] for name, metric in case.metrics.items()}
        with quiet():
            result = case.expectation._validate(
                named, {"result_format": case.result_format}, engine
            )
    except duckdb.IOException:
        raise
    except Exception as error:  # an expectation of anyone's may raise anything
        original = next((f for f in failures if isinstance(f, duckdb.Error)), None)
        return _failure(original or error)
    if isinstance(result, dict):
        return Finding(bool(result["success"]), result.get("result") or {}, rows)
    return Finding(bool(result.success), result.result or {}, rows)


def _rows(case: _Case, batch: Batch, values: dict[Any, Any]) -> list[dict[str, Any]]:
    """Some failing rows; puts the values that the expectation wants to see into ``values``."""
    counts = {key: value for key, value in values.items() if isinstance(value, Counted)}
    values.update({key: counted.count for key, counted in counts.items()})
    if case.count is None:
        query = case.metrics.get("unexpected_rows_query.table")
        return list(values[query.id]) if query else []
    counted = counts[case.count.id]
    rows = failing_rows(batch, counted, MOST_ROWS) if counted.count else []
    if case.values is not None:
        values[case.values.id] = [_unexpected(row, counted.domain.columns) for row in rows]
    return rows


def _unexpected(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """A wrong value in Great Expectations' form: one, a pair, or several by column."""
    if len(columns) == 1:
        return row[columns[0]]
    if len(columns) == 2:
        return tuple(row[column] for column in columns)
    return {column: row[column] for column in columns}


def _failure(error: Exception) -> Finding:
    """An expectation that couldn't be judged fails, with the reason."""
    import duckdb

    if isinstance(error, StepError):
        return Finding(False, error=error.message, hint=error.hint)
    if isinstance(error, MissingColumnError):
        return Finding(False, error=f"the rows have no column {error.column!r}", hint=error.hint)
    if isinstance(error, duckdb.Error):
        return Finding(False, error=str(error).split("\n\nLINE ")[0].strip())
    if isinstance(error, MetricError | NotInSqlError):
        return Finding(False, error=str(error))
    return Finding(False, error=f"{type(error).__name__}: {error}")
