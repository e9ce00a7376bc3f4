"""A monitor of served rows by partition: each window judged once it is over, under its own key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.factories.monitors import JUDGEMENT, monitor_asset
from liminal_assets.language.loading import Project
from liminal_assets.steps.history import history, past_windows
from liminal_assets.storage.feedback import FeedbackLog
from liminal_assets.storage.ids import new_id
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.factories.test_schedules import due, names
from liminal_assets_tests.watching import YAML, project_in, rows, served, write_reference

WATCHED = "returned_watch"
DAILY = """
  - monitor: returned_watch
    deployment: returned_api
    partitions: {every: day, start: '2024-07-01'}
    min_rows: 50
    drift: {threshold: 0.4}
    performance: {metric: roc_auc, at_least: 0.6, labels: {from: feedback, within: 30d}}
    on_breach: {retrain: returned}
"""
SCHEDULE = """
schedules:
  - {schedule: daily, cron: '10 0 * * *', refresh: [returned_watch]}
"""


def day(number: int) -> str:
    return f"2024-07-{number:02d}"


class Watching:
    """The monitor's asset, run after run on one instance."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.instance = dg.DagsterInstance.ephemeral()
        self.asset = monitor_asset(project.block(WATCHED), project=project)  # type: ignore[arg-type]

    def run(self, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        tags = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last or first,
        }
        return dg.materialize(
            [self.asset],
            instance=self.instance,
            partition_key=None if last else first,
            tags=tags if last else None,
            raise_on_error=False,
        )

    def events(self) -> list[tuple[str | None, Mapping[str, Any]]]:
        records = self.instance.fetch_materializations(self.asset.key, limit=50).records
        found = [(record.partition_key, record.asset_materialization) for record in records]
        return [(key, made.metadata) for key, made in reversed(found) if made]

    def log(
        self, number: int, *, version: int = 1, count: int = 100, **options: Any
    ) -> pd.DataFrame:
        """The rows of a day."""
        until = datetime(2024, 7, number, tzinfo=timezone.utc) + timedelta(days=1)
        options = {"seed": number, "start": 1000 * number, **options}
        frame = served(count, until=until, days=1, version=version, **options)
        PredictionLog(self.project, "returned_api").append(frame)
        return frame

    def sent(self, frame: pd.DataFrame, *, right: bool = True) -> None:
        at = frame["requested_at"].max() + timedelta(days=2)
        truth = frame["prediction"] if right else ~frame["prediction"]
        labels = pd.DataFrame(
            {
                "feedback_id": [new_id() for _ in range(len(frame))],
                "prediction_id": frame["prediction_id"],
                "at": pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]"),
                "label": truth.map({True: "true", False: "false"}),
                "labelled_at": at,
                "received_at": at,
            }
        )
        FeedbackLog(self.project, "returned_api").append(labels)

    def look(self, cursor: str | None) -> Any:
        """One evaluation of the retraining sensor."""
        name = f"shop__{WATCHED}__retraining"
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            repository_def=self.repository,
            sensor_name=name,
        )
        return self.repository.get_sensor_def(name).evaluate_tick(context)

    @cached_property
    def repository(self) -> dg.RepositoryDefinition:
        return la.build_definitions(self.project).get_repository_def()


def watching_in(folder: Path, monitors: str = DAILY, more: str = "") -> Watching:
    found = Watching(project_in(folder, monitors, more))
    write_reference(found.project)
    return found


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    return watching_in(tmp_path)


def test_a_backfill_judges_the_rows_of_each_partition_under_its_key(watching: Watching) -> None:
    watching.log(1)
    watching.log(2, shift=3)
    watching.log(3)
    assert watching.run(day(1), day(3)).success
    said = [
        (key, one[JUDGEMENT].value, one["dagster/row_count"].value)
        for key, one in watching.events()
    ]
    assert [(key, judged["window"], bool(judged["causes"]), n) for key, judged, n in said] == [
        (day(1), day(1), False, 100),
        (day(2), day(2), True, 100),
        (day(3), day(3), False, 100),
    ]
    assert said[1][1]["until"] == "2024-07-03T00:00:00+00:00"
    assert list(dict.fromkeys(row["window"] for row in history(watching.project, WATCHED))) == [
        day(1),
        day(2),
        day(3),
    ]


def test_late_labels_are_judged_under_the_partition_of_their_rows(watching: Watching) -> None:
    first = watching.log(1)
    assert watching.run(day(1)).success
    watching.log(2)
    watching.sent(first, right=False)
    result = watching.run(day(2))
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "performance"]
    assert not check.passed
    assert f"failed in 1 of 2 partitions ({day(1)})" in (check.description or "")
    assert [key for key, _ in watching.events()] == [day(1), day(1), day(2)]
    assert (
        watching.events()[1][1]["judged_again"].value
        == "judged again with 100 labels; with 0 before"
    )
    past = {
        one.key: (one.labelled, one.revision) for one in past_windows(watching.project, WATCHED)
    }
    assert past == {day(1): (100, 2), day(2): (0, 1)}
    # the same labels once more change nothing
    watching.run(day(2))
    assert [key for key, _ in watching.events()][3:] == [day(2)]


def test_a_window_whose_rows_the_log_no_longer_holds_stays_as_it_was_found(
    watching: Watching,
) -> None:
    watching.sent(watching.log(1, shift=3))
    watching.log(2)
    watching.run(day(1), day(2))
    before = [row for row in history(watching.project, WATCHED) if row["window"] == day(1)]
    log = PredictionLog(watching.project, "returned_api")
    store = TableStore(watching.project)
    for key in store.partitions(log.asset):
        if key < "20240702":
            store.delete(log.asset, key)
    assert log.begins() is not None
    # neither a backfill nor late labels, of which there are none any more
    assert watching.run(day(1), day(2)).success
    assert [key for key, _ in watching.events()] == [day(1), day(2), day(2)]
    alone = watching.run(day(1))
    assert not alone.success
    (failure,) = [event for event in alone.all_events if event.is_step_failure]
    said = str(failure.step_failure_data.user_failure_data)
    assert f"no longer holds the rows of {day(1)}: what was found when it did stays" in said
    after = [row for row in history(watching.project, WATCHED) if row["window"] == day(1)]
    assert after == before


def test_a_breach_is_answered_once_however_often_its_partition_is_judged(
    watching: Watching,
) -> None:
    watching.log(1)
    watching.log(2, shift=3)
    watching.run(day(1), day(2))
    tick = watching.look(None)
    (request,) = tick.run_requests
    assert request.tags["liminal/window"] == day(2)
    # the model's rows are cut by months: the last that was complete on that day
    assert request.tags["liminal/until"] == "2024-06"
    # a new version is in use by now; the partition is still that of the old one
    watching.log(3, version=2)
    write_reference(watching.project, 2)
    watching.run(day(2))
    again = watching.look(tick.cursor)
    assert not again.run_requests
    assert "already answered" in again.skip_message
    watching.run(day(1), day(2))
    assert not watching.look(again.cursor).run_requests


def test_a_schedule_judges_the_newest_partition_that_is_over(tmp_path: Path) -> None:
    definitions = la.build_definitions(project_in(tmp_path, DAILY, SCHEDULE))
    moment = datetime(2024, 7, 15, 0, 10, tzinfo=timezone.utc)
    requests = due(definitions, "shop__daily", moment) or []
    found = {
        key: r.partition_key for r in requests if isinstance(r, dg.RunRequest) for key in names(r)
    }
    assert found[WATCHED] == day(14)
    assert found["orders"] == "2024-06"
    assert found["returned_api"] == "2024-06"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", [day(14)]),
        ("    window: 3d\n", [day(12), day(13), day(14)]),
        ("    window: 36h\n", [day(13), day(14)]),
    ],
)
def test_dagster_is_told_which_labels_a_window_covers(
    tmp_path: Path, more: str, expected: list[str]
) -> None:
    labels = "labels: {from: truths, key: order_id, column: returned}"
    watch = DAILY.replace("labels: {from: feedback, within: 30d}", labels) + more
    cut = "{every: day, start: '2024-01-01'}"
    truths = f"  - {{dataset: truths, fetch: {{file: t.parquet}}, partitions: {cut}}}\n"
    text = YAML.format(monitors=watch, more="").replace("features:\n", f"{truths}features:\n", 1)
    (tmp_path / "liminal.yml").write_text(text)
    graph = la.build_definitions(tmp_path).resolve_asset_graph()
    child, parent = (dg.AssetKey(["shop", name]) for name in (WATCHED, "truths"))
    mapped = graph.get_parent_partition_keys_for_child(day(14), parent, child)
    assert sorted(mapped.partitions_subset.get_partition_keys()) == expected


def test_a_partition_that_is_not_over_is_no_partition_yet(tmp_path: Path) -> None:
    ahead = datetime.now(timezone.utc) + timedelta(days=3)
    watching = watching_in(
        tmp_path, DAILY.replace("2024-07-01", f"{ahead - timedelta(days=9):%Y-%m-%d}")
    )
    partitions = watching.asset.partitions_def
    assert partitions is not None
    assert f"{ahead:%Y-%m-%d}" not in partitions.get_partition_keys()
    assert len(partitions.get_partition_keys()) == 6


def test_a_monitor_of_a_teams_own_rows_has_partitions_as_in_yaml() -> None:
    asked: list[str | None] = []

    def given(partition: str | None) -> pd.DataFrame:
        asked.append(partition)
        return rows(seed=3)

    watch = la.monitor_asset(
        monitor="churn_watch",
        deployment="churn_api",
        project="shop",
        drift={"threshold": 0.4},
        partitions={"every": "day", "start": "2024-07-01"},
        rows=given,
        reference=lambda _: rows(seed=4),
    )
    result = dg.materialize([watch], partition_key=day(14))
    (event,) = result.asset_materializations_for_node("shop__churn_watch")
    assert (event.partition, asked) == (day(14), [day(14)])
    assert event.metadata["until"].value == datetime(2024, 7, 15, tzinfo=timezone.utc).timestamp()
    with pytest.raises(ValueError, match="cut by time"):
        la.monitor_asset(
            monitor="w", deployment="d", drift={}, partitions={"values": ["EU"]}, rows=given
        )
