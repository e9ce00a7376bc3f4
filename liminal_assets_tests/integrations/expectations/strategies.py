"""Random tables, and random expectations that fit them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from liminal_assets.language.datasets import Check

__all__ = ["checks", "row_checks", "tables"]

START = datetime(2020, 1, 1)
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "it's",
    'say "x"',
    "12",
    "AB-12",
    "é",
    "١",
    "a\n",
    '{"a": 1}',
    "%a",
    "A",
]
REGEXES = [r"^a", r"\d+", r"[A-Z]{2}-\d{2}$", r"^.$", r"b|'", r"\s", r"(?=a)a", r"^\w*$"]
INTEGERS = [0, 1, 2, 3, -5, 7, 10**6]
FLOATS = [0.0, 1.0, 2.5, -3.25, 1e9, 0.1, 0.1 + 0.2, float("nan")]

integers = st.sampled_from(INTEGERS)
floats = st.sampled_from(FLOATS)
texts = st.sampled_from(TEXTS)
moments = st.integers(0, 30).map(lambda hours: START + timedelta(hours=7 * hours))
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "i": (pa.int64(), integers),
    "f": (pa.float64(), floats),
    "s": (pa.string(), texts),
    "b": (pa.bool_(), st.booleans()),
    "t": (pa.timestamp("us"), moments),
}
"""Columns ``i1``, ``i2``, ``f1``, … of every table."""


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of ten columns; some empty, some columns without nulls, some all null."""
    rows = draw(st.sampled_from([0, 1, 2, 5, 20]))
    columns = {}
    for kind, (arrow, values) in KINDS.items():
        for number in (1, 2):
            nulls = draw(st.sampled_from(["none", "some", "all"]))
            each = {"none": values, "some": st.none() | values, "all": st.none()}[nulls]
            drawn = draw(st.lists(each, min_size=rows, max_size=rows))
            columns[f"{kind}{number}"] = pa.array(drawn, arrow)
    return pa.table(columns)


def _column(kinds: str) -> st.SearchStrategy[str]:
    return st.builds("{}{}".format, st.sampled_from(kinds), st.sampled_from("12"))


numbers = st.sampled_from([0, 1, 2, 2.5, -3, 100])


@st.composite
def _bounds(draw: st.DrawFn, values: st.SearchStrategy[Any] = numbers) -> dict[str, Any]:
    low, high = sorted([draw(values), draw(values)])
    sides = draw(st.sampled_from(["min", "max", "both"]))
    said: dict[str, Any] = {}
    if sides != "max":
        said |= {"min_value": low, "strict_min": draw(st.booleans())}
    if sides != "min":
        said |= {"max_value": high, "strict_max": draw(st.booleans())}
    return said


_SETS: dict[str, st.SearchStrategy[Any]] = {
    "i": st.sampled_from([0, 1, 2, 7, 1.5, "1"]),
    "f": st.sampled_from([0.0, 1, 2.5, 0.1]),
    "s": texts,
    "b": st.booleans(),
}


@st.composite
def _with_set(draw: st.DrawFn, kinds: str) -> dict[str, Any]:
    column = draw(_column(kinds))
    return {"column": column, "value_set": draw(st.lists(_SETS[column[0]], min_size=1, max_size=4))}


@st.composite
def _ordered(draw: st.DrawFn, kinds: str) -> dict[str, Any]:
    return {"column": draw(_column(kinds)), "strictly": draw(st.booleans())}


@st.composite
def _pair(draw: st.DrawFn, kinds: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(kinds))
    ignored = ["both_values_are_missing", "either_value_is_missing", "neither"]
    columns = {"column_A": f"{kind}1", "column_B": f"{kind}2"}
    return {**columns, "ignore_row_if": draw(st.sampled_from(ignored))}


def _several(*lists: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    ignored = ["all_values_are_missing", "any_value_is_missing", "never"]
    return st.fixed_dictionaries(
        {"column_list": st.sampled_from(lists), "ignore_row_if": st.sampled_from(ignored)}
    )


def _one(kinds: str, **arguments: Any) -> st.SearchStrategy[dict[str, Any]]:
    given = {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in arguments.items()}
    return st.fixed_dictionaries({"column": _column(kinds), **given})


def _ranged(kinds: str, values: Any = numbers) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(dict.__or__, _one(kinds), _bounds(values))


lengths = st.integers(0, 4)
alike = (["i1", "i2"], ["i1", "f1"], ["s1", "s2"], ["t1", "t2"], ["f1", "f2", "i1"])
ROW_LEVEL: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_column_values_to_not_be_null": _one("ifsbt"),
    "expect_column_values_to_be_null": _one("ifsbt"),
    "expect_column_values_to_be_between": _ranged("if") | _ranged("t", moments),
    "expect_column_values_to_be_in_set": _with_set("ifsb"),
    "expect_column_values_to_not_be_in_set": _with_set("ifsb"),
    "expect_column_value_lengths_to_be_between": _ranged("s", lengths),
    "expect_column_value_lengths_to_equal": _one("s", value=lengths),
    "expect_column_values_to_match_regex": _one("s", regex=st.sampled_from(REGEXES)),
    "expect_column_values_to_not_match_regex": _one("s", regex=st.sampled_from(REGEXES)),
    "expect_column_values_to_match_regex_list": _one(
        "s",
        regex_list=st.lists(st.sampled_from(REGEXES), min_size=1, max_size=3),
        match_on=st.sampled_from(["any", "all"]),
    ),
    "expect_column_values_to_not_match_regex_list": _one(
        "s", regex_list=st.lists(st.sampled_from(REGEXES), min_size=1, max_size=3)
    ),
    "expect_column_pair_values_to_be_equal": _pair("ifsbt"),
    "expect_column_pair_values_a_to_be_greater_than_b": st.builds(
        dict.__or__, _pair("ift"), st.fixed_dictionaries({"or_equal": st.booleans()})
    ),
    "expect_column_pair_values_to_be_in_set": st.fixed_dictionaries(
        {
            "column_A": st.just("i1"),
            "column_B": st.just("s1"),
            "value_pairs_set": st.just([[1, "a"], [2, "b"], [None, "a"], [0, None]]),
        }
    ),
    "expect_multicolumn_sum_to_equal": st.builds(
        dict.__or__,
        _several(["i1", "i2"], ["i1", "f1"], ["f1", "f2", "i1"]),
        st.fixed_dictionaries({"sum_total": st.sampled_from([0, 1, 2, 3.5])}),
    ),
    "expect_multicolumn_values_to_be_equal": _several(*alike, ["b1", "b2"]),
    "expect_select_column_values_to_be_unique_within_record": _several(*alike),
}
"""Expectations that a row alone shows to be broken."""

OTHER_ROWS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_column_values_to_be_unique": _one("ifsbt"),
    "expect_compound_columns_to_be_unique": _several(["i1", "f1"], ["s1", "b1", "t1"]),
    "expect_column_values_to_be_increasing": _ordered("ift"),
    "expect_column_values_to_be_decreasing": _ordered("ift"),
    "expect_column_value_z_scores_to_be_less_than": _one(
        "if", threshold=st.sampled_from([0.7, 1.3, 2]), double_sided=st.booleans()
    ),
    "expect_column_values_to_not_be_outliers": _one(
        "if",
        method=st.sampled_from(["iqr", "std"]),
        multiplier=st.sampled_from([0, 0.5, 1.5]),
    ),
    "expect_column_values_to_be_json_parseable": _one("s"),
    "expect_column_values_to_be_dateutil_parseable": _one("s"),
    "expect_column_values_to_match_strftime_format": _one("s", strftime_format="%Y-%m-%d"),
    "expect_column_values_to_match_json_schema": _one("s", json_schema={"type": "object"}),
    "expect_column_values_to_be_of_type": _one("s", type_=st.sampled_from(["str", "int"])),
    "expect_column_values_to_be_in_type_list": _one("s", type_list=["str", "int"]),
}
"""Expectations about rows that take other rows, or Python, to judge."""

_RANGES = {
    "quantiles": [0.1, 0.25, 0.5, 0.9],
    "value_ranges": [[0, 1], [None, 2], [1, None], [0, 5]],
}
_SHARE = {"min_value": 0.3, "max_value": 0.9}
_WORDS = {"values": TEXTS, "weights": [1 / len(TEXTS)] * len(TEXTS)}
_BINS = {"bins": [-10, 0, 1, 3, 1e10], "weights": [0.25] * 4}
AGGREGATES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_column_max_to_be_between": _ranged("if") | _ranged("t", moments),
    "expect_column_min_to_be_between": _ranged("if") | _ranged("t", moments),
    "expect_column_mean_to_be_between": _ranged("if"),
    "expect_column_median_to_be_between": _ranged("if"),
    "expect_column_sum_to_be_between": _ranged("if"),
    "expect_column_stdev_to_be_between": _ranged("if"),
    "expect_column_unique_value_count_to_be_between": _ranged("ifsbt"),
    "expect_column_proportion_of_unique_values_to_be_between": _one("ifsbt", **_SHARE),
    "expect_column_proportion_of_non_null_values_to_be_between": _one("ifsbt", **_SHARE),
    "expect_column_quantile_values_to_be_between": _one(
        "if",
        quantile_ranges=_RANGES,
        allow_relative_error=st.sampled_from(["linear", "lower", "higher", "midpoint", "nearest"]),
    ),
    "expect_column_distinct_values_to_be_in_set": _with_set("ifs"),
    "expect_column_distinct_values_to_contain_set": _with_set("ifs"),
    "expect_column_distinct_values_to_equal_set": _with_set("ifs"),
    "expect_column_most_common_value_to_be_in_set": st.builds(
        dict.__or__, _with_set("ifs"), st.fixed_dictionaries({"ties_okay": st.booleans()})
    ),
    "expect_column_kl_divergence_to_be_less_than": _one("s", threshold=0.5, partition_object=_WORDS)
    | _one("f", threshold=0.5, partition_object=_BINS),
}
TABLES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_table_row_count_to_be_between": _bounds(),
    "expect_table_row_count_to_equal": st.fixed_dictionaries({"value": st.sampled_from([0, 5])}),
    "expect_table_column_count_to_equal": st.just({"value": 10}),
    "expect_table_column_count_to_be_between": st.just({"min_value": 1, "max_value": 9}),
    "expect_table_columns_to_match_set": st.fixed_dictionaries(
        {"column_set": st.just(["i1", "zz"]), "exact_match": st.booleans()}
    ),
    "expect_table_columns_to_match_ordered_list": st.just({"column_list": ["i1", "i2"]}),
    "expect_column_to_exist": st.sampled_from([{"column": "i1"}, {"column": "zz"}]),
    "expect_column_type_to_be": st.just({"column": "f1", "type_": "float64"}),
}
_CONDITIONED = {*ROW_LEVEL, *OTHER_ROWS, *AGGREGATES, "expect_table_row_count_to_equal"}

PANDAS_CONDITIONS = [
    "i1 > 0",
    "i1 != 1 and f1 <= 2",
    "s1 == 'a' or s1 in ['b', \"it's\"]",
    "i1 + i2 > f1",
    "f1.notnull() & i1 >= 0",
    "not (s1 not in ['a'])",
    "0 < i1 <= 3",
    "t1 > '2020-01-03'",
    "s1.str.len() > 1",
]
OWN_CONDITIONS = ['col("i1") > 0', 'col("s1") != "a"', 'col("f1").notnull()']
OBJECT_CONDITIONS: list[dict[str, Any]] = [
    {
        "type": "or",
        "conditions": [
            {"type": "nullity", "column": {"name": "i1"}, "is_null": True},
            {"type": "comparison", "column": {"name": "s1"}, "operator": "IN", "parameter": ["a"]},
        ],
    },
    {"type": "comparison", "column": {"name": "i1"}, "operator": "NOT_IN", "parameter": [1, 2]},
]
conditions: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from(PANDAS_CONDITIONS).map(
        lambda text: {"row_condition": text, "condition_parser": "pandas"}
    ),
    st.sampled_from(OWN_CONDITIONS).map(
        lambda text: {"row_condition": text, "condition_parser": "great_expectations"}
    ),
    st.sampled_from(OBJECT_CONDITIONS).map(lambda said: {"row_condition": said}),
)


@st.composite
def _check(draw: st.DrawFn, kinds: dict[str, st.SearchStrategy[dict[str, Any]]]) -> Check:
    name = draw(st.sampled_from(sorted(kinds)))
    arguments = dict(draw(kinds[name]))
    if name in ROW_LEVEL or name in OTHER_ROWS:
        arguments["mostly"] = draw(st.sampled_from([1, 1, 0.9, 0.5, 0]))
    if name in _CONDITIONED:
        arguments |= draw(conditions)
    return Check(expectation=name, arguments=arguments)


def row_checks() -> st.SearchStrategy[list[Check]]:
    """Suites of expectations that a row alone shows to be broken."""
    return st.lists(_check(ROW_LEVEL), min_size=1, max_size=15)


def checks() -> st.SearchStrategy[list[Check]]:
    """Suites of expectations of every kind."""
    every = {**ROW_LEVEL, **OTHER_ROWS, **AGGREGATES, **TABLES}
    return st.lists(_check(every), min_size=1, max_size=25)


TYPED = {
    "tiny": pa.array([1, 2, None, 100], pa.int8()),
    "unsigned": pa.array([1, 2, 3, 2**63], pa.uint64()),
    "single": pa.array([0.1, None, 2.5, float("nan")], pa.float32()),
    "decimal": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("2.20")]),
    "day": pa.array([START.date(), None, START.date(), START.date() + timedelta(days=3)]),
    "zoned": pa.array(
        [START.replace(tzinfo=timezone.utc) + timedelta(hours=h) for h in range(4)],
        pa.timestamp("us", "UTC"),
    ),
    "category": pa.array(["a", "b", None, "a"]).dictionary_encode(),
    "infinite": pa.array([float("inf"), 1.0, None, -5.0]),
}
"""Columns of the other types that Parquet files have."""
