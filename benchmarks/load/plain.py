"""The same assets and checks as :mod:`benchmarks.load.project` makes, in hand-written Dagster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from benchmarks.load.project import BLOCKS_PER_CHAIN, CHECKS

__all__ = ["definitions"]

CHECKED = tuple(f"{name}__{arguments[1:].split()[1].rstrip(',}')}" for name, arguments in CHECKS)


@dataclass(frozen=True)
class Asset:
    """What one writes of an asset."""

    name: str
    group: str
    kinds: set[str]
    description: str
    deps: Sequence[str] = ()
    checks: Sequence[str] = ()
    monthly: bool = False


MONTHS = dg.MonthlyPartitionsDefinition("2024-01-01")


def definitions(blocks: int, *, lean: bool) -> dg.Definitions:
    """That many blocks' assets, by ``@dg.asset`` or by the cheapest form there is."""
    chains = (_chain(n) for n in range(blocks // BLOCKS_PER_CHAIN))
    make = _lean if lean else _asset
    return dg.Definitions(assets=[make(asset) for chain in chains for asset in chain])


def _chain(n: int) -> Iterator[Asset]:
    monthly = n % 10 == 0
    parquet, sql, duckdb = {"parquet"}, {"duckdb", "sql"}, {"duckdb"}
    learning = {"mlflow", "scikitlearn"}
    entity = "one_row_per_entity"
    yield Asset(f"orders_{n}", "fetch", parquet, f"Orders of region {n}.", monthly=monthly)
    yield Asset(f"clients_{n}", "fetch", parquet, f"Clients of region {n}.")
    yield Asset(f"goods_{n}", "fetch", parquet, f"Goods of region {n}.")
    for name in ("orders", "clients"):
        yield Asset(
            f"clean_{name}_{n}",
            "clean",
            sql,
            f"{name.capitalize()}, each once.",
            [f"{name}_{n}"],
            CHECKED,
            monthly and name == "orders",
        )
    parts = [f"clean_orders_{n}", f"goods_{n}"]
    yield Asset(f"sold_{n}", "clean", sql, "What was sold to whom.", parts, CHECKED, monthly)
    yield Asset(
        f"client_features_{n}",
        "prepare",
        duckdb,
        "What is known of a client.",
        [f"clean_clients_{n}"],
        [entity],
    )
    yield Asset(
        f"sale_features_{n}",
        "prepare",
        duckdb,
        "What is known of a sale.",
        [f"sold_{n}", f"client_features_{n}"],
        [*CHECKED, entity],
        monthly,
    )
    model = f"returned_{n}"
    features = f"sale_features_{n}"
    yield Asset(model, "train", learning, "Whether it comes back.", [features])
    yield Asset(
        f"{model}__evaluation",
        "evaluate",
        learning,
        f"How good the newest candidate of {model} is on rows held out, and whether it may be "
        "deployed.",
        [model],
        ["roc_auc_at_least", "integrity"],
    )
    yield Asset(
        f"{model}__champion",
        "deploy",
        {"mlflow"},
        f"The version of {model} in use: the alias 'champion' of the registry.",
        [f"{model}__evaluation"],
    )
    yield Asset(
        f"scores_{n}",
        "inference",
        {"parquet", "scikitlearn"},
        f"Every row of {features} scored by the champion of {model}.",
        [f"{model}__champion", features],
        monthly=monthly,
    )


def _key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["big", name])


def _check_specs(asset: Asset) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=_key(asset.name)) for name in asset.checks]


def _asset(asset: Asset) -> dg.AssetsDefinition:
    @dg.asset(
        key=_key(asset.name),
        deps=[_key(name) for name in asset.deps],
        group_name=asset.group,
        kinds=asset.kinds,
        owners=["team:load"],
        description=asset.description,
        code_version="1",
        partitions_def=MONTHS if asset.monthly else None,
        check_specs=_check_specs(asset),
    )
    def compute() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    return compute


def _lean(asset: Asset) -> dg.AssetsDefinition:
    def compute(context):  # type: ignore[no-untyped-def]  # reading hints costs Dagster time
        yield dg.MaterializeResult()

    return dg.multi_asset(
        name=f"big__{asset.name}",
        specs=[
            dg.AssetSpec(
                key=_key(asset.name),
                deps=[_key(name) for name in asset.deps],
                group_name=asset.group,
                kinds=asset.kinds,
                owners=["team:load"],
                description=asset.description,
                code_version="1",
                partitions_def=MONTHS if asset.monthly else None,
            )
        ],
        check_specs=_check_specs(asset),
    )(compute)
