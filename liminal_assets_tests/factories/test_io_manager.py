"""A team's own assets load a project's tables in the form that they annotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.runs import table_assets, write_project

YAML = """
name: shop
datasets:
  - dataset: sales
    fetch: {file: sales.csv}
  - dataset: monthly
    fetch: {file: sales.csv}
    partitions: {every: month, start: '2013-01-01', end: '2013-04-01'}
"""
seen: dict[str, Any] = {}


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def with_pandas(sales: pd.DataFrame) -> None:
    seen["with_pandas"] = sales


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def with_polars(sales: pl.DataFrame) -> None:
    seen["with_polars"] = sales


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def with_arrow(sales: pa.Table) -> None:
    seen["with_arrow"] = sales


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def with_duckdb(sales: duckdb.DuckDBPyRelation) -> None:
    seen["with_duckdb"] = sales


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def with_ibis(sales: ibis.Table) -> None:
    seen["with_ibis"] = sales


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def without_annotation(sales) -> None:  # type: ignore[no-untyped-def]
    seen["without_annotation"] = sales


@dg.asset(ins={"sales": dg.AssetIn(["shop", "sales"])})
def with_nonsense(sales: Path) -> None: ...


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "sales.csv").write_text("id\n1\n2\n")
    return write_project(tmp_path, YAML)


def materialize(project: Project, *assets: Any, **more: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*table_assets(project), *assets],
        selection=dg.AssetSelection.assets(*assets),
        resources={"io_manager": la.TableIOManager(project=str(project.root))},
        raise_on_error=False,
        **more,
    )


@pytest.mark.parametrize(
    ("asset", "kind"),
    [
        (with_pandas, pd.DataFrame),
        (with_polars, pl.DataFrame),
        (with_arrow, pa.Table),
        (with_duckdb, duckdb.DuckDBPyRelation),
        (with_ibis, ibis.Table),
        (without_annotation, pd.DataFrame),
    ],
    ids=["pandas", "polars", "arrow", "duckdb", "ibis", "no annotation"],
)
def test_rows_come_in_the_form_of_the_annotation(
    project: Project, asset: dg.AssetsDefinition, kind: type
) -> None:
    TableStore(project).write("sales", None, [{"id": 1}, {"id": 2}])
    assert materialize(project, asset).success
    assert isinstance(seen[asset.op.name], kind)


@pytest.mark.parametrize(
    ("asset", "message"),
    [
        (with_nonsense, "asks for pathlib.Path, which rows can't be given as"),
        (with_pandas, "sales has no rows yet"),
    ],
    ids=["no form", "not materialised"],
)
def test_what_cannot_be_loaded_is_one_message(
    project: Project, asset: dg.AssetsDefinition, message: str
) -> None:
    if asset is with_nonsense:
        TableStore(project).write("sales", None, [{"id": 1}])
    result = materialize(project, asset)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert message in str(failure.step_failure_data.error)


def test_a_partition_loads_the_one_that_belongs_to_it(project: Project) -> None:
    months = dg.TimeWindowPartitionsDefinition(
        start="2013-01", end="2013-04", fmt="%Y-%m", cron_schedule="0 0 1 * *"
    )

    @dg.asset(partitions_def=months, ins={"monthly": dg.AssetIn(["shop", "monthly"])})
    def total(monthly: pd.DataFrame) -> pd.DataFrame:
        return monthly.agg(["sum"])

    for number, month in enumerate(("2013-01", "2013-02"), 1):
        TableStore(project).write("monthly", month, [{"id": number}])
    result = materialize(project, total, partition_key="2013-02")
    assert result.success
    written = TableStore(project).read("total", ["2013-02"])
    assert written.to("pandas")["id"].tolist() == [2]
