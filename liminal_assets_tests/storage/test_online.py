"""The online store: the newest row of each entity, never an older one over a newer."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import liminal_assets as la
from liminal_assets.language.features import Feature
from liminal_assets.language.loading import Project
from liminal_assets.storage.online import OnlineStore
from liminal_assets.storage.tables import Table
from liminal_assets_tests.runs import run, write_project

DAY = datetime(2013, 1, 1)


def project_of(folder: Path, url: str | None = None, **more: Any) -> Project:
    feature = {"feature": "f", "from": "d", "entity": "id", "timestamp": "at", "online": True}
    return Project.of(
        "shop",
        folder,
        datasets=[{"dataset": "d", "fetch": {"file": "d.csv"}}],
        features=[{**feature, **more}],
        storage={"online": url} if url else {},
    )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    project = project_of(tmp_path, url)
    if url:
        import sqlalchemy as sa

        from liminal_assets.storage.online import _engine, _tables

        with sa.create_engine(url).begin() as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS liminal_online_rows"))
            connection.execute(sa.text("DROP TABLE IF EXISTS liminal_online_features"))
        _tables.cache_clear()
        _engine.cache_clear()
    return project


def write(project: Project, rows: Any) -> int:
    feature = project.block("f")
    assert isinstance(feature, Feature)
    return OnlineStore(project).write(feature, Table.from_rows(rows))


def get(project: Project, *keys: Any) -> list[dict[str, Any] | None]:
    return OnlineStore(project).get("f", keys)


def test_the_newest_row_of_each_entity_is_found(project: Project) -> None:
    rows = [
        {"id": 1, "at": DAY, "x": 1},
        {"id": 1, "at": DAY + timedelta(days=2), "x": 3},
        {"id": 1, "at": DAY + timedelta(days=1), "x": 2},
        {"id": 2, "at": DAY, "x": 9},
    ]
    assert write(project, rows) == 2
    assert get(project, 2, {"id": 1}, 7) == [rows[3], rows[1], None]


def test_an_older_row_never_replaces_a_newer_one(project: Project) -> None:
    newer, older = {"id": 1, "at": DAY + timedelta(days=1), "x": 2}, {"id": 1, "at": DAY, "x": 1}
    write(project, [newer])
    write(project, [older])
    assert get(project, 1) == [newer]
    corrected = {**newer, "x": 5}
    write(project, [corrected])
    assert get(project, 1) == [corrected]


def test_writing_again_changes_nothing(project: Project) -> None:
    rows = [{"id": number, "at": DAY, "x": number} for number in range(5_000)]
    for _ in range(2):
        assert write(project, rows) == 5_000
    assert get(project, *range(5_000)) == rows


VALUES = {
    "integer": (pa.int64(), 2**53 + 1),
    "float": (pa.float64(), 0.1 + 0.2),
    "not a number": (pa.float64(), math.nan),
    "infinity": (pa.float64(), -math.inf),
    "small float": (pa.float32(), 0.5),
    "boolean": (pa.bool_(), False),
    "text": (pa.string(), "é\"\\\n'"),
    "null": (pa.float64(), None),
    "timestamp": (pa.timestamp("us"), datetime(2013, 1, 2, 3, 4, 5, 678)),
    "timestamp with a zone": (
        pa.timestamp("us", "UTC"),
        datetime(2013, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    ),
    "date": (pa.date32(), date(2013, 1, 2)),
    "time": (pa.time64("us"), time(3, 4, 5)),
    "decimal": (pa.decimal128(20, 4), Decimal("12345.6789")),
    "bytes": (pa.binary(), b"\x00\xff"),
    "list": (pa.list_(pa.int64()), [1, 2]),
}


@pytest.mark.parametrize(("kind", "value"), VALUES.values(), ids=VALUES)
def test_a_value_comes_back_as_it_was(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    project = project_of(tmp_path)
    rows = pa.table({"id": [1], "at": [DAY], "x": pa.array([value], kind)})
    write(project, rows)
    (row,) = get(project, 1)
    assert row is not None
    if isinstance(value, float) and math.isnan(value):
        assert math.isnan(row["x"])
    else:
        assert row["x"] == value
        assert type(row["x"]) is type(value)


KEYS = {
    "text": (["é'"], ["é'"]),
    "boolean": ([True], [True]),
    "date": ([date(2013, 1, 2)], [date(2013, 1, 2)]),
    "moment": ([datetime(2013, 1, 2, 3)], [datetime(2013, 1, 2, 3)]),
    "integer asked as a float": ([5], [5.0]),
}


@pytest.mark.parametrize(("written", "asked"), KEYS.values(), ids=KEYS)
def test_a_key_is_found_by_its_value(tmp_path: Path, written: Any, asked: Any) -> None:
    project = project_of(tmp_path)
    write(project, pa.table({"id": written, "at": [DAY]}))
    assert get(project, *asked) != [None]


def test_an_entity_of_several_columns_and_without_a_timestamp(tmp_path: Path) -> None:
    project = project_of(tmp_path, entity=["shop", "day"], timestamp=None)
    write(project, [{"shop": "a", "day": 1, "x": 1}, {"shop": None, "day": 1, "x": 0}])
    write(project, [{"shop": "a", "day": 1, "x": 2}])
    assert get(project, {"day": 1, "shop": "a", "more": 0}) == [{"shop": "a", "day": 1, "x": 2}]
    with pytest.raises(la.StepError, match=r"a key of f lacks day"):
        get(project, {"shop": "a"})
    with pytest.raises(la.StepError, match=r"has the columns shop, day"):
        get(project, "a")


def test_a_column_that_is_added_later_is_no_trouble(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    write(project, [{"id": 1, "at": DAY, "x": 1}])
    write(project, [{"id": 2, "at": DAY, "x": 1, "y": DAY}])
    assert get(project, 1, 2) == [
        {"id": 1, "at": DAY, "x": 1},
        {"id": 2, "at": DAY, "x": 1, "y": DAY},
    ]


def test_a_feature_that_was_never_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(la.StepError, match=r"the online store has no rows of f"):
        get(project_of(tmp_path), 1)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:hunter2@127.0.0.1:1/x", "online store"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", "cannot read the online store: .*refused"),
        ("no url", "cannot read the online store"),
    ],
    ids=["another database", "a server that is down", "no URL"],
)
def test_a_store_that_cannot_be_reached_is_one_message(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(la.StepError, match=message) as raised:
        get(project_of(tmp_path, url), 1)
    assert "hunter2" not in str(raised.value)


def test_a_run_keeps_the_newest_rows_online(tmp_path: Path) -> None:
    yaml = """
name: shop
datasets:
  - dataset: d
    fetch: {file: '{{ partition_key }}.csv'}
    partitions: {every: month, start: '2013-01-01', end: '2013-03-01'}
features:
  - {feature: f, from: d, entity: id, timestamp: at, online: true}
"""
    project = write_project(tmp_path, yaml)
    (tmp_path / "2013-01.csv").write_text("id,at,x\n1,2013-01-01,1\n2,2013-01-05,5\n")
    (tmp_path / "2013-02.csv").write_text("id,at,x\n1,2013-02-01,2\n")
    assert run(project, partition="2013-02").metadata("f", "2013-02")["online_entities"] == 1
    assert run(project, partition="2013-01").succeeded
    rows = get(project, 1, 2)
    assert [row["x"] for row in rows if row] == [2, 5]
