"""Expectations on a team's own Dagster assets."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pytest

import liminal_assets as la
from liminal_assets.storage.tables import Table

NOT_NULL = "expect_column_values_to_not_be_null"
ROWS = {"id": [1, 2, None], "name": ["a", "b", "c"]}


@dg.asset
def orders() -> pd.DataFrame:
    return pd.DataFrame(ROWS)


@dg.asset
def report(orders: pd.DataFrame) -> int:
    return len(orders)


def run(*assets: Any, **keywords: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize([*assets], raise_on_error=False, **keywords)


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def test_the_rows_come_through_the_io_manager_of_the_asset() -> None:
    checks = la.expectation_checks(
        orders,
        [
            {NOT_NULL: {"column": "name"}},
            {"expect_column_max_to_be_between": {"column": "id", "max_value": 9}},
        ],
    )
    result = run(orders, checks)
    assert result.success
    assert passed(result) == {
        f"{NOT_NULL}__name": True,
        "expect_column_max_to_be_between__id": True,
    }


def test_a_failed_check_of_severity_error_keeps_what_is_downstream_from_running() -> None:
    checks = la.expectation_checks(orders, [{NOT_NULL: {"column": "id"}}])
    result = run(orders, report, checks)
    assert not result.success
    assert not result.asset_materializations_for_node("report")


def test_a_failed_check_of_severity_warning_lets_what_is_downstream_run() -> None:
    checks = la.expectation_checks(orders, [{NOT_NULL: {"column": "id", "severity": "warning"}}])
    result = run(orders, report, checks)
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.asset_materializations_for_node("report")


def test_a_result_shows_counts_and_failing_rows() -> None:
    checks = la.expectation_checks(orders, [{NOT_NULL: {"column": "id", "severity": "warning"}}])
    (evaluation,) = run(orders, checks).get_asset_check_evaluations()
    assert evaluation.description == "id values must never be null: 1 of 3 rows break it (33.3 %)"
    assert evaluation.metadata["unexpected_count"].value == 1
    (record,) = evaluation.metadata["failing_rows"].records
    assert record.data == {"id": None, "name": "c"}


@pytest.mark.parametrize(
    "load",
    [
        lambda: pl.DataFrame(ROWS),
        lambda context: pd.DataFrame(ROWS),
        lambda: Table.from_rows(pd.DataFrame(ROWS)),
        lambda: [{"id": None}],
    ],
    ids=["polars", "with_context", "table", "list"],
)
def test_the_rows_may_come_from_a_function(load: Any) -> None:
    checks = la.expectation_checks(
        "warehouse/orders", [{NOT_NULL: {"column": "id", "severity": "warning"}}], load=load
    )
    result = run(checks, selection=dg.AssetSelection.checks(checks))
    assert passed(result) == {f"{NOT_NULL}__id": False}


def test_keys_specs_and_great_expectations_objects_are_taken() -> None:
    from great_expectations.expectations import ExpectTableRowCountToEqual

    expectation = ExpectTableRowCountToEqual(value=3)
    for asset in (dg.AssetKey("orders"), dg.AssetSpec("orders"), "orders", ["orders"]):
        checks = la.expectation_checks(asset, [expectation])
        (spec,) = checks.check_specs
        assert spec.key == dg.AssetCheckKey(
            dg.AssetKey("orders"), "expect_table_row_count_to_equal"
        )
        assert passed(run(orders, checks)) == {"expect_table_row_count_to_equal": True}


def test_each_partition_of_an_asset_is_checked_alone() -> None:
    days = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=days)
    def parts(context):  # type: ignore[no-untyped-def]  # Dagster can't read quoted hints
        return pd.DataFrame({"id": [1, None] if context.partition_key == "b" else [1]})

    said = [{NOT_NULL: {"column": "id", "severity": "warning"}}]
    checks = la.expectation_checks(parts, said, partitions_def=days)
    instance = dg.DagsterInstance.ephemeral()
    found = {}
    for key in ("a", "b"):
        result = run(parts, checks, partition_key=key, instance=instance)
        (evaluation,) = result.get_asset_check_evaluations()
        found[evaluation.metadata["partition"].value] = evaluation.passed
    assert found == {"a": True, "b": False}


def test_an_unpartitioned_check_of_a_partitioned_asset_sees_all_its_rows() -> None:
    checks = la.expectation_checks(
        "parts",
        [{"expect_table_row_count_to_equal": {"value": 3}}],
        load=lambda: {"a": pd.DataFrame({"id": [1]}), "b": pd.DataFrame({"id": [2, None]})},
    )
    result = run(checks, selection=dg.AssetSelection.checks(checks))
    assert passed(result) == {"expect_table_row_count_to_equal": True}


def test_only_the_selected_checks_are_run() -> None:
    checks = la.expectation_checks(
        orders, [{NOT_NULL: {"column": "id"}}, {NOT_NULL: {"column": "name"}}]
    )
    chosen = dg.AssetSelection.assets("orders").without_checks() | dg.AssetSelection.checks(
        dg.AssetCheckKey(dg.AssetKey("orders"), f"{NOT_NULL}__name")
    )
    assert passed(run(orders, checks, selection=chosen)) == {f"{NOT_NULL}__name": True}


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (lambda: 5, "orders can't be checked: builtins.int holds no rows"),
        (dict, "orders has no partitions"),
    ],
    ids=["no_rows", "no_partitions"],
)
def test_what_holds_no_rows_fails_the_step_with_one_message(load: Any, told: str) -> None:
    checks = la.expectation_checks("orders", [{NOT_NULL: {"column": "id"}}], load=load)
    result = run(checks, selection=dg.AssetSelection.checks(checks))
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert told in failure.step_failure_data.error_display_string


def test_several_sets_of_checks_of_one_asset_have_names_of_their_own() -> None:
    one = la.expectation_checks(orders, [{NOT_NULL: {"column": "id"}}])
    two = la.expectation_checks(orders, [{NOT_NULL: {"column": "name"}}], name="more")
    dg.Definitions.validate_loadable(dg.Definitions([orders], asset_checks=[one, two]))


def test_no_checks_and_what_is_no_check_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one check"):
        la.expectation_checks(orders, [])
    with pytest.raises(ValueError, match="one expectation with its arguments"):
        la.expectation_checks(orders, [{"a": {}, "b": {}}])
