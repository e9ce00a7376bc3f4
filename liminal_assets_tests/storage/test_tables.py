"""Tables: staged rows are seen by nobody, published ones at once, on a disk or elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import NotRowsError
from liminal_assets.storage.sessions import reader
from liminal_assets.storage.tables import Table, TableStore, content_version

ROWS = [{"id": 1, "name": "Ann"}, {"id": 2, "name": None}]


@pytest.fixture(params=["disk", "elsewhere"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    """A store on the disk and one on an fsspec file system."""
    if request.param == "disk":
        return TableStore(Project.of("shop", tmp_path))
    fsspec.filesystem("memory").store.clear()
    return TableStore(Project.of("shop", tmp_path, storage={"data": "memory://bucket/data"}))


def values(table: Table, column: str = "id") -> list[Any]:
    return sorted(table.to("arrow")[column].to_pylist())


def test_staged_rows_are_seen_once_they_are_published(store: TableStore) -> None:
    with store.stage("sales", None, ROWS) as staged:
        assert not store.exists("sales")
        assert values(staged) == [1, 2]
        published = store.publish(staged)
    assert values(published) == values(store.read("sales")) == [1, 2]
    assert staged.rows == store.read("sales").rows == 2


def test_staged_rows_that_are_not_published_leave_nothing(store: TableStore) -> None:
    with store.stage("sales", None, ROWS) as staged:
        (file,) = staged.files
        assert Path(file).is_file()
    assert not Path(file).exists()
    assert not store.exists("sales")


def test_publishing_again_replaces_the_rows(store: TableStore) -> None:
    store.write("sales", None, ROWS)
    store.write("sales", None, [{"id": 7}])
    assert values(store.read("sales")) == [7]


KEYS = ["2013-01", "a/b", "..", ".x", "é ü", "2013-11-03-01:00-0500", "100%"]


def test_any_partition_key_is_a_folder_of_its_own(store: TableStore) -> None:
    for number, key in enumerate(KEYS):
        store.write("sales", key, [{"id": number}])
    assert store.partitions("sales") == sorted(KEYS)
    for number, key in enumerate(KEYS):
        assert values(store.read("sales", [key])) == [number]
    assert values(store.read("sales")) == list(range(len(KEYS)))


def test_partitions_with_other_columns_are_read_together(store: TableStore) -> None:
    store.write("sales", "a", pa.table({"id": [1], "new": [None]}))
    store.write("sales", "b", [{"id": 2, "new": "x"}])
    store.write("sales", "c", [{"id": 2.5}])
    rows = store.read("sales").to("pandas").sort_values("id")
    assert rows["id"].tolist() == [1, 2, 2.5]
    assert rows["new"].isna().tolist() == [True, False, True]


def test_partitions_that_are_missing_are_named(store: TableStore) -> None:
    store.write("sales", "a", ROWS)
    with pytest.raises(la.StepError, match="sales has no rows for partition b"):
        store.read("sales", ["a", "b"])
    with pytest.raises(la.StepError, match="other has no rows yet"):
        store.read("other")


def test_a_table_that_gets_partitions_loses_its_old_rows_from_sight(store: TableStore) -> None:
    store.write("sales", None, ROWS)
    store.write("sales", "a", [{"id": 7}])
    assert values(store.read("sales")) == [7]
    store.write("sales", None, [{"id": 8}])
    assert values(store.read("sales")) == [8]
    assert store.partitions("sales") == []


def test_rows_can_be_taken_away(store: TableStore) -> None:
    store.write("sales", "a", ROWS)
    store.delete("sales", "a")
    store.delete("sales", "b")
    assert not store.exists("sales")


def test_what_a_crash_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    store = TableStore(Project.of("shop", tmp_path))
    store.write("sales", None, ROWS)
    staging = Path(store.root) / ".staging"
    old, new = staging / "old.parquet", staging / "new.parquet"
    for file in (old, new):
        file.touch()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    store.write("sales", None, ROWS)
    assert not old.exists()
    assert new.exists()


def test_a_file_that_is_broken_is_told(tmp_path: Path) -> None:
    store = TableStore(Project.of("shop", tmp_path))
    store.write("sales", None, ROWS)
    (Path(store.root) / "sales" / "data.parquet").write_text("nothing of the kind")
    with pytest.raises(la.StepError, match="cannot read sales") as raised:
        store.read("sales").to("pandas")
    assert raised.value.hint == "refresh it to write it anew"


@pytest.mark.parametrize("value", [None, 3, "text", {"id": 1}, [1, 2]], ids=str)
def test_what_is_no_rows_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(NotRowsError):
        TableStore(Project.of("shop", tmp_path)).stage("sales", None, value)


def test_a_named_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    store = TableStore(Project.of("shop", tmp_path))
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="key"))
    store.write("indexed", None, frame)
    store.write("plain", None, frame.reset_index(drop=True))
    assert store.read("indexed").schema.names == ["key", "x"]
    assert store.read("plain").schema.names == ["x"]


def test_a_column_of_mixed_types_is_told(tmp_path: Path) -> None:
    store = TableStore(Project.of("shop", tmp_path))
    with pytest.raises(la.StepError, match="values of different types"):
        store.write("mixed", None, pd.DataFrame({"x": [1, "a"]}))


records = st.fixed_dictionaries(
    {"a": st.none() | st.integers(-5, 5), "b": st.none() | st.text(max_size=3)}
)
TYPES = pa.schema([("a", pa.int64()), ("b", pa.string())])


def version(rows: list[dict[str, Any]], schema: pa.Schema = TYPES) -> str:
    return content_version(reader().from_arrow(pa.Table.from_pylist(rows, schema)))[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(records, min_size=1, max_size=8), st.randoms())
def test_equal_rows_have_equal_versions_in_any_order(rows: list[Any], chance: Any) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert version(rows) == version(shuffled)


@settings(max_examples=50, deadline=None)
@given(st.lists(records, min_size=1, max_size=8), st.data())
def test_a_row_that_changes_changes_the_version(rows: list[Any], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    other = data.draw(records.filter(lambda row: row != rows[index]))
    assert version(rows) != version([*rows[:index], other, *rows[index + 1 :]])
    assert version(rows) != version([*rows, rows[0]])


def test_another_type_or_name_is_another_version() -> None:
    rows = [{"a": 1, "b": None}]
    found = {
        version(rows),
        version(rows, pa.schema([("a", pa.int32()), ("b", pa.string())])),
        version(rows, pa.schema([("b", pa.string()), ("a", pa.int64())])),
        version([{"c": 1, "b": None}], pa.schema([("c", pa.int64()), ("b", pa.string())])),
    }
    assert len(found) == 4
