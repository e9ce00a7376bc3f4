"""The columns contract: casts without loss, rules, and rows that are kept or set aside, never
lost."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.audit import COLUMNS_CHECK, Audited, audit
from liminal_assets.steps.context import StepContext
from liminal_assets.storage.sessions import reader
from liminal_assets.storage.tables import TableStore


def judged(folder: Path, columns: dict[str, Any], rows: Any, **more: Any) -> Audited:
    dataset = {"dataset": "d", "fetch": {"file": "x.csv"}, "columns": columns, **more}
    project = Project.of("p", folder, datasets=[dataset])
    context = StepContext(project, project.block("d"))
    return audit(context, rows, TableStore(project), reader())


def split(
    folder: Path, kind: Any, values: list[Any], arrow: Any = None
) -> tuple[list[Any], list[Any]]:
    """The values that a contract keeps, cast, and those that it sets aside, as they came."""
    table = pa.table({"v": pa.array(values, arrow)}).append_column("row", [range(len(values))])
    with judged(folder, {"v": kind}, table, quarantine=True) as audited:
        assert audited.quarantined is not None
        kept = audited.kept.to("arrow").sort_by("row")["v"].to_pylist()
        aside = audited.quarantined.to("arrow").sort_by("row")["v"].to_pylist()
    return kept, aside


CASTS: dict[str, tuple[Any, list[Any], Any, list[Any], list[Any]]] = {
    "text to integer": (
        "integer?",
        ["1", " 2 ", "3.0", "1.5", "x", "", None],
        None,
        [1, 2, 3, None],
        ["1.5", "x", ""],
    ),
    "float to integer": ("integer", [1.0, 2.5, -3.0], None, [1, -3], [2.5]),
    "large integer to float": ("float", [1, 2**53 + 1], pa.int64(), [1.0], [2**53 + 1]),
    "small integer to float": ("float", [1, 2], pa.int32(), [1.0, 2.0], []),
    "text to float": ("float", ["1.5", "1e3", "nope"], None, [1.5, 1000.0], ["nope"]),
    "text to boolean": ("boolean", ["true", "0", "maybe"], None, [True, False], ["maybe"]),
    "integer to boolean": ("boolean", [0, 1, 2], None, [False, True], [2]),
    "text to date": (
        "date",
        ["2013-01-01", "2013-01-01 05:00:00", "2013-02-30"],
        None,
        [date(2013, 1, 1)],
        ["2013-01-01 05:00:00", "2013-02-30"],
    ),
    "timestamp to date": (
        "date",
        [datetime(2013, 1, 1), datetime(2013, 1, 1, 5)],
        None,
        [date(2013, 1, 1)],
        [datetime(2013, 1, 1, 5)],
    ),
    "date to timestamp": ("timestamp", [date(2013, 1, 1)], None, [datetime(2013, 1, 1)], []),
    "nanoseconds to timestamp": (
        "timestamp",
        [1_000, 1_001],
        pa.timestamp("ns"),
        [datetime(1970, 1, 1, 0, 0, 0, 1)],
        [1_001],
    ),
    "text to decimal": ("decimal", ["1.25", "x"], None, [Decimal("1.25")], ["x"]),
    "integer to text": ("string", [1, 2], None, ["1", "2"], []),
    "text to json": ("json", ['{"a": 1}', "{"], None, ['{"a": 1}'], ["{"]),
    "dictionary to category": (
        "category",
        ["a", "b"],
        pa.dictionary(pa.int8(), pa.string()),
        ["a", "b"],
        [],
    ),
}


@pytest.mark.parametrize(("kind", "values", "arrow", "kept", "aside"), CASTS.values(), ids=CASTS)
def test_a_value_is_cast_where_nothing_is_lost(
    tmp_path: Path, kind: str, values: list[Any], arrow: Any, kept: list[Any], aside: list[Any]
) -> None:
    if "nanoseconds" in str(arrow) or arrow == pa.timestamp("ns"):
        found, rest = split(tmp_path, kind, values, arrow)
        assert found == kept
        assert [value.value for value in rest] == aside
    else:
        assert split(tmp_path, kind, values, arrow) == (kept, aside)


RULES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "null": ("string", ["a", None], [None]),
    "null allowed": ("string?", ["a", None], []),
    "null among the values": ({"type": "string", "one_of": ["a", None]}, ["a", None, "b"], ["b"]),
    "one of": ({"type": "category", "one_of": ["EWR", "JFK"]}, ["EWR", "XXX"], ["XXX"]),
    "one of numbers": ({"type": "integer", "one_of": [1, 2]}, [1, 3], [3]),
    "at least": ({"type": "float", "at_least": 0}, [0.0, -0.1], [-0.1]),
    "at most": ({"type": "integer", "at_most": 9}, [9, 10], [10]),
    "at least a date": (
        {"type": "date", "at_least": "2013-01-01"},
        [date(2012, 1, 1), date(2013, 1, 1)],
        [date(2012, 1, 1)],
    ),
    "matches": ({"type": "string", "matches": "[A-Z]{3}"}, ["EWR", "EWRX", "e"], ["EWRX", "e"]),
    "unique": ({"type": "string", "unique": True}, ["a", "b", "a"], ["a", "a"]),
    "unique, nulls are none": ({"type": "string?", "unique": True}, ["a", None, None], []),
    "unique once cast": ({"type": "integer", "unique": True}, ["1", "1.0", "2"], ["1", "1.0"]),
}


@pytest.mark.parametrize(("kind", "values", "aside"), RULES.values(), ids=RULES)
def test_a_rule_sets_aside_the_rows_that_break_it(
    tmp_path: Path, kind: Any, values: list[Any], aside: list[Any]
) -> None:
    columns = {"v": kind, "row": "integer"}
    table = pa.table({"v": values, "row": range(len(values))})
    with judged(tmp_path, columns, table, quarantine=True) as audited:
        assert audited.quarantined is not None
        assert audited.quarantined.to("arrow").sort_by("row")["v"].to_pylist() == aside
        assert audited.kept.rows + audited.quarantined.rows == audited.rows_in == len(values)


def test_a_row_is_told_everything_that_it_breaks(tmp_path: Path) -> None:
    columns = {"a": {"type": "integer", "at_least": 0}, "b": {"type": "string", "one_of": ["x"]}}
    rows = [{"a": "-1", "b": "y"}, {"a": "?", "b": None}, {"a": "1", "b": "x"}]
    with judged(tmp_path, columns, rows, quarantine=True) as audited:
        assert audited.quarantined is not None
        reasons = audited.quarantined.to("arrow")["quarantine_reasons"].to_pylist()
        (outcome,) = audited.outcomes
    assert reasons == [["a: below 0", "b: none of x"], ["a: not an integer", "b: null"]]
    assert outcome.passed
    assert outcome.description is not None
    assert outcome.description.startswith("of 3 rows some went to quarantine")


def test_without_quarantine_a_broken_rule_blocks_with_counts_and_samples(tmp_path: Path) -> None:
    rows = [{"a": -n} for n in range(9)]
    with judged(tmp_path, {"a": {"type": "integer", "at_least": 0}}, rows) as audited:
        (outcome,) = audited.blocking
    assert outcome.name == COLUMNS_CHECK
    assert outcome.description == "of 9 rows some break the contract: a: below 0 (8 rows)"
    assert len(outcome.metadata["samples"].rows) == 5
    assert outcome.metadata["broken"].rows == [{"rule": "a: below 0", "rows": 8}]


def test_columns_that_are_not_listed_pass_as_they_are(tmp_path: Path) -> None:
    nothing = pa.array([None], pa.string())  # DuckDB 1.5 has no columns of nulls alone
    rows = pa.table({"a": [1], "more": [["x"]], "é 'q\" ": nothing})
    with judged(tmp_path, {"a": "integer"}, rows) as audited:
        assert audited.kept.schema == rows.schema


def test_a_rule_that_does_not_fit_its_type_is_told_at_the_columns(tmp_path: Path) -> None:
    with pytest.raises(la.StepError, match=r"cannot judge the columns.*abc"):
        judged(tmp_path, {"a": {"type": "integer", "at_least": "abc"}}, [{"a": 1}])


def test_all_rows_in_quarantine_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(la.StepError, match=r"all 1 rows of d broke a rule"):
        judged(tmp_path, {"a": "integer"}, [{"a": "x"}], quarantine=True)


texts = st.one_of(
    st.none(),
    st.integers(-3, 3).map(str),
    st.floats(-3, 3, width=16).map(str),
    st.sampled_from(["", " 1", "x", "2013-01-01", "nan", "true", "1e2", "'"]),
)
kinds = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "float", "boolean", "date", "string", "timestamp"])},
    optional={
        "nullable": st.booleans(),
        "unique": st.booleans(),
        "matches": st.just("[0-9. ]*"),
    },
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"a": texts, "b": texts, "c": texts}), min_size=1),
    columns=st.dictionaries(st.sampled_from(["a", "b", "c"]), kinds),
)
def test_no_row_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], columns: dict[str, Any]
) -> None:
    table = pa.table(
        {name: pa.array([row[name] for row in rows], pa.string()) for name in "abc"}
        | {"row": range(len(rows))}
    )
    folder = tmp_path_factory.getbasetemp() / "lost"
    dataset = {
        "dataset": "d",
        "fetch": {"file": "x.csv"},
        "partitions": {"values": ["only"]},
        "columns": columns,
        "quarantine": True,
    }
    project = Project.of("p", folder, datasets=[dataset])
    context = StepContext(project, project.block("d"), "only")
    with audit(context, table, TableStore(project), reader()) as audited:
        assert audited.quarantined is not None
        kept = audited.kept.to("arrow").to_pylist()
        aside = audited.quarantined.to("arrow").to_pylist()
    assert Counter(row["row"] for row in kept + aside) == Counter(range(len(rows)))
    for row in aside:
        assert row["quarantine_reasons"]
        assert {name: row[name] for name in "abc"} == rows[row["row"]]
    for row in kept:
        for name in "abc":
            if columns.get(name, {}).get("type", "string") == "string":
                assert row[name] == rows[row["row"]][name]
