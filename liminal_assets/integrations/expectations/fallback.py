"""What SQL can't compute as Great Expectations does, computed by Great Expectations on pandas.

A test that judges each value by itself gets the distinct values, in pieces, with how often each
occurs: memory stays bounded. Anything else gets the columns that it names as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from liminal_assets.integrations.expectations.batch import Batch
from liminal_assets.integrations.expectations.domains import Domain
from liminal_assets.integrations.expectations.library import quiet
from liminal_assets.integrations.expectations.metrics import Counted, Metric
from liminal_assets.integrations.expectations.rowtests import RowTest
from liminal_assets.integrations.expectations.sql import NotInSqlError, Schema, constant
from liminal_assets.storage.forms import identifier

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.validator.metric_configuration import MetricConfiguration

__all__ = ["VALUE_TESTS", "MetricError", "judge_values", "pandas_engine", "resolve_whole"]

VALUE_TESTS = frozenset(
    f"column_values.{test}"
    for test in (
        *("match_regex", "not_match_regex", "match_regex_list", "not_match_regex_list"),
        *("match_strftime_format", "dateutil_parseable", "json_parseable", "match_json_schema"),
        *("value_length.between", "value_length.equals", "of_type", "in_type_list"),
    )
)
"""Map metrics that look at one value at a time."""
_PIECE = 100_000
"""Distinct values judged at a time."""
_FEW = 20


class MetricError(Exception):
    """Great Expectations couldn't compute a metric."""


def pandas_engine(frame: pd.DataFrame) -> PandasExecutionEngine:
    """Great Expectations' engine over a frame."""
    with quiet():
        from great_expectations.execution_engine.pandas_execution_engine import (
            PandasExecutionEngine,
        )

        return PandasExecutionEngine(batch_data_dict={"rows": frame})


def resolve(
    frame: pd.DataFrame, metrics: Sequence[MetricConfiguration]
) -> dict[MetricConfiguration, Any]:
    """The values of metrics, by Great Expectations' own graph of what depends on what.

    Raises:
        MetricError: one of them can't be computed; with Great Expectations' message.
    """
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    calculator = MetricsCalculator(pandas_engine(frame), show_progress_bars=False)
    with quiet():
        try:
            found, aborted = calculator.compute_metrics(metrics)  # type: ignore[arg-type]
        except GreatExpectationsError as error:
            raise MetricError(str(error)) from error
    for failure in aborted.values():
        raise MetricError(_last_line(failure["exception_info"].exception_message))
    if missing := [metric.metric_name for metric in metrics if metric.id not in found]:
        raise MetricError(f"no value for {', '.join(missing)}")
    return {metric: found[metric.id] for metric in metrics}


def _last_line(message: str) -> str:
    lines = [line for line in str(message).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def judge_values(batch: Batch, domain: Domain, test: str, arguments: Mapping[str, Any]) -> Metric:
    """Applies a map metric to the distinct values of a column.

    Raises:
        MetricError: Great Expectations can't judge such values.
    """
    from great_expectations.validator.metric_configuration import MetricConfiguration

    yield []
    column = domain.schema.find(domain.column)
    wrong: list[Any] = []
    count = 0
    metric = MetricConfiguration(f"{test}.condition", {"column": column}, dict(arguments))
    for values, times in _distinct_values(batch, domain):
        (condition, *_) = resolve(values.to_frame(column), [metric])[metric]
        breaking = condition.fillna(True).astype(bool).to_numpy()
        count += int(times[breaking].sum())
        if len(wrong) < _FEW:
            wrong.extend(values[breaking].head(_FEW - len(wrong)))
    return Counted(count, domain, _found_by(domain, wrong))


def _distinct_values(batch: Batch, domain: Domain) -> Iterator[tuple[pd.Series[Any], Any]]:
    value = domain.schema.value(domain.column)
    rows = batch.query(
        f"SELECT {value} AS v, count(*) AS n FROM {batch.name} WHERE {domain.present} GROUP BY ALL"
    )
    for piece in rows.to_arrow_reader(_PIECE):
        frame = piece.to_pandas()
        yield frame["v"], frame["n"]


def _found_by(domain: Domain, values: Sequence[Any]) -> RowTest | None:
    try:
        written = ", ".join(constant(value) for value in values)
    except NotInSqlError:
        return None
    if not written:
        return None
    return RowTest(f"{domain.schema.value(domain.column)} IN ({written})")


def resolve_whole(
    batch: Batch,
    metrics: Sequence[MetricConfiguration],
    count: MetricConfiguration | None,
    schema: Schema,
) -> dict[Any, Any]:
    """The values of an expectation's metrics by id, computed on the columns that it names.

    The rows of a condition that SQL can say are taken by SQL; for another condition pandas gets
    all columns.

    Args:
        count: the metric among them that counts wrong rows, if there is one.

    Raises:
        MetricError: one of them can't be computed; with Great Expectations' message.
    """
    domains = [dict(metric.metric_domain_kwargs) for metric in metrics]
    columns = dict.fromkeys(column for domain in domains for column in _named(domain))
    conditioned = next((domain for domain in domains if domain.get("row_condition")), {})
    narrow = {key: conditioned.get(key) for key in ("row_condition", "condition_parser")}
    try:
        rows = Domain(schema, tuple(columns), Domain.of(narrow, schema).condition)
        listed = ", ".join(identifier(schema.find(column)) for column in columns)
        asked = {metric.id: _unconditioned(metric) for metric in metrics}
    except NotInSqlError:
        rows, listed = Domain(schema, tuple(columns), "true"), "*"
        asked = {metric.id: metric for metric in metrics}
    sql = f"SELECT {listed or '1 AS liminal_row'} FROM {batch.name} WHERE {rows.condition}"
    frame = _classic(batch.query(sql).df())
    wrong = _condition_of(asked[count.id]) if count else None
    found = resolve(frame, [*asked.values(), *([wrong] if wrong else [])])
    values = {key: found[metric] for key, metric in asked.items()}
    if count and wrong:
        (condition, *_) = found[wrong]
        positions = condition.index[condition.fillna(True).astype(bool)][:_FEW].tolist()
        values[count.id] = Counted(values[count.id], rows, positions=positions)
    return values


def _condition_of(count: MetricConfiguration) -> MetricConfiguration:
    from great_expectations.validator.metric_configuration import MetricConfiguration

    name = count.metric_name.removesuffix(".unexpected_count") + ".condition"
    return MetricConfiguration(
        name, dict(count.metric_domain_kwargs), dict(count.metric_value_kwargs)
    )


def _named(domain: Mapping[str, Any]) -> Iterator[str]:
    for key in ("column", "column_A", "column_B"):
        if isinstance(domain.get(key), str):
            yield domain[key]
    yield from domain.get("column_list") or ()


def _unconditioned(metric: MetricConfiguration) -> MetricConfiguration:
    from great_expectations.validator.metric_configuration import MetricConfiguration

    domain = {**metric.metric_domain_kwargs, "row_condition": None, "condition_parser": None}
    return MetricConfiguration(metric.metric_name, domain, dict(metric.metric_value_kwargs))


def _classic(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with the types that most of Great Expectations' pandas code is written for.

    Integers with nulls become floats, truth values with nulls objects.
    """
    import pandas as pd

    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_extension_array_dtype(column.dtype):
            if pd.api.types.is_bool_dtype(column.dtype):
                objects = column.astype(object).where(column.notna(), None)
                frame[name] = objects if column.hasnans else column.astype(bool)
            elif pd.api.types.is_integer_dtype(column.dtype):
                kind: Any = "float64" if column.hasnans else column.dtype.name.lower()
                frame[name] = column.astype(kind)
    return frame
