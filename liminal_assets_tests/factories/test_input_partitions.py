"""What Dagster is told that a partition reads is what its step reads."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.steps.inputs import read_input
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.runs import table_assets

DAYS = {"every": "day", "start": "2013-01-01", "end": "2013-03-01"}
MONTHS = {"every": "month", "start": "2013-01-01", "end": "2013-03-01"}
WEEKS = {"every": "week", "start": "2013-01-01", "end": "2013-02-26"}
LISTED = {"values": ["EU", "US"]}

CASES: dict[str, tuple[Any, Any, str | None, list[str]]] = {
    "cut alike": (DAYS, DAYS, "2013-01-02", ["2013-01-02"]),
    "days into months": (
        DAYS,
        MONTHS,
        "2013-02",
        [f"2013-02-{day:02}" for day in range(1, 29)],
    ),
    "months into days": (MONTHS, DAYS, "2013-02-03", ["2013-02"]),
    "months into weeks": (MONTHS, WEEKS, "2013-01-29", ["2013-01", "2013-02"]),
    "other time zone": (
        DAYS,
        {**DAYS, "timezone": "America/New_York"},
        "2013-01-02",
        ["2013-01-02", "2013-01-03"],
    ),
    "listed alike": (LISTED, LISTED, "EU", ["EU"]),
    "listed among more": ({"values": ["EU", "US", "ASIA"]}, LISTED, "EU", ["EU"]),
    "days into listed": (MONTHS, LISTED, "EU", ["2013-01", "2013-02"]),
    "listed into days": (LISTED, MONTHS, "2013-01", ["EU", "US"]),
    "days into one piece": (MONTHS, None, None, ["2013-01", "2013-02"]),
}


def project_of(
    folder: Path, upstream: Any, own: Any, feature: dict[str, Any] | None = None
) -> Project:
    raw = {"dataset": "raw", "fetch": {"file": "x.csv"}, "partitions": upstream, "timestamp": "at"}
    clean = {"dataset": "own", "clean": {"from": "raw", "sql": "FROM raw"}, "partitions": own}
    spine = {"dataset": "spine", "fetch": {"file": "x.csv"}, "partitions": own}
    more = {"features": [feature]} if feature else {}
    datasets = [raw, spine if feature else clean]
    return Project.of("p", folder, datasets=datasets, **more)


def keys_read(project: Project, partition: str | None, **more: Any) -> list[str]:
    block = project.block("f" if "history" in more else "own")
    files = read_input(project, block, "raw", partition, **more).files
    return sorted({Path(file).parent.name for file in files})


def keys_told(project: Project, asset: str, partition: str) -> list[str]:
    graph = dg.Definitions(table_assets(project)).resolve_asset_graph()
    child, parent = (graph.get(dg.AssetKey(["p", name])) for name in (asset, "raw"))
    mapping = graph.get_partition_mapping(child.key, parent.key)
    subset = child.partitions_def.subset_with_partition_keys([partition])
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(
        subset, child.partitions_def, parent.partitions_def
    )
    return sorted(found.partitions_subset.get_partition_keys())


def fill(project: Project) -> list[str]:
    definition = table_assets(project)[0].partitions_def
    assert definition is not None
    keys = list(definition.get_partition_keys())
    for key in keys:
        TableStore(project).write("raw", key, [{"at": datetime(2013, 1, 1)}])
    return keys


@pytest.mark.parametrize(("upstream", "own", "partition", "expected"), CASES.values(), ids=CASES)
def test_a_partition_reads_what_belongs_to_it(
    tmp_path: Path, upstream: Any, own: Any, partition: str | None, expected: list[str]
) -> None:
    project = project_of(tmp_path, upstream, own)
    if own is None:
        project = Project.of(
            "p",
            tmp_path,
            datasets=[
                {"dataset": "raw", "fetch": {"file": "x.csv"}, "partitions": upstream},
                {"dataset": "own", "fetch": {"python": "a:b"}},
            ],
        )
    fill(project)
    assert keys_read(project, partition) == expected
    if partition is None:
        return
    told = keys_told(project, "own", partition)
    if own.get("timezone"):
        assert set(told) > set(expected), "Dagster maps windows of one time zone only"
    else:
        assert told == expected


@pytest.mark.parametrize(
    ("within", "lag", "told"),
    [
        (None, None, ["2013-01-09", "2013-01-10"]),
        ("1d", None, ["2013-01-09", "2013-01-10"]),
        ("3d", None, ["2013-01-07", "2013-01-08", "2013-01-09", "2013-01-10"]),
        ("1d", "1d", ["2013-01-08", "2013-01-09", "2013-01-10"]),
    ],
)
def test_a_point_in_time_join_reads_back_as_far_as_it_looks(
    tmp_path: Path, within: str | None, lag: str | None, told: list[str]
) -> None:
    join = {"as_of": "at"} | ({"within": within} if within else {}) | ({"lag": lag} if lag else {})
    feature = {"feature": "f", "from": {"spine": {}, "raw": join}, "entity": "id"}
    project = project_of(tmp_path, DAYS, DAYS, feature)
    keys = fill(project)
    assert keys_told(project, "f", "2013-01-10") == told
    length = timedelta(days=int(within[0])) if within else None
    length = length + timedelta(days=1) if length and lag else length
    read = keys_read(project, "2013-01-10", history=True, reach=length)
    assert read == (told if within else keys[:10])


def test_the_first_partition_of_a_point_in_time_join_has_no_earlier_one(tmp_path: Path) -> None:
    feature = {"feature": "f", "from": {"spine": {}, "raw": {"as_of": "at"}}, "entity": "id"}
    project = project_of(tmp_path, DAYS, DAYS, feature)
    assert keys_told(project, "f", "2013-01-01") == ["2013-01-01"]


def test_a_partition_whose_input_is_not_there_yet_says_so(tmp_path: Path) -> None:
    project = project_of(tmp_path, DAYS, MONTHS)
    TableStore(project).write("raw", "2013-01-05", [{"x": 1}])
    with pytest.raises(la.StepError, match=r"raw has no rows for partition 2013-02"):
        keys_read(project, "2013-02")
