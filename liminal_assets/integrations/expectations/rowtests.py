"""Which rows break an expectation, as SQL: the map metrics of Great Expectations.

A test says when a row that counts is wrong; it is true or false, never null. What DuckDB would
judge otherwise than pandas raises :class:`NotInSqlError` and is left to Great Expectations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import Any

from liminal_assets.integrations.expectations.domains import Domain
from liminal_assets.integrations.expectations.regexes import to_re2
from liminal_assets.integrations.expectations.sql import (
    NotInSqlError,
    Schema,
    constant,
    exactly,
    moment,
)

__all__ = ["ROW_TESTS", "RowTest", "inside", "members", "repeated"]

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class RowTest:
    """When a row breaks an expectation.

    Args:
        breaks: SQL that is true for a wrong row among those that count.
        counts: SQL of the rows that count; default: as the nulls of the domain say.
        count: SQL of the number of wrong rows, where counting ``breaks`` isn't the way.
        rows: SQL of a table that holds the wrong rows where ``breaks`` is true, with the columns
            to leave out, where a row alone doesn't show that it is wrong.
    """

    breaks: str
    counts: str | None = None
    count: str | None = None
    rows: tuple[str, str] | None = None

    def wrong(self, domain: Domain) -> str:
        """SQL: whether a row of the domain's condition is wrong."""
        counts = domain.filled if self.counts is None else self.counts
        return " AND ".join(f"({part})" for part in (counts, self.breaks) if part != "true")

    @property
    def local(self) -> bool:
        """Whether a row alone shows that it is wrong."""
        return self.count is None and self.rows is None


Builder = Callable[[Domain, Arguments], RowTest]
ROW_TESTS: dict[str, Builder] = {}
"""Map metric → its test."""


def _row_test(*metrics: str) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        ROW_TESTS.update(dict.fromkeys(metrics, builder))
        return builder

    return register


@_row_test("column_values.nonnull")
def _nonnull(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(f"{domain.schema.value(domain.column)} IS NULL", counts="true")


@_row_test("column_values.null")
def _null(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(f"{domain.schema.value(domain.column)} IS NOT NULL", counts="true")


@_row_test("column_values.between")
def _between(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(f"NOT ({inside(domain, arguments)})")


@_row_test("column_values.value_length.between")
def _length_between(domain: Domain, arguments: Arguments) -> RowTest:
    length = f"length({domain.schema.text(domain.column)})"
    tests = [f"{length} {sign} {constant(value)}" for sign, value in _bounds(arguments)]
    return RowTest(f"NOT ({' AND '.join(tests)})")


@_row_test("column_values.value_length.equals")
def _length_equals(domain: Domain, arguments: Arguments) -> RowTest:
    text = domain.schema.text(domain.column)
    return RowTest(f"length({text}) <> {constant(arguments['value'])}")


def inside(domain: Domain, arguments: Arguments) -> str:
    """SQL: whether a value lies within ``min_value`` and ``max_value``."""
    value = domain.schema.value(domain.column)
    tests = [
        f"{value} {sign} {domain.schema.comparable(domain.column, bound)}"
        for sign, bound in _bounds(arguments)
    ]
    return " AND ".join(tests)


def _bounds(arguments: Arguments) -> list[tuple[str, Any]]:
    least, most = arguments.get("min_value"), arguments.get("max_value")
    if least is None and most is None:
        raise NotInSqlError("no bounds")
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        raise NotInSqlError("bounds that cross")
    below = "<" if arguments.get("strict_max") else "<="
    above = ">" if arguments.get("strict_min") else ">="
    return [
        *([(above, least)] if least is not None else []),
        *([(below, most)] if most is not None else []),
    ]


@_row_test("column_values.in_set")
def _in_set(domain: Domain, arguments: Arguments) -> RowTest:
    inside = members(domain.schema, domain.column, arguments["value_set"])
    return RowTest("false" if inside is None else f"NOT {inside}")


@_row_test("column_values.not_in_set")
def _not_in_set(domain: Domain, arguments: Arguments) -> RowTest:
    inside = members(domain.schema, domain.column, arguments["value_set"])
    return RowTest("false" if inside is None else inside)


def members(schema: Schema, column: str, values: Sequence[Any] | None) -> str | None:
    """SQL: whether a value is one of a set, as :meth:`pandas.Series.isin` sees it.

    Values of another kind than the column's are never met. None, no set at all, gives None.
    """
    if values is None:
        return None
    written = list(_same_kind(schema, column, values))
    if not written:
        return "false"
    value = schema.double(column) if schema.type(column) == "FLOAT" else schema.value(column)
    return f"({value} IN ({', '.join(written)}))"


def _same_kind(schema: Schema, column: str, values: Sequence[Any]) -> Iterator[str]:
    kind = schema.kind(column)
    if kind in ("other", "time"):
        raise NotInSqlError(f"a set of values of type {schema.type(column)}")
    zoned = schema.type(column) == "TIMESTAMP WITH TIME ZONE"
    for value in values:
        number = isinstance(value, int | float | Decimal)
        if isinstance(value, float) and value != value:
            continue
        if kind in ("integer", "float") and number:
            yield constant(int(value) if isinstance(value, bool) else value)
        elif kind == "boolean" and number and value in (0, 1):
            yield constant(bool(value))
        elif kind == "text" and isinstance(value, str):
            yield constant(value)
        elif kind in ("moment", "date") and isinstance(value, str | date):
            try:
                yield moment(value, zoned=zoned)
            except NotInSqlError:
                continue


@_row_test("column_values.match_regex")
def _match_regex(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(f"NOT {_found(domain, arguments['regex'])}")


@_row_test("column_values.not_match_regex")
def _not_match_regex(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(_found(domain, arguments["regex"]))


@_row_test("column_values.match_regex_list")
def _match_regex_list(domain: Domain, arguments: Arguments) -> RowTest:
    found = [_found(domain, regex) for regex in arguments["regex_list"]]
    return RowTest(f"NOT ({_matching(arguments, found)})")


@_row_test("column_values.not_match_regex_list")
def _not_match_regex_list(domain: Domain, arguments: Arguments) -> RowTest:
    found = [_found(domain, regex) for regex in arguments["regex_list"]]
    return RowTest(f"({_matching({}, found)})")


def _found(domain: Domain, regex: str) -> str:
    return f"regexp_matches({domain.schema.text(domain.column)}, {constant(to_re2(regex))})"


def _matching(arguments: Arguments, tests: list[str]) -> str:
    match_on = arguments.get("match_on") or "any"
    if not tests or match_on not in ("any", "all"):
        raise NotInSqlError("an empty list of patterns")
    return (" OR " if match_on == "any" else " AND ").join(tests)


@_row_test("column_values.match_like_pattern")
def _match_like(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(f"NOT {_like(domain, arguments['like_pattern'], arguments)}")


@_row_test("column_values.not_match_like_pattern")
def _not_match_like(domain: Domain, arguments: Arguments) -> RowTest:
    return RowTest(_like(domain, arguments["like_pattern"], arguments))


@_row_test("column_values.match_like_pattern_list")
def _match_like_list(domain: Domain, arguments: Arguments) -> RowTest:
    found = [_like(domain, pattern, arguments) for pattern in arguments["like_pattern_list"]]
    return RowTest(f"NOT ({_matching(arguments, found)})")


@_row_test("column_values.not_match_like_pattern_list")
def _not_match_like_list(domain: Domain, arguments: Arguments) -> RowTest:
    found = [_like(domain, pattern, arguments) for pattern in arguments["like_pattern_list"]]
    return RowTest(f"({_matching({}, found)})")


def _like(domain: Domain, pattern: str, arguments: Arguments) -> str:
    escape = arguments.get("escape")
    rest = f" ESCAPE {constant(escape)}" if escape else ""
    return f"({domain.schema.text(domain.column)} LIKE {constant(pattern)}{rest})"


@_row_test("column_values.unique")
def _unique(domain: Domain, arguments: Arguments) -> RowTest:
    return repeated(domain)


@_row_test("compound_columns.unique")
def _compound_unique(domain: Domain, arguments: Arguments) -> RowTest:
    return repeated(domain)


def repeated(domain: Domain) -> RowTest:
    """Rows whose values occur more than once; missing values equal each other."""
    keys = ", ".join(domain.schema.value(column) for column in domain.columns)
    groups = f"FROM {domain.source} WHERE {domain.present} GROUP BY {keys} HAVING count(*) > 1"
    key = keys if len(domain.columns) == 1 else f"row({keys})"
    return RowTest(
        f"{key} IN (SELECT {key} {groups})",
        count=f"(SELECT coalesce(sum(n), 0)::BIGINT FROM (SELECT count(*) AS n {groups}))",
    )


@_row_test("column_values.increasing")
def _increasing(domain: Domain, arguments: Arguments) -> RowTest:
    return _unordered(domain, "<=" if arguments.get("strictly") else "<")


@_row_test("column_values.decreasing")
def _decreasing(domain: Domain, arguments: Arguments) -> RowTest:
    return _unordered(domain, ">=" if arguments.get("strictly") else ">")


def _unordered(domain: Domain, wrong: str) -> RowTest:
    """Rows whose difference to the one before has the wrong sign."""
    schema, column = domain.schema, domain.column
    if schema.number(column):
        step = f"({schema.double(column)} - lag({schema.double(column)}) OVER ())"
        step = f"(CASE WHEN NOT isnan({step}) THEN sign({step}) END)"
    elif schema.kind(column) in ("moment", "date"):
        value = schema.value(column)
        step = f"sign(epoch_us({value}) - lag(epoch_us({value})) OVER ())"
    else:
        raise NotInSqlError(f"the order of values of type {schema.type(column)}")
    rows = f"(SELECT *, {step} AS liminal_step FROM {domain.source} WHERE {domain.present})"
    breaks = f"coalesce(liminal_step {wrong} 0, false)"
    return RowTest(
        breaks,
        count=f"(SELECT count(*) FROM {rows} WHERE {breaks})",
        rows=(rows, "liminal_step"),
    )


@_row_test("column_values.z_score.under_threshold")
def _z_score(domain: Domain, arguments: Arguments) -> RowTest:
    schema, column = domain.schema, domain.column
    if not schema.number(column):
        raise NotInSqlError("the z-score of what is no number")
    x = schema.double(column)
    statistics = f"FROM {domain.source} WHERE {domain.present}"
    mean = f"(SELECT {exactly('avg', x)} {statistics})"
    spread = f"(SELECT nullif(stddev_samp({x}), 0) {statistics})"
    score, threshold = f"({x} - {mean}) / {spread}", float(arguments["threshold"])
    if arguments.get("double_sided"):
        score, threshold = f"abs({score})", abs(threshold)
    breaks = f"coalesce({score} >= {constant(threshold)}, false)"
    # a mean is of all rows, though each is judged alone
    return RowTest(breaks, count=domain.count(f"{domain.filled} AND {breaks}"))


@_row_test("column_pair_values.equal")
def _pair_equal(domain: Domain, arguments: Arguments) -> RowTest:
    a, b = _alike(domain)
    return RowTest(f"NOT coalesce({a} = {b}, false)")


@_row_test("column_pair_values.a_greater_than_b")
def _pair_greater(domain: Domain, arguments: Arguments) -> RowTest:
    a, b = _alike(domain)
    if domain.schema.kind(domain.columns[0]) == "boolean":
        raise NotInSqlError("the order of truth values")
    sign = ">=" if arguments.get("or_equal") else ">"
    return RowTest(f"NOT coalesce({a} {sign} {b}, false)")


@_row_test("column_pair_values.in_set")
def _pair_in_set(domain: Domain, arguments: Arguments) -> RowTest:
    pairs = arguments.get("value_pairs_set")
    if pairs is None:
        return RowTest("false")
    tests = ["false"]
    for pair in pairs:
        met = [
            f"{domain.schema.value(column)} IS NULL"
            if value is None
            else members(domain.schema, column, [value])
            for column, value in zip(domain.columns, pair, strict=True)
        ]
        tests.append(" AND ".join(f"coalesce({test}, false)" for test in met))
    return RowTest(f"NOT ({' OR '.join(tests)})")


@_row_test("multicolumn_sum.equal")
def _sum_equal(domain: Domain, arguments: Arguments) -> RowTest:
    schema, columns = domain.schema, domain.columns
    if not all(schema.number(column) for column in columns):
        raise NotInSqlError("the sum of what is no number")
    if all(schema.kind(column) == "integer" for column in columns):
        total = " + ".join(f"{schema.value(column)}::HUGEINT" for column in columns)
    else:
        total = " + ".join(schema.double(column) for column in columns)
    return RowTest(f"NOT coalesce({total} = {constant(arguments['sum_total'])}, false)")


@_row_test("multicolumn_values.equal")
def _values_equal(domain: Domain, arguments: Arguments) -> RowTest:
    first, *others = _alike(domain)
    tests = [f"{other} IS NOT DISTINCT FROM {first}" for other in others]
    return RowTest(f"NOT ({' AND '.join(tests)})")


@_row_test("select_column_values.unique.within_record")
def _unique_within_record(domain: Domain, arguments: Arguments) -> RowTest:
    pairs = combinations(_alike(domain), 2)
    return RowTest("(" + " OR ".join(f"{a} IS NOT DISTINCT FROM {b}" for a, b in pairs) + ")")


def _alike(domain: Domain) -> list[str]:
    """The columns' values, in one type that they can be compared in."""
    schema = domain.schema
    kinds = {schema.kind(column) for column in domain.columns}
    if kinds <= {"integer", "float"}:
        if kinds == {"integer"}:
            return [schema.value(column) for column in domain.columns]
        return [schema.double(column) for column in domain.columns]
    zones = {"ZONE" in schema.type(column) for column in domain.columns}
    if len(zones) == 1 and (kinds <= {"moment", "date"} or kinds in ({"text"}, {"boolean"})):
        return [schema.value(column) for column in domain.columns]
    raise NotInSqlError("columns of different kinds compared with each other")
