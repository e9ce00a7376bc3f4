"""Which Dagster runs make some assets and partitions."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import click
import dagster as dg
import pytest

from liminal_assets.cli.batches import Batch, batches_of
from liminal_assets.cli.scope import Scope, parse_scope

NOW = datetime(2013, 5, 15, tzinfo=timezone.utc)
MONTHS = dg.TimeWindowPartitionsDefinition(
    start="2013-01", fmt="%Y-%m", cron_schedule="0 0 1 * *", timezone="UTC"
)
DAYS = dg.DailyPartitionsDefinition("2013-01-01")
COLOURS = dg.StaticPartitionsDefinition(["red", "green", "blue"])


def graph(**assets: tuple[Any, list[str]]) -> Any:
    """Assets by name: how each is cut, and what it reads."""

    def made(name: str, partitions: Any, deps: list[str]) -> dg.AssetsDefinition:
        @dg.multi_asset(specs=[dg.AssetSpec(name, partitions_def=partitions, deps=deps)], name=name)
        def asset() -> None: ...

        return asset

    definitions = dg.Definitions([made(name, *rest) for name, rest in assets.items()])
    return definitions.get_repository_def().asset_graph


def runs(assets: Any, scope: Scope, **wanted: Any) -> list[tuple[str, str]]:
    """The runs, each as its assets and its stretch."""
    keys = {dg.AssetKey(name): keys for name, keys in wanted.items()}
    return [
        (" ".join(sorted(key.path[-1] for key in batch.keys)), batch.stretch)
        for batch in batches_of(assets, keys, scope)
    ]


CHAIN = {
    "raw": (MONTHS, []),
    "shops": (None, []),
    "feature": (MONTHS, ["raw", "shops"]),
    "model": (None, ["feature"]),
    "scores": (MONTHS, ["feature", "model"]),
}
ALL = ["2013-01", "2013-02", "2013-03", "2013-04"]


def everything(keys: list[str]) -> dict[str, Any]:
    return {
        name: keys if partitions is not None else None for name, (partitions, _) in CHAIN.items()
    }


def test_one_run_holds_one_cut_and_assets_in_one_piece() -> None:
    found = runs(graph(**CHAIN), Scope(now=NOW), **everything(ALL))
    assert found == [("feature model raw scores shops", "2013-01..2013-04")]


def test_a_model_does_not_share_the_run_of_an_old_partition() -> None:
    # else it would learn as if what came later weren't known
    found = runs(graph(**CHAIN), Scope(now=NOW), **everything(["2013-02"]))
    assert found == [
        ("shops", ""),
        ("feature raw", "2013-02"),
        ("model", ""),
        ("scores", "2013-02"),
    ]


def test_in_a_scope_it_shares_the_run_that_ends_with_the_scope() -> None:
    scope = Scope("2013-01", "2013-02", now=NOW)
    found = runs(graph(**CHAIN), scope, **everything(["2013-02"]))
    assert found == [("feature model raw scores shops", "2013-02")]


def test_gaps_are_left_out() -> None:
    found = runs(graph(**CHAIN), Scope(now=NOW), **everything(["2013-01", "2013-03", "2013-04"]))
    assert found == [
        ("shops", ""),
        ("feature raw", "2013-01"),
        ("feature raw", "2013-03..2013-04"),
        ("model", ""),
        ("scores", "2013-01"),
        ("scores", "2013-03..2013-04"),
    ]


def test_a_model_alone_is_told_the_scope() -> None:
    scope = Scope("2013-01", "2013-02", now=NOW)
    keys = {dg.AssetKey("model"): None}
    (batch,) = batches_of(graph(**CHAIN), keys, scope)
    assert batch.tags == {
        "dagster/asset_partition_range_start": "2013-01",
        "dagster/asset_partition_range_end": "2013-02",
    }


def test_each_cut_has_its_runs_in_the_order_of_the_graph() -> None:
    assets = graph(
        days=(DAYS, []), months=(MONTHS, ["days"]), colours=(COLOURS, ["months"]), end=(None, [])
    )
    wanted = {"days": ["2013-01-01"], "months": ALL[:1], "colours": ["red", "green", "blue"]}
    found = runs(assets, Scope(now=NOW), **wanted, end=None)
    assert found == [
        ("end", ""),
        ("days", "2013-01-01"),
        ("months", "2013-01"),
        ("colours", "red..blue"),
    ]


def test_what_lies_between_two_selected_assets_keeps_their_order() -> None:
    keys = {dg.AssetKey("shops"): None, dg.AssetKey("scores"): ["2013-02"]}
    found = batches_of(graph(**CHAIN), keys, Scope(now=NOW))
    assert [sorted(key.path[-1] for key in batch.keys) for batch in found] == [
        ["shops"],
        ["scores"],
    ]


def test_one_partition_is_told_as_one() -> None:
    assert Batch(frozenset(), "a", "a").tags == {"dagster/partition": "a"}


@pytest.mark.parametrize(
    ("scope", "partitions", "keys"),
    [
        (Scope(now=NOW), MONTHS, ALL),
        (Scope("2013-02", "2013-03", now=NOW), MONTHS, ["2013-02", "2013-03"]),
        (Scope("2013-02", "2013-02", now=NOW), COLOURS, []),
        (Scope("green", "blue", now=NOW), COLOURS, ["green", "blue"]),
        (Scope("2013-02-27", "2013-03-02", now=NOW), MONTHS, ["2013-02", "2013-03"]),
    ],
    ids=str,
)
def test_a_scope_is_keys_of_each_cut(scope: Scope, partitions: Any, keys: list[str]) -> None:
    assert scope.keys(partitions, [MONTHS, DAYS, COLOURS]) == keys


def test_a_month_is_its_days_in_a_cut_by_day() -> None:
    keys = Scope("2013-02", "2013-02", now=NOW).keys(DAYS, [MONTHS])
    assert (keys[0], keys[-1], len(keys)) == ("2013-02-01", "2013-02-28", 28)


def test_partitions_that_are_not_complete_are_not_there_yet() -> None:
    assert Scope(now=NOW).all_keys(MONTHS)[-1] == "2013-04"
    assert Scope(now=NOW).all_keys(DAYS)[-1] == "2013-05-14"


@pytest.mark.parametrize("text", ["2013-01", "..2013-01", "2013-01..", "a-b"])
def test_a_range_that_is_none_is_wrong_input(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"FIRST\.\.LAST"):
        parse_scope(None, text)
