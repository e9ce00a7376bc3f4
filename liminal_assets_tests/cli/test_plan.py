"""``liminal plan``: what would run and why, as Dagster's UI would say; nothing runs."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import (
    DATA_VERSION_TAG,
    CachingStaleStatusResolver,
    StaleStatus,
)

from liminal_assets.cli.planning import _Loading, make_plan
from liminal_assets.cli.run import wanted_of
from liminal_assets.cli.scope import Scope
from liminal_assets.cli.session import open_session
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.language.loading import load_project
from liminal_assets.storage.instance import open_instance
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets_tests.cli.conftest import ROWS, Liminal
from liminal_assets_tests.watching import project_in, served, write_reference

DAILY = """
  - monitor: returned_watch
    deployment: returned_api
    partitions: {every: day, start: '2024-07-01', end: '2024-07-03'}
    min_rows: 50
    drift: {threshold: 0.4}
"""


def planned(liminal: Liminal, *arguments: str) -> dict[str, dict[str, Any]]:
    """What a run would make, by asset."""
    done = liminal("plan", "--json", *arguments)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["assets"]
    return {row["asset"]: row for row in rows if row["state"] != "fresh"}


def test_before_the_first_run_everything_is_new_and_nothing_runs(
    liminal: Liminal, shop: Path
) -> None:
    found = planned(liminal)
    assert set(found) == {"raw", "stores", "clean", "sales"}
    assert {row["state"] for row in found.values()} == {"new"}
    assert found["raw"]["partitions"] == ["2013-01", "2013-02", "2013-03", "2013-04"]
    assert found["raw"]["reasons"] == ["was never made"]
    with open_instance(shop) as instance:
        assert instance.get_runs_count() == 0


def test_for_people_it_is_a_table(liminal: Liminal, shop: Path) -> None:
    lines = liminal("plan").out.split("\n")
    assert lines[0].split() == ["asset", "state", "partitions", "why"]
    assert any(
        line.split() == ["raw", "new", "2013-01..2013-04", "(4)", "was", "never", "made"]
        for line in lines
    )


@pytest.fixture
def made(liminal: Liminal, shop: Path) -> Path:
    """The project after a run of everything."""
    assert liminal("run").code == 0
    return shop


def test_after_a_run_everything_is_fresh(liminal: Liminal, made: Path) -> None:
    assert planned(liminal) == {}
    assert liminal("plan").out == "nothing to do: everything is fresh\n"


def edited(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("liminal.yml", "name: shop\n", "# a comment\nname: shop\n"),
        ("liminal.yml", "  - dataset: clean\n", "\n\n  - dataset:   clean\n"),
        (
            "liminal.yml",
            "  - dataset: stores\n    fetch: {file: stores.csv}\n",
            "  - fetch: {file: stores.csv}\n    dataset: stores\n    description: Shops.\n",
        ),
        ("rows.py", "import pandas", '"""Docs."""\n# a comment\nimport pandas'),
    ],
    ids=["comment", "format", "order of keys and description", "comment and docs of code"],
)
def test_what_changes_nothing_plans_nothing(
    liminal: Liminal, made: Path, file: str, old: str, new: str
) -> None:
    edited(made, file, old, new)
    assert planned(liminal) == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "reasons"),
    [
        (
            "liminal.yml",
            "amount > 0",
            "amount > 1",
            {"clean": ["its configuration changed"], "sales": ["clean is made first"]},
        ),
        (
            "rows.py",
            "[1, 2, -1]",
            "[3, 2, -1]",
            {
                "raw": ["its code changed"],
                "clean": ["raw is made first"],
                "sales": ["clean is made first"],
            },
        ),
        (
            "stores.csv",
            "Oslo",
            "Bergen",
            {"stores": ["its files changed"], "sales": ["stores is made first"]},
        ),
    ],
    ids=["configuration", "code", "files"],
)
def test_a_change_is_named_with_what_follows_from_it(
    liminal: Liminal, made: Path, file: str, old: str, new: str, reasons: dict[str, list[str]]
) -> None:
    edited(made, file, old, new)
    assert {name: row["reasons"] for name, row in planned(liminal).items()} == reasons


def test_new_partitions_alone_are_missing(liminal: Liminal, made: Path) -> None:
    edited(made, "liminal.yml", "2013-05-01", "2013-06-01")
    found = planned(liminal, "--select", "clean")
    # the partitions are part of what the block inherits, not of what it says
    assert found["clean"]["partitions"] == ["2013-05"]
    assert found["clean"]["state"] == "missing"


def test_a_failed_attempt_is_tried_again_though_older_rows_are_there(
    liminal: Liminal, made: Path
) -> None:
    edited(made, "rows.py", "    print", "    raise ValueError\n    print")
    assert liminal("run", "--partition", "2013-02", "--select", "raw").code == 1
    (made / "rows.py").write_text(ROWS)
    found = planned(liminal)
    assert found["raw"]["partitions"] == ["2013-02"]
    assert found["raw"]["reasons"] == ["its last attempt failed"]


def test_only_what_is_selected_and_in_the_range_is_planned(liminal: Liminal, shop: Path) -> None:
    found = planned(liminal, "--select", "raw", "--partition-range", "2013-02..2013-03")
    assert found == {
        "raw": {
            "asset": "raw",
            "state": "new",
            "partitions": ["2013-02", "2013-03"],
            "reasons": ["was never made"],
        }
    }


def test_an_asset_that_lost_an_input_says_so(liminal: Liminal, made: Path) -> None:
    edited(made, "liminal.yml", "{clean: {}, stores: {on: store}}", "{clean: {}}")
    (reasons,) = [row["reasons"] for row in planned(liminal).values()]
    assert "no longer depends on stores" in reasons


def test_it_agrees_with_dagsters_own_staleness(liminal: Liminal, made: Path) -> None:
    edited(made, "liminal.yml", "amount > 0", "amount > 1")
    project = load_project(made)
    with open_session(project) as session:
        resolver = CachingStaleStatusResolver(
            session.instance, session.graph, _Loading(session.instance)
        )
        stale = {
            key.path[-1]
            for key in session.keys
            for partition in (
                session.graph.get(key).partitions_def.get_partition_keys()
                if session.graph.get(key).is_partitioned
                else [None]
            )
            if resolver.get_status(key, partition) != StaleStatus.FRESH
        }
    own = {name for name, row in planned(liminal).items() if "is made first" not in str(row)}
    assert own == stale == {"clean"}


def test_schedules_and_sensors_that_are_new_are_named(liminal: Liminal, shop: Path) -> None:
    with (shop / "liminal.yml").open("a") as file:
        file.write("schedules:\n  - {schedule: nightly, cron: '0 2 * * *', refresh: sales}\n")
    (item,) = json.loads(liminal("plan", "--json").out)["automation"]
    assert (item["kind"], item["change"]) == ("schedule", "is new: 0 2 * * *")


def test_a_window_that_is_over_is_fresh_whatever_the_server_answers_by_now(tmp_path: Path) -> None:
    project = project_in(tmp_path, DAILY, "")
    write_reference(project)
    until = datetime(2024, 7, 3, tzinfo=timezone.utc)
    PredictionLog(project, "returned_api").append(served(200, until=until, days=2, version=1))
    watch, api = (dg.AssetKey(["shop", name]) for name in ("returned_watch", "returned_api"))
    asset = monitor_asset(project.block("returned_watch"), project=project)  # type: ignore[arg-type]

    def reasons() -> list[tuple[str, ...]]:
        scope = Scope()
        with open_session(project) as session:
            plan = make_plan(session, wanted_of(session, {watch, api}, scope), scope)
            return [one.reasons for one in plan.planned if one.key == watch]

    def deployed(instance: dg.DagsterInstance, version: str) -> None:
        tags = {DATA_VERSION_TAG: version}
        instance.report_runless_asset_event(dg.AssetMaterialization(api, tags=tags))

    with open_instance(tmp_path) as instance:
        deployed(instance, "one")
        tags = {
            "dagster/asset_partition_range_start": "2024-07-01",
            "dagster/asset_partition_range_end": "2024-07-02",
        }
        assert dg.materialize([asset], instance=instance, tags=tags).success
        deployed(instance, "another")
    assert reasons() == []
    # and of two windows one that was never judged is missing
    file = tmp_path / "liminal.yml"
    file.write_text(file.read_text().replace("end: '2024-07-03'", "end: '2024-07-04'"))
    project = load_project(tmp_path)
    assert "is missing (2024-07-03)" in reasons()[0]
