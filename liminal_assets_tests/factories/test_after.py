"""``after``: the assets of blocks that are waited for come first, whatever a dataset is made of."""

from __future__ import annotations

import dagster as dg
import pytest

import liminal_assets as la


@pytest.mark.parametrize(
    "made",
    [
        pytest.param({"fetch": {"file": "rows.csv"}}, id="fetched"),
        pytest.param({"clean": {"from": "raw", "sql": "FROM raw"}}, id="cleaned"),
    ],
)
def test_a_dataset_depends_on_what_it_comes_after(made: dict) -> None:
    first = {"dataset": "first", "fetch": {"file": "rows.csv"}}
    raw = {"dataset": "raw", "fetch": {"file": "rows.csv"}}
    second = {"dataset": "second", "after": "first", **made}
    project = la.Project.of("shop", datasets=[first, raw, second])
    asset = la.dataset_asset(project.spec.datasets[2], project=project)
    (deps,) = asset.asset_deps.values()
    assert dg.AssetKey(["shop", "first"]) in deps
