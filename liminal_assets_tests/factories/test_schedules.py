"""Schedules: what is refreshed, which partition, in which order."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.factories.schedules import stages
from liminal_assets.language.loading import Project
from liminal_assets_tests.watching import WATCH, project_in

SCHEDULES = """
alerts: [{alert: ops, webhook: 'http://127.0.0.1:9/'}]
schedules:
  - {schedule: nightly, cron: '0 2 * * *', timezone: America/New_York, refresh: [returned_watch]}
  - {schedule: off, cron: '@weekly', refresh: outcomes, running: false}
"""


def due(
    definitions: dg.Definitions, name: str, moment: datetime
) -> list[dg.RunRequest] | str | None:
    """What a schedule asks for at a moment; or why it asks for nothing."""
    repository = definitions.get_repository_def()
    context = dg.build_schedule_context(
        instance=dg.DagsterInstance.ephemeral(),
        scheduled_execution_time=moment,
        repository_def=repository,
    )
    seen = repository.get_schedule_def(name).evaluate_tick(context)
    return list(seen.run_requests) if seen.run_requests else seen.skip_message


def names(request: dg.RunRequest) -> set[str]:
    return {key.path[-1] for key in request.asset_selection or ()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_in(tmp_path, WATCH, SCHEDULES)


def test_it_refreshes_the_block_and_everything_upstream_in_the_newest_complete_partition(
    project: Project,
) -> None:
    definitions = la.build_definitions(project)
    moment = datetime(2024, 7, 15, 2, tzinfo=ZoneInfo("America/New_York"))
    (request,) = due(definitions, "shop__nightly", moment) or []
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2024-06"
    assert names(request) == {
        "orders",
        "outcomes",
        "order_features",
        "returned",
        "returned__evaluation",
        "returned__champion",
        "returned_scores",
        "returned_watch",
    }


def test_cron_time_zone_and_status_are_the_schedules_own(project: Project) -> None:
    repository = la.build_definitions(project).get_repository_def()
    nightly, off = (repository.get_schedule_def(f"shop__{name}") for name in ("nightly", "off"))
    assert (nightly.cron_schedule, nightly.execution_timezone) == ("0 2 * * *", "America/New_York")
    assert nightly.default_status == dg.DefaultScheduleStatus.RUNNING
    assert off.default_status == dg.DefaultScheduleStatus.STOPPED


def test_blocks_in_one_piece_are_one_run_without_a_partition(project: Project) -> None:
    definitions = la.build_definitions(project)
    (request,) = due(definitions, "shop__off", datetime(2024, 7, 15, tzinfo=timezone.utc)) or []
    assert isinstance(request, dg.RunRequest)
    assert (names(request), request.partition_key) == ({"outcomes"}, None)


def test_before_a_partition_is_complete_it_does_nothing_and_says_so(project: Project) -> None:
    definitions = la.build_definitions(project)
    said = due(definitions, "shop__nightly", datetime(2024, 1, 20, tzinfo=timezone.utc))
    assert said == "no partition is complete at 2024-01-20 00:00:00+00:00"


def test_after_the_last_partition_that_one_is_refreshed(project: Project) -> None:
    definitions = la.build_definitions(project)
    (request,) = due(definitions, "shop__nightly", datetime(2030, 1, 1, tzinfo=timezone.utc)) or []
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2024-12"


@pytest.mark.parametrize(
    ("hour", "expected"),
    [(2, "2024-07-13"), (5, "2024-07-14")],
    ids=["still the day before in New York", "a new day in New York"],
)
def test_partitions_are_complete_in_their_own_time_zone(
    tmp_path: Path, hour: int, expected: str
) -> None:
    project = Project.of(
        "z",
        tmp_path,
        datasets=[
            {
                "dataset": "a",
                "fetch": {"file": "a.csv"},
                "partitions": {
                    "every": "day",
                    "start": "2024-01-01",
                    "timezone": "America/New_York",
                },
            }
        ],
        schedules=[{"schedule": "s", "cron": "0 * * * *", "refresh": "a"}],
    )
    moment = datetime(2024, 7, 15, hour, tzinfo=timezone.utc)
    (request,) = due(la.build_definitions(project), "z__s", moment) or []
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == expected


MIXED = [
    {
        "dataset": "daily",
        "fetch": {"file": "a.csv"},
        "partitions": {"every": "day", "start": "2024-01-01"},
    },
    {"dataset": "whole", "fetch": {"file": "a.csv"}},
    {
        "dataset": "monthly",
        "clean": {"from": ["daily", "whole"], "sql": "SELECT * FROM daily"},
        "partitions": {"every": "month", "start": "2024-01-01"},
    },
    {"dataset": "regions", "fetch": {"file": "a.csv"}, "partitions": {"values": ["n", "s"]}},
]


def test_blocks_cut_in_several_ways_take_a_run_each_in_the_order_of_their_dependence(
    tmp_path: Path,
) -> None:
    project = Project.of(
        "mixed",
        tmp_path,
        datasets=MIXED,
        schedules=[{"schedule": "s", "cron": "0 2 * * *", "refresh": ["monthly", "regions"]}],
    )
    definitions = la.build_definitions(project)
    requests = due(definitions, "mixed__s", datetime(2024, 3, 5, 2, tzinfo=timezone.utc))
    assert isinstance(requests, list)
    asked = {
        frozenset(names(request)): (request.partition_key, request.tags["dagster/priority"])
        for request in requests
    }
    order = [names(request) for request in requests]
    assert next(i for i, n in enumerate(order) if "daily" in n) < next(
        i for i, n in enumerate(order) if "monthly" in n
    )
    keys = {name: key for names_, (key, _) in asked.items() for name in names_}
    assert keys["daily"] == "2024-03-04"
    assert keys["monthly"] == "2024-02"
    assert [int(request.tags["dagster/priority"]) for request in requests] == [
        *range(len(requests) - 1, -1, -1)
    ]
    assert len({request.run_key for request in requests}) == len(requests)


def test_listed_partitions_are_all_refreshed_in_one_run(tmp_path: Path) -> None:
    project = Project.of(
        "listed",
        tmp_path,
        datasets=MIXED,
        schedules=[{"schedule": "s", "cron": "0 2 * * *", "refresh": "regions"}],
    )
    (tmp_path / "a.csv").write_text("x\n1\n")
    definitions = la.build_definitions(project)
    (request,) = due(definitions, "listed__s", datetime(2024, 3, 5, tzinfo=timezone.utc)) or []
    assert isinstance(request, dg.RunRequest)
    job = definitions.resolve_implicit_job_def_def_for_assets(list(request.asset_selection or ()))
    assert job is not None
    instance = dg.DagsterInstance.ephemeral()
    done = job.execute_in_process(
        instance=instance, tags=request.tags, asset_selection=list(request.asset_selection or ())
    )
    assert done.success
    made = instance.get_materialized_partitions(dg.AssetKey(["listed", "regions"]))
    assert made == {"n", "s"}


def test_a_step_that_makes_several_assets_makes_all_of_them(tmp_path: Path) -> None:
    project = Project.of(
        "q",
        tmp_path,
        datasets=[
            {"dataset": "raw", "fetch": {"file": "a.csv"}},
            {
                "dataset": "good",
                "clean": {"from": "raw", "sql": "SELECT * FROM raw"},
                "columns": {"x": "integer"},
                "quarantine": True,
            },
        ],
        schedules=[{"schedule": "s", "cron": "0 2 * * *", "refresh": "good"}],
    )
    definitions = la.build_definitions(project)
    (request,) = due(definitions, "q__s", datetime(2024, 3, 5, tzinfo=timezone.utc)) or []
    assert isinstance(request, dg.RunRequest)
    assert {"raw", "good"} <= names(request)
    job = definitions.resolve_implicit_job_def_def_for_assets(list(request.asset_selection or ()))
    assert job is not None


def test_a_run_needs_only_itself_and_those_before_it(project: Project) -> None:
    graph = la.build_definitions(project).get_repository_def().asset_graph
    keys = graph.materializable_asset_keys
    seen: set[dg.AssetKey] = set()
    for stage in stages(graph, keys):
        own = set(stage.keys)
        assert all(graph.get(key).parent_keys & keys <= seen | own for key in own)
        seen |= own
    assert seen == keys


def test_it_works_alone() -> None:
    assert (
        la.schedule(
            schedule="s", cron="0 2 * * *", refresh=["a"], timezone="Europe/Berlin", project="team"
        ).name
        == "team__s"
    )
    with pytest.raises(ValueError, match="hour"):
        la.schedule(schedule="s", cron="0 99 * * *", refresh=["a"])
    with pytest.raises(ValueError, match="time zone"):
        la.schedule(schedule="s", cron="0 9 * * *", refresh=["a"], timezone="Mars/Base")
