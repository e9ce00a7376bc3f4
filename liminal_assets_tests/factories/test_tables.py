"""Write, audit, publish: what readers see, what Dagster is told, and what a failure leaves."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

import liminal_assets as la
from liminal_assets.factories.tables import merged
from liminal_assets.language.loading import Project
from liminal_assets.steps.report import Outcome
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.runs import run, table_assets, write_project

MONTHS = ("2013-01", "2013-02", "2013-03")
MONTHLY = """
name: shop
datasets:
  - dataset: raw
    fetch: {file: '{{ partition_key }}.csv'}
    partitions: {every: month, start: '2013-01-01', end: '2013-04-01'}
    freshness: {within: 26h}
  - dataset: sales
    clean: {from: raw, sql: SELECT * FROM raw}
    columns: {id: {type: integer, unique: true}, amount: {type: float, at_least: 0}}
    quarantine: QUARANTINE
  - dataset: report
    clean: {from: sales, sql: SELECT sum(amount) AS total FROM sales}
"""


def monthly(folder: Path, *, quarantine: bool = False, bad: tuple[str, ...] = ()) -> Project:
    folder.mkdir(exist_ok=True)
    for number, month in enumerate(MONTHS):
        broken = "x,-1\n" if month in bad else "9,4.5\n"
        (folder / f"{month}.csv").write_text(f"id,amount\n{number},{number + 2.5}\n{broken}")
    return write_project(folder, MONTHLY.replace("QUARANTINE", str(quarantine).lower()))


def totals(project: Project) -> list[float]:
    return sorted(TableStore(project).read("report").to("pandas")["total"])


def test_a_run_of_several_partitions_tells_dagster_of_each_with_its_own_version(
    tmp_path: Path,
) -> None:
    project = monthly(tmp_path)
    instance = dg.DagsterInstance.ephemeral()
    done = run(project, instance=instance, partitions=(MONTHS[0], MONTHS[2]))
    assert done.succeeded
    for asset in ("raw", "sales", "report"):
        key = dg.AssetKey(["shop", asset])
        assert instance.get_materialized_partitions(key) == set(MONTHS)
        versions = {
            done.materialized[asset, month].tags["dagster/data_version"] for month in MONTHS[:2]
        }
        assert len(versions) == 2
        assert done.metadata(asset, MONTHS[1])["dagster/row_count"] in (1, 2)
    assert done.checks["sales", "columns"].passed
    assert done.checks["sales", "columns"].description == "passed in 3 partitions"


def test_a_partition_made_alone_has_the_version_it_has_in_a_range(tmp_path: Path) -> None:
    project = monthly(tmp_path)
    together = run(project, partitions=(MONTHS[0], MONTHS[2]))
    alone = run(project, partition=MONTHS[1])
    for asset in ("raw", "sales", "report"):
        events = (together.materialized[asset, MONTHS[1]], alone.materialized[asset, MONTHS[1]])
        first, second = (event.tags["dagster/data_version"] for event in events)
        assert first == second


def test_only_the_partition_whose_input_changed_becomes_stale(tmp_path: Path) -> None:
    project = monthly(tmp_path)
    instance = dg.DagsterInstance.ephemeral()
    run(project, instance=instance, partitions=(MONTHS[0], MONTHS[2]))
    (tmp_path / "2013-02.csv").write_text("id,amount\n1,7\n")
    run(project, "key:shop/raw", instance=instance, partitions=(MONTHS[0], MONTHS[2]))
    graph = dg.Definitions(table_assets(project)).resolve_asset_graph()
    status = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    key = dg.AssetKey(["shop", "sales"])
    assert [status.get_status(key, month) for month in MONTHS] == [
        StaleStatus.FRESH,
        StaleStatus.STALE,
        StaleStatus.FRESH,
    ]


def test_a_bad_partition_of_several_is_not_published_and_named(tmp_path: Path) -> None:
    project = monthly(tmp_path, bad=("2013-02",))
    instance = dg.DagsterInstance.ephemeral()
    done = run(project, instance=instance, partitions=(MONTHS[0], MONTHS[2]))
    assert not done.succeeded
    assert "the rows of partition 2013-02 were not published" in done.failure
    assert f"at {tmp_path}/liminal.yml:10:5" in done.failure
    assert TableStore(project).partitions("sales") == ["2013-01", "2013-03"]
    key = dg.AssetKey(["shop", "sales"])
    assert instance.get_materialized_partitions(key) == {"2013-01", "2013-03"}
    check = done.checks["sales", "columns"]
    assert not check.passed
    assert check.description is not None
    assert "failed in 1 of 3 partitions (2013-02)" in check.description
    assert check.metadata["partition"].value == "2013-02"
    assert not TableStore(project).exists("report")


def test_a_failed_check_leaves_the_rows_that_were_there_and_running_again_continues(
    tmp_path: Path,
) -> None:
    project = monthly(tmp_path)
    run(project, partition="2013-01")
    assert totals(project) == [7.0]
    monthly(tmp_path, bad=("2013-01",))
    failed = run(project, partition="2013-01")
    assert not failed.succeeded
    assert ("sales", "2013-01") not in failed.materialized
    assert ("report", "2013-01") not in failed.materialized
    assert totals(project) == [7.0]
    monthly(tmp_path)
    assert run(project, partition="2013-01").succeeded


def test_with_quarantine_broken_rows_are_an_asset_of_their_own_and_none_is_lost(
    tmp_path: Path,
) -> None:
    project = monthly(tmp_path, quarantine=True, bad=("2013-02",))
    done = run(project, partitions=(MONTHS[0], MONTHS[2]))
    assert done.succeeded
    assert done.metadata("sales", "2013-02")["quarantined"] == 1
    rejected = TableStore(project).read("sales__quarantine", ["2013-02"]).to("arrow")
    assert rejected.to_pylist() == [
        {
            "id": "x",
            "amount": -1.0,
            "quarantine_reasons": ["id: not an integer", "amount: below 0"],
        }
    ]
    assert TableStore(project).read("sales").to("pandas")["id"].tolist() == [0, 9, 1, 2, 9]


@pytest.mark.parametrize("selection", ["key:shop/sales", "key:shop/sales__quarantine"])
def test_a_dataset_and_its_quarantine_are_made_together_whichever_is_selected(
    tmp_path: Path, selection: str
) -> None:
    project = monthly(tmp_path, quarantine=True)
    run(project, "key:shop/raw", partition="2013-01")
    done = run(project, selection, partition="2013-01")
    assert set(done.materialized) == {
        ("sales", "2013-01"),
        ("sales__quarantine", "2013-01"),
    }


def test_a_materialisation_shows_schema_preview_place_seconds_and_source(tmp_path: Path) -> None:
    project = monthly(tmp_path)
    done = run(project, partition="2013-01")
    metadata = done.metadata("sales", "2013-01")
    assert metadata["dagster/row_count"] == metadata["dagster/partition_row_count"] == 2
    schema = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert schema["id"].type == "BIGINT"
    assert schema["id"].constraints.unique
    assert schema["amount"].constraints.other == ["at least 0.0"]
    assert len(metadata["preview"]) == 2 or len(metadata["preview"].records) == 2
    assert Path(metadata["path"]).is_file()
    assert metadata["seconds"] > 0
    lineage = metadata["dagster/column_lineage"].deps_by_column["amount"]
    assert lineage == [dg.TableColumnDep(dg.AssetKey(["shop", "raw"]), "amount")]
    assert len(done.metadata("raw", "2013-01")["liminal/source_version"]) == 16


def test_assets_have_groups_kinds_freshness_checks_and_a_relation(tmp_path: Path) -> None:
    graph = dg.Definitions(table_assets(monthly(tmp_path))).resolve_asset_graph()
    raw, sales = (graph.get(dg.AssetKey(["shop", name])) for name in ("raw", "sales"))
    assert (raw.group_name, sales.group_name) == ("fetch", "clean")
    assert (raw.kinds, sales.kinds) == ({"csv"}, {"duckdb", "sql"})
    assert raw.freshness_policy == dg.FreshnessPolicy.time_window(timedelta(hours=26))
    assert sales.metadata["dagster/relation_identifier"] == "shop.sales"
    (check,) = graph.asset_check_keys
    assert (check.asset_key.path[-1], check.name) == ("sales", "columns")


def test_an_empty_partition_is_kept_with_a_warning(tmp_path: Path) -> None:
    project = monthly(tmp_path)
    (tmp_path / "2013-01.csv").write_text("id,amount\n")
    done = run(project, "key:shop/raw", partition="2013-01")
    assert done.succeeded
    assert done.metadata("raw", "2013-01")["warning"] == "there are no rows"


WHOLE = """
name: shop
datasets:
  - dataset: raw
    fetch: {file: raw.csv}
    columns: {amount: float}
    CHECKS
"""


def whole(folder: Path, csv: str, checks: str = "") -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "raw.csv").write_text(csv)
    return write_project(folder, WHOLE.replace("CHECKS", checks))


def test_an_empty_table_in_one_piece_is_a_mistake_and_leaves_what_was_there(
    tmp_path: Path,
) -> None:
    project = whole(tmp_path, "amount\n1.5\n")
    assert run(project).succeeded
    (tmp_path / "raw.csv").write_text("amount\n")
    done = run(project)
    assert "shop/raw: there are no rows" in done.failure
    assert "expect_table_row_count_to_be_between" in done.failure
    assert f"{tmp_path}/liminal.yml:5:19" in done.failure
    assert TableStore(project).read("raw").rows == 1


def test_a_column_of_nulls_goes_the_way_of_the_contract(tmp_path: Path) -> None:
    done = run(whole(tmp_path, "amount,other\n,1\n,2\n"))
    assert "columns: of 2 rows some break the contract: amount: null (2 rows)" in done.failure


def test_a_column_that_is_missing_is_one_error_at_its_line(tmp_path: Path) -> None:
    done = run(whole(tmp_path, "amuont\n1.5\n"))
    assert "the rows have no column 'amount'" in done.failure
    assert "did you mean 'amuont'?" in done.failure
    assert f"{tmp_path}/liminal.yml:6:15" in done.failure


def test_a_full_disk_is_one_message_and_the_rows_stay(tmp_path: Path) -> None:
    project = whole(tmp_path, "amount\n1.5\n")
    assert run(project).succeeded
    (tmp_path / "raw.csv").write_text(
        "amount\n" + "".join(f"{n * 0.7919 % 1}\n" for n in range(60_000))
    )
    assets = table_assets(project)
    instance = dg.DagsterInstance.ephemeral()
    with files_of_at_most(20_000):
        done = run(project, instance=instance, assets=assets)
    assert "the disk is full" in done.failure
    assert "what was there before is untouched" in done.failure
    assert TableStore(project).read("raw").rows == 1
    assert not list(tmp_path.rglob("*-*.parquet")), "a half-written file was left"
    assert run(project, assets=assets).succeeded


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_factory_works_alone_in_a_teams_own_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices.csv").write_text("id,price\n1,2.5\n1,2.5\n")
    prices = la.dataset_asset(dataset="prices", fetch={"file": "prices.csv"})
    clean = la.dataset_asset(
        {"dataset": "clean_prices", "clean": {"from": "prices", "steps": ["drop_duplicates"]}}
    )

    @dg.asset(deps=[clean])
    def report() -> None: ...

    definitions = dg.Definitions(assets=[prices, clean, report])
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process()
    assert result.success
    assert (tmp_path / ".liminal/data/liminal/clean_prices/data.parquet").is_file()


def test_outcomes_of_partitions_are_one_that_tells_which_failed() -> None:
    outcomes = {
        "a": Outcome("rule", True, description="fine"),
        "b": Outcome("rule", False, description="3 rows", metadata={"rows": 3}),
        "c": Outcome("rule", True),
    }
    partition, outcome = merged(outcomes)
    assert partition == "b"
    assert not outcome.passed
    assert outcome.description == "failed in 1 of 3 partitions (b): 3 rows"
    assert outcome.metadata["rows"] == 3
    assert [row["passed"] for row in outcome.metadata["partitions"].rows] == [True, False, True]
