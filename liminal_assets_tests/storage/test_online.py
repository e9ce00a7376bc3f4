"""The online store: the newest row of each entity, never an older one over a newer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import liminal_assets as la
from liminal_assets.language.features import Feature, Online
from liminal_assets.language.loading import Project
from liminal_assets.storage import online_stores
from liminal_assets.storage.online import OnlineStore
from liminal_assets.storage.online_stores.base import (
    EntityStore,
    FeatureState,
    Place,
    Record,
    Refresh,
)
from liminal_assets.storage.tables import Table
from liminal_assets_tests.runs import run, write_project

DAY = datetime(2013, 1, 1)


NAMES = map("shop{}".format, itertools.count())
"""Projects that share a server have names of their own."""


def project_of(folder: Path, url: str | None = None, **more: Any) -> Project:
    feature = {"feature": "f", "from": "d", "entity": "id", "timestamp": "at", "online": True}
    return Project.of(
        next(NAMES),
        folder,
        datasets=[{"dataset": "d", "fetch": {"file": "d.csv"}}],
        features=[{**feature, **more}],
        storage={"online": url} if url else {},
    )


STORES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow), "redis_url"]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest) -> str | None:
    """Where the store is: each kind on its real server."""
    return None if request.param == "sqlite" else str(request.getfixturevalue(request.param))


@pytest.fixture
def project(url: str | None, tmp_path: Path) -> Project:
    return project_of(tmp_path, url)


def write(project: Project, rows: Any, **where: Any) -> int:
    feature = project.block("f")
    assert isinstance(feature, Feature)
    return OnlineStore(project).write(feature, Table.from_rows(rows), **where)


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


@pytest.fixture
def stored_values(project: Project) -> dict[str, Any]:
    """Each value of the table above, written to a store and read again."""
    columns = {name.replace(" ", "_"): pa.array([v], kind) for name, (kind, v) in VALUES.items()}
    write(project, pa.table({"id": [1], "at": [DAY], **columns}))
    (row,) = get(project, 1)
    assert row is not None
    return row


def test_a_value_comes_back_as_it_was(stored_values: dict[str, Any]) -> None:
    for name, (_, value) in VALUES.items():
        found = stored_values[name.replace(" ", "_")]
        assert type(found) is type(value), name
        assert found == value or (value != value and found != found), name


def test_a_refresh_of_a_partition_replaces_what_came_from_it(project: Project) -> None:
    later = DAY + timedelta(days=40)
    write(project, [{"id": 1, "at": DAY, "x": 1}, {"id": 2, "at": DAY, "x": 2}], source="2013-01")
    write(project, [{"id": 2, "at": later, "x": 20}, {"id": 3, "at": later}], source="2013-02")
    # 2 was corrected to an earlier moment, 3 removed
    corrected = {"id": 2, "at": later - timedelta(days=1), "x": 21}
    write(project, [corrected], source="2013-02")
    assert get(project, 1, 2, 3) == [{"id": 1, "at": DAY, "x": 1}, corrected, None]
    write(project, [{"id": 2, "at": DAY, "x": 2}], source="2013-01")
    assert get(project, 1, 2) == [None, corrected]


def test_rows_older_than_expire_after_are_removed(url: str | None, tmp_path: Path) -> None:
    project = project_of(tmp_path, url, online={"expire_after": "1d"})
    now = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    rows = [{"id": 1, "at": now}, {"id": 2, "at": now - timedelta(days=2)}]
    write(project, rows)
    assert get(project, 1, 2) == [rows[0], None]


def test_specifications_are_kept_apart_until_an_earlier_one_is_forgotten(
    url: str | None, tmp_path: Path
) -> None:
    project = project_of(tmp_path, url)
    store = OnlineStore(project)
    write(project, [{"id": 1, "at": DAY, "x": 1}], specification="old", source="a")
    write(project, [{"id": 1, "at": DAY, "x": 2}], specification="new", source="b")
    assert [row and row["x"] for row in get(project, 1)] == [2]
    assert [row and row["x"] for row in store.get("f", [1], specification="old")] == [1]
    state = store.state("f")
    assert (list(state.kinds), state.newest) == (["old", "new"], "new")
    assert state.sources == {"a": "old", "b": "new"}
    forgetful = project.block("f").model_copy(update={"online": Online(keep="1ms")})
    store.write(forgetful, Table.from_rows([{"id": 1, "at": DAY}]), specification="new")
    assert list(store.state("f").kinds) == ["new"]
    with pytest.raises(la.StepError, match="has no rows of f"):
        store.get("f", [1], specification="old")


class MemoryStore(EntityStore):
    """A plugin's store: rows in this process."""

    rows: ClassVar[dict[tuple[Place, str], Record]] = {}
    states: ClassVar[dict[tuple[str, str], FeatureState]] = {}

    def refresh(self, refresh: Refresh, batches: Iterable[Sequence[Record]]) -> int:
        place, records = refresh.place, [record for batch in batches for record in batch]
        for record in records:
            old = self.rows.get((place, record.entity))
            if old is None or record.moment >= old.moment:
                self.rows[place, record.entity] = record
        self.states[place.project, place.feature] = FeatureState(
            {place.specification: refresh.kinds}
        )
        return len(records)

    def read(self, place: Place, entities: Sequence[str]) -> dict[str, tuple[int, str]]:
        found = [self.rows[place, name] for name in entities if (place, name) in self.rows]
        return {record.entity: (record.moment, record.row) for record in found}

    def state(self, project: str, feature: str) -> FeatureState:
        return self.states.get((project, feature), FeatureState())

    def close(self) -> None:
        """Nothing is open."""


def test_an_installed_package_may_bring_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(group: str) -> list[EntryPoint]:
        return [EntryPoint("memory", f"{__name__}:MemoryStore", group)]

    monkeypatch.setattr(online_stores, "entry_points", installed)
    project = project_of(tmp_path, "memory://anywhere")
    write(project, [{"id": 1, "at": DAY, "x": 1}])
    write(project, [{"id": 1, "at": DAY - timedelta(days=1), "x": 0}])
    assert get(project, 1, 2) == [{"id": 1, "at": DAY, "x": 1}, None]


def test_a_store_that_was_removed_is_made_again(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    write(project, [{"id": 1, "at": DAY}])
    assert get(project, 1) != [None]
    for file in project.state.glob("online.db*"):
        file.unlink()
    with pytest.raises(la.StepError, match="has no rows of f"):
        get(project, 1)
    write(project, [{"id": 2, "at": DAY}])
    assert get(project, 1, 2) == [None, {"id": 2, "at": DAY}]


KINDS = {
    "n": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "f": (pa.float64(), st.floats(allow_nan=False)),
    "g": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "b": (pa.bool_(), st.booleans()),
    "s": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]))),
    "t": (pa.timestamp("us"), st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1))),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A few rows of all kinds of values, each kind with nulls, by a text or a number."""
    kind, entities = draw(st.sampled_from([KINDS["n"], KINDS["s"], KINDS["t"]]))
    ids = draw(st.lists(entities, min_size=1, max_size=4, unique=True))
    columns = {
        name: pa.array([draw(st.none() | values) for _ in ids], kind)
        for name, (kind, values) in KINDS.items()
    }
    return pa.table({"id": pa.array(ids, kind), "at": [DAY] * len(ids), **columns})


@pytest.mark.parametrize("url", STORES[:1] + STORES[2:], indirect=True)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_any_value_comes_back_as_arrow_has_it(project: Project, table: pa.Table) -> None:
    write(project, table, source="")
    rows = table.to_pylist()
    assert get(project, *(row["id"] for row in rows)) == rows


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_any_value_comes_back_from_postgresql(project: Project, table: pa.Table) -> None:
    write(project, table, source="")
    rows = table.to_pylist()
    assert get(project, *(row["id"] for row in rows)) == rows


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
        ("mysql://me:hunter2@127.0.0.1:1/x", "online store can't be 'mysql://127.0.0.1:1/x'"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", "cannot read the online store .*refused"),
        ("redis://me:hunter2@127.0.0.1:1/0", "cannot read the online store .*refused"),
        ("redis://me:hunter2@127.0.0.1:x/0", "cannot use the online store"),
        ("sqlite://online.db", "a file is sqlite:///"),
        ("no url", "online store can't be 'no URL'"),
    ],
    ids=["another database", "PostgreSQL is down", "Redis is down", "no port", "no file", "no URL"],
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
