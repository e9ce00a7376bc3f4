"""The metrics of Great Expectations as SQL aggregates that one query computes together.

A metric is a generator: it yields the SQL aggregates it needs and is sent their values, once or
more, and returns its value. Those of all metrics that wait at the same time are one query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from liminal_assets.integrations.expectations.domains import Domain
from liminal_assets.integrations.expectations.rowtests import (
    ROW_TESTS,
    RowTest,
    inside,
    members,
    repeated,
)
from liminal_assets.integrations.expectations.sql import (
    NotInSqlError,
    Schema,
    constant,
    exactly,
    moment,
)

__all__ = ["Counted", "Metric", "metric_of", "row_test_of"]

Arguments = Mapping[str, Any]
Metric = Generator[list[str], Sequence[Any], Any]
Builder = Callable[[Domain, Arguments], Metric]

_METRICS: dict[str, Builder] = {}
_MOST_DISTINCT = 20
"""How many values Great Expectations shows of those that a set lacks."""


@dataclass(frozen=True)
class Counted:
    """The value of an ``unexpected_count``: how many rows are wrong, and how some are found."""

    count: int
    domain: Domain
    test: RowTest | None = None
    positions: Sequence[int] = ()
    """Where some of them stand among the rows of the domain's condition, without a test."""


def metric_of(name: str, domain: Arguments, arguments: Arguments, schema: Schema) -> Metric:
    """A metric of Great Expectations over the rows of ``schema.source``.

    Args:
        name: as Great Expectations calls it, such as ``column.max``.
        domain: its domain arguments.
        arguments: its value arguments.

    Raises:
        NotInSqlError: SQL can't compute it as Great Expectations does.
        MissingColumnError: it names a column that isn't there.
    """
    rows = Domain.of(domain, schema)
    if name in _METRICS:
        return _METRICS[name](rows, arguments)
    test, _, what = name.rpartition(".")
    if test in ROW_TESTS and what == "unexpected_count":
        return _unexpected_count(rows, ROW_TESTS[test](rows, arguments))
    if test in ROW_TESTS and what == "filtered_row_count":
        return _one(rows.count(rows.filled), int)
    raise NotInSqlError(f"the metric {name}")


def row_test_of(
    name: str, domain: Arguments, arguments: Arguments, schema: Schema
) -> tuple[Domain, RowTest]:
    """The test of a map metric (``column_values.between``) and the rows it is for.

    Raises:
        NotInSqlError: SQL can't judge as Great Expectations does.
        MissingColumnError: it names a column that isn't there.
    """
    if name not in ROW_TESTS:
        raise NotInSqlError(f"the metric {name}")
    rows = Domain.of(domain, schema)
    return rows, ROW_TESTS[name](rows, arguments)


def _metric(name: str) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        _METRICS[name] = builder
        return builder

    return register


def _one(sql: str, convert: Callable[[Any], Any] = lambda value: value) -> Metric:
    (value,) = yield [sql]
    return convert(value)


def _unexpected_count(domain: Domain, test: RowTest) -> Metric:
    (count,) = yield [test.count or domain.count(test.wrong(domain))]
    return Counted(int(count), domain, test)


@_metric("column_values.unique.unexpected_count")
@_metric("compound_columns.unique.unexpected_count")
def _repeated(domain: Domain, arguments: Arguments) -> Metric:
    """Counts repeated rows only once it is known that there are any, which is cheaper to find."""
    test = repeated(domain)
    distinct, rows = yield from _distinct_keys(domain)
    if rows == distinct:
        return Counted(0, domain, test)
    counted = yield from _unexpected_count(domain, test)
    return counted


_MOST_BITS = 2**28
"""The widest range of integers that one bit each is kept for: 32 megabytes a thread."""


def _distinct_keys(domain: Domain) -> Metric:
    """The number of distinct values, or combinations of them, and of the rows that have any."""
    keys = [domain.schema.value(column) for column in domain.columns]
    kind = domain.schema.type(domain.columns[0])
    if len(keys) == 1 and kind in ("BIGINT", "INTEGER", "SMALLINT"):
        (key,) = keys
        low, high, rows = yield [
            domain.aggregate(f"{function}({key})") for function in ("min", "max", "count")
        ]
        if not rows:
            return 0, 0
        if high - low < min(_MOST_BITS, 64 * rows):
            seen = f"bitstring_agg({key}, ({low})::{kind}, ({high})::{kind})"
            (distinct,) = yield [f"bit_count({domain.aggregate(seen)})"]
            return int(distinct), rows
    groups = f"FROM {domain.source} WHERE {domain.present} GROUP BY {', '.join(keys)}"
    distinct, rows = yield [
        f"(SELECT count(*) FROM (SELECT 1 {groups}))",
        domain.count(domain.filled),
    ]
    return int(distinct), rows


@_metric("column_values.not_outliers.unexpected_count")
def _outliers(domain: Domain, arguments: Arguments) -> Metric:
    method = arguments.get("method") or "iqr"
    x = _number(domain)
    if method == "iqr":
        low, high = yield from _quantiles(domain, [0.25, 0.75], "linear")
        spread = high - low
    elif method == "std":
        mean, spread = yield [
            domain.aggregate(exactly("avg", x)),
            domain.aggregate(f"stddev_samp({x})"),
        ]
        low = high = _float(mean)
        spread = _float(spread)
    else:
        raise NotInSqlError(f"outliers by {method!r}")
    reach = spread * arguments.get("multiplier", 1.5)
    if not all(map(math.isfinite, (low, high, spread))):
        inside = "true"
    elif method == "iqr":
        inside = f"{x} >= {constant(low - reach)} AND {x} <= {constant(high + reach)}"
    elif reach <= 0:
        inside = f"{x} = {constant(low)}"
    else:
        inside = f"abs({x} - {constant(low)}) < {constant(reach)}"
    counted = yield from _unexpected_count(domain, RowTest(f"NOT ({inside})"))
    return counted


@_metric("table.row_count")
def _row_count(domain: Domain, arguments: Arguments) -> Metric:
    return _one(domain.count(), int)


@_metric("table.columns")
def _columns(domain: Domain, arguments: Arguments) -> Metric:
    return _known(domain.schema.columns)


@_metric("table.column_count")
def _column_count(domain: Domain, arguments: Arguments) -> Metric:
    return _known(len(domain.schema.columns))


def _known(value: Any) -> Metric:
    yield []
    return value


@_metric("column.min")
def _min(domain: Domain, arguments: Arguments) -> Metric:
    return _extreme(domain, "min")


@_metric("column.max")
def _max(domain: Domain, arguments: Arguments) -> Metric:
    return _extreme(domain, "max")


def _extreme(domain: Domain, function: str) -> Metric:
    if domain.schema.kind(domain.column) == "other":
        raise NotInSqlError(f"the {function} of values of type {domain.schema.type(domain.column)}")
    return _one(domain.aggregate(f"{function}({domain.schema.value(domain.column)})"), _scalar)


@_metric("column.mean")
def _mean(domain: Domain, arguments: Arguments) -> Metric:
    return _one(domain.aggregate(exactly("avg", _number(domain))), _float)


@_metric("column.standard_deviation")
def _standard_deviation(domain: Domain, arguments: Arguments) -> Metric:
    return _one(domain.aggregate(f"stddev_samp({_number(domain)})"), _float)


@_metric("column.sum")
def _sum(domain: Domain, arguments: Arguments) -> Metric:
    schema, column = domain.schema, domain.column
    if schema.kind(column) == "boolean":
        total, nothing = f"count_if({schema.value(column)})", "0"
    elif schema.kind(column) == "integer":
        total, nothing = f"sum({schema.value(column)})", "0"
    else:
        total, nothing = exactly("sum", _number(domain)), "0.0::DOUBLE"
    return _one(f"coalesce({domain.aggregate(total)}, {nothing})")


def _number(domain: Domain) -> str:
    schema, column = domain.schema, domain.column
    if schema.kind(column) == "boolean":
        return f"({schema.value(column)}::INTEGER::DOUBLE)"
    if not schema.number(column):
        raise NotInSqlError(f"arithmetic with values of type {schema.type(column)}")
    return schema.double(column)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _scalar(value: Any) -> Any:
    """A value as pandas hands it out: a missing one is NaN, a moment a :class:`Timestamp`."""
    if value is None:
        return math.nan
    if isinstance(value, date):
        import pandas as pd

        return pd.Timestamp(value)
    return value


@_metric("column_values.nonnull.count")
def _nonnull_count(domain: Domain, arguments: Arguments) -> Metric:
    import numpy as np

    # a share of nothing is NaN for NumPy's numbers and an error for Python's
    return _one(domain.count(domain.filled), np.int64)


@_metric("column.non_null_count")
def _non_null_count(domain: Domain, arguments: Arguments) -> Metric:
    return _one(domain.count(domain.filled), int)


@_metric("column.non_null_proportion")
def _non_null_proportion(domain: Domain, arguments: Arguments) -> Metric:
    rows, filled = yield [domain.count(), domain.count(domain.filled)]
    return filled / rows if rows else 0


@_metric("column.distinct_values.count")
def _distinct_count(domain: Domain, arguments: Arguments) -> Metric:
    distinct, _ = yield from _distinct_keys(domain)
    return distinct


@_metric("column.unique_proportion")
def _unique_proportion(domain: Domain, arguments: Arguments) -> Metric:
    distinct, rows = yield from _distinct_keys(domain)
    return distinct / rows if rows else 0


def _distinct(domain: Domain, test: str = "true") -> str:
    """SQL: the distinct values among those present that pass a test."""
    schema, column = domain.schema, domain.column
    if schema.kind(column) == "other":
        raise NotInSqlError(f"distinct values of type {schema.type(column)}")
    rows = f"FROM {domain.source} WHERE {domain.present} AND {test}"
    return f"SELECT {schema.value(column)} AS v {rows} GROUP BY v"


@_metric("column.distinct_values.not_in_set.count")
def _not_in_set_count(domain: Domain, arguments: Arguments) -> Metric:
    return _one(f"(SELECT count(*) FROM ({_distinct(domain, _outside(domain, arguments))}))", int)


@_metric("column.distinct_values.not_in_set")
def _not_in_set(domain: Domain, arguments: Arguments) -> Metric:
    distinct = _distinct(domain, _outside(domain, arguments))
    first = f"{distinct} ORDER BY v LIMIT {_MOST_DISTINCT}"
    return _one(f"(SELECT list(v ORDER BY v) FROM ({first}))", lambda found: found or [])


def _outside(domain: Domain, arguments: Arguments) -> str:
    inside = members(domain.schema, domain.column, arguments.get("value_set") or [])
    return f"NOT {inside}"


@_metric("column.distinct_values.missing_from_column.count")
def _missing_count(domain: Domain, arguments: Arguments) -> Metric:
    missing = yield from _missing_values(domain, arguments)
    return len(missing)


@_metric("column.distinct_values.missing_from_column")
def _missing(domain: Domain, arguments: Arguments) -> Metric:
    missing = yield from _missing_values(domain, arguments)
    return missing[:_MOST_DISTINCT]


def _missing_values(domain: Domain, arguments: Arguments) -> Metric:
    """The values of a set that the column lacks."""
    expected = dict.fromkeys(arguments.get("value_set") or ())
    inside = members(domain.schema, domain.column, list(expected))
    (found,) = yield [f"(SELECT list(v) FROM ({_distinct(domain, inside or 'false')}))"]
    if domain.schema.kind(domain.column) not in ("moment", "date"):
        return [value for value in expected if value not in set(found or ())]
    zoned = domain.schema.type(domain.column) == "TIMESTAMP WITH TIME ZONE"
    written = {moment(value, zoned=zoned) for value in found or ()}
    return [value for value in expected if _written_moment(value, zoned) not in written]


def _written_moment(value: Any, zoned: bool) -> str | None:
    try:
        return moment(value, zoned=zoned)
    except (NotInSqlError, AttributeError):
        return None


@_metric("column.most_common_value")
def _most_common(domain: Domain, arguments: Arguments) -> Metric:
    if domain.schema.kind(domain.column) in ("moment", "date", "time"):
        raise NotInSqlError("the most common moment")
    counts = _distinct(domain).replace(" AS v ", " AS v, count(*) AS n ", 1)
    most = f"SELECT v FROM ({counts}) QUALIFY n = max(n) OVER ()"
    return _one(f"(SELECT list(v ORDER BY v) FROM ({most}))", lambda found: found or [])


@_metric("column.median")
def _median(domain: Domain, arguments: Arguments) -> Metric:
    values = yield from _quantiles(domain, [0.5], "midpoint")
    return values[0]


@_metric("column.quantile_values")
def _quantile_values(domain: Domain, arguments: Arguments) -> Metric:
    method = arguments.get("allow_relative_error") or "nearest"
    return _quantiles(domain, arguments["quantiles"], method)


_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantiles(domain: Domain, quantiles: Sequence[float], method: Any) -> Metric:
    """Quantiles exactly as :func:`numpy.quantile` interpolates them.

    The number of values tells which of them, in order, are needed; a second query picks those.
    """
    import numpy as np

    if method not in _METHODS or not all(0 <= quantile <= 1 for quantile in quantiles):
        raise NotInSqlError(f"quantiles by {method!r}")
    x = _number(domain)
    (count,) = yield [domain.count(domain.filled)]
    if not count:
        return [math.nan] * len(quantiles)
    positions = [(count - 1) * quantile for quantile in quantiles]
    ranks = sorted({int(f(position)) for position in positions for f in (math.floor, math.ceil)})
    # the middle of a value's share of the whole, so that rounding picks no neighbour
    shares = ", ".join(repr((rank + 0.5) / count) for rank in ranks)
    (found,) = yield [domain.aggregate(f"quantile_disc({x}, [{shares}])")]
    at = dict(zip(ranks, found, strict=True))
    return [_between(at, position, method, np) for position in positions]


def _between(at: Mapping[int, float], position: float, method: str, np: Any) -> float:
    if method == "nearest":
        return at[int(np.around(position))]
    low, high = at[math.floor(position)], at[math.ceil(position)]
    fraction = position - math.floor(position)
    if fraction == 0:
        return low
    return float(np.quantile([low, high], fraction, method=method))


@_metric("column.value_counts")
def _value_counts(domain: Domain, arguments: Arguments) -> Metric:
    if domain.schema.kind(domain.column) in ("moment", "date", "time", "other"):
        raise NotInSqlError(f"how often values of type {domain.schema.type(domain.column)} occur")
    import pandas as pd

    counts = _distinct(domain).replace(" AS v ", " AS v, count(*) AS n ", 1)
    values, numbers = yield [
        f"(SELECT list({part} ORDER BY v) FROM ({counts}))" for part in ("v", "n")
    ]
    return pd.Series(numbers or [], pd.Index(values or [], name="value"), name="count")


@_metric("column.histogram")
def _histogram(domain: Domain, arguments: Arguments) -> Metric:
    x, bins = _number(domain), list(arguments["bins"])
    if len(bins) < 2 or sorted(bins) != bins:
        raise NotInSqlError("a histogram of one bin or of bins out of order")
    edges = [constant(float(edge)) for edge in bins]
    counts = yield [
        # the last bin holds its upper edge, as numpy.histogram's does
        domain.count(f"{x} >= {low} AND {x} {'<=' if high == edges[-1] else '<'} {high}")
        for low, high in pairwise(edges)
    ]
    return list(counts)


@_metric("column_values.between.count")
def _between_count(domain: Domain, arguments: Arguments) -> Metric:
    return _one(domain.count(inside(domain, arguments)), int)


@_metric("unexpected_rows_query.row_count")
def _query_count(domain: Domain, arguments: Arguments) -> Metric:
    return _one(f"(SELECT count(*) FROM ({_filled_in(domain, arguments)}))", int)


@_metric("unexpected_rows_query.table")
def _query_rows(domain: Domain, arguments: Arguments) -> Metric:
    found = f"FROM ({_filled_in(domain, arguments)}) AS found"
    return _one(f"(SELECT list(found) FROM (SELECT found {found} LIMIT {_MOST_DISTINCT}))", _listed)


@_metric("base_query.table")
def _base_query_rows(domain: Domain, arguments: Arguments) -> Metric:
    return _one(f"(SELECT list(found) FROM ({_filled_in(domain, arguments)}) AS found)", _listed)


def _listed(rows: Sequence[Any] | None) -> list[Any]:
    return list(rows or ())


def _filled_in(domain: Domain, arguments: Arguments) -> str:
    """A query of the user over the rows of the condition, which it calls ``{batch}``."""
    query = arguments.get("unexpected_rows_query") or arguments.get("base_query") or ""
    rows = domain.source
    if domain.condition != "true":
        rows = f"(SELECT * FROM {rows} WHERE {domain.condition})"
    return str(query).format_map({"batch": rows}).rstrip("; \t\r\n")
