from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from liminal_assets.integrations.expectations.batch import Batch
from liminal_assets.integrations.expectations.conditions import condition_sql
from liminal_assets.integrations.expectations.sql import MissingColumnError, NotInSqlError
from liminal_assets.storage.tables import Table

ROWS = pa.table(
    {
        "a": pa.array([1, 2, None, 4, -1]),
        "b": pa.array([1.0, float("nan"), 2.5, None, -1.5]),
        "s": pa.array(["x", None, "it's", "", "x"]),
        "t": pa.array(
            pd.to_datetime(["2020-01-01", "2020-01-02", None, "2020-01-04", "2020-02-01"])
        ),
        "is ok": pa.array([True, False, True, False, True]),
    }
)


def chosen(condition: object, parser: str | None) -> list[int]:
    batch = Batch(Table.from_rows(ROWS).relation())
    sql = condition_sql(condition, parser, batch.schema)
    numbered = f"(SELECT *, row_number() OVER () - 1 AS n FROM {batch.name})"
    found = batch.query(f"SELECT n FROM {numbered} WHERE {sql} ORDER BY n").fetchall()
    return [row[0] for row in found]


@pytest.mark.parametrize(
    "query",
    [
        "a > 1",
        "a != 1",
        "not a != 1",
        "~(a == 1)",
        "1 < a <= 4",
        "a > b",
        "a + b * 2 >= 0",
        "a in [1, 4] or s == 'x'",
        "s not in ['x']",
        's == "it\'s" | a < 0 & b < 0',
        "b.isnull() and s.notna()",
        "t >= '2020-01-02'",
        "`is ok` and a > 0",
        "-1 == a",
    ],
)
def test_a_pandas_query_chooses_the_rows_that_pandas_chooses(query: str) -> None:
    condition = {"type": "pass_through", "pass_through_filter": query}
    expected = ROWS.to_pandas().query(query).index.tolist()
    assert chosen(condition, "pandas") == expected


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ({"type": "nullity", "column": {"name": "a"}, "is_null": True}, [2]),
        (
            {"type": "comparison", "column": {"name": "s"}, "operator": "!=", "parameter": "x"},
            [1, 2, 3],
        ),
        (
            {"type": "comparison", "column": {"name": "a"}, "operator": "NOT_IN", "parameter": [1]},
            [1, 2, 3, 4],
        ),
        ({"type": "comparison", "column": {"name": "a"}, "operator": "IN", "parameter": []}, []),
    ],
    ids=["null", "not_equal", "not_in", "in_nothing"],
)
def test_a_condition_of_great_expectations_counts_missing_values_as_pandas_does(
    condition: object, rows: list[int]
) -> None:
    assert chosen(condition, None) == rows


@pytest.mark.parametrize("parser", [None, "spark"])
def test_another_text_is_sql_in_which_null_is_not_true(parser: str | None) -> None:
    condition = {"type": "pass_through", "pass_through_filter": "a <> 1 -- not one"}
    assert chosen(condition, parser) == [1, 3, 4]


@pytest.mark.parametrize("query", ["s.str.len() > 1", "a == s", "a ** 2 > 1", "@a > 1", "s > 1"])
def test_what_sql_would_choose_otherwise_is_left_to_pandas(query: str) -> None:
    with pytest.raises(NotInSqlError):
        chosen({"type": "pass_through", "pass_through_filter": query}, "pandas")


def test_a_column_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(MissingColumnError) as raised:
        chosen({"type": "pass_through", "pass_through_filter": "ss > 1"}, "pandas")
    assert raised.value.hint == "did you mean 's'?"
