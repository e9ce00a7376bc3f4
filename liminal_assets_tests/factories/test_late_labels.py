"""Labels that come windows later: what was judged without them is judged again, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.factories.monitors import JUDGEMENT, monitor_asset
from liminal_assets.language.loading import Project
from liminal_assets.steps import late, windows
from liminal_assets.steps.history import history, past_windows
from liminal_assets.storage.feedback import FeedbackLog
from liminal_assets.storage.ids import new_id
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.watching import (
    WATCH,
    project_in,
    served,
    write_labels,
    write_reference,
    write_scores,
)

WATCHED = "returned_watch"
WEEK = timedelta(days=7)
FIRST = datetime(2024, 7, 7, 12, tzinfo=timezone.utc)
SENT = """
  - monitor: returned_watch
    deployment: returned_api
    window: 7d
    min_rows: 50
    performance: {metric: roc_auc, at_least: 0.6, labels: {from: feedback, within: 30d}}
"""


class Watching:
    """A served monitor whose runs are at moments of the test's choosing."""

    def __init__(self, project: Project, clock: pytest.MonkeyPatch) -> None:
        self.project, self._clock = project, clock
        self.instance = dg.DagsterInstance.ephemeral()
        self.asset = monitor_asset(project.block(WATCHED), project=project)  # type: ignore[arg-type]

    def run(self, now: datetime) -> dict[str, dg.AssetCheckEvaluation]:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return now

        for module in (late, windows):
            self._clock.setattr(module, "datetime", Clock)
        result = dg.materialize([self.asset], instance=self.instance)
        assert result.success
        return {found.check_name: found for found in result.get_asset_check_evaluations()}

    def events(self) -> list[Mapping[str, Any]]:
        records = self.instance.fetch_materializations(self.asset.key, limit=50).records
        return [
            record.asset_materialization.metadata
            for record in reversed(records)
            if record.asset_materialization
        ]

    def look(self, cursor: str | None, asked: list[Any]) -> str | None:
        """One evaluation of the retraining sensor."""
        repository = la.build_definitions(self.project).get_repository_def()
        name = f"shop__{WATCHED}__retraining"
        context = dg.build_sensor_context(
            instance=self.instance, cursor=cursor, repository_def=repository, sensor_name=name
        )
        tick = repository.get_sensor_def(name).evaluate_tick(context)
        asked += tick.run_requests or []
        return tick.cursor

    def windows(self) -> dict[str, tuple[int, int]]:
        past = past_windows(self.project, WATCHED)
        return {window.key: (window.labelled, window.revision) for window in past}

    def logged(self, until: datetime, seed: int) -> pd.DataFrame:
        frame = served(100, until=until, days=6, version=1, seed=seed, start=1000 * seed)
        PredictionLog(self.project, "returned_api").append(frame)
        return frame

    def sent(self, frame: pd.DataFrame, at: datetime, *, right: bool = True) -> None:
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


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    project = project_in(tmp_path, SENT)
    write_reference(project)
    with pytest.MonkeyPatch.context() as clock:
        yield Watching(project, clock)


def test_labels_two_windows_late_are_judged_where_they_belong(watching: Watching) -> None:
    first = watching.logged(FIRST, 1)
    found = watching.run(FIRST)["performance"]
    assert found.passed
    assert "0 of 100 rows (0%) is known, fewer than 50" in (found.description or "")
    watching.logged(FIRST + WEEK, 2)
    watching.run(FIRST + WEEK)
    watching.logged(FIRST + 2 * WEEK, 3)
    # two windows later: wrong answers, twice, some corrected, some of nobody
    at = FIRST + 2 * WEEK - timedelta(hours=3)
    for _ in range(2):
        watching.sent(first.head(80), at, right=False)
    watching.sent(first.head(10), at + timedelta(hours=1))
    watching.sent(first.head(5).assign(prediction_id=[new_id() for _ in range(5)]), at)
    found = watching.run(FIRST + 2 * WEEK)["performance"]
    assert not found.passed
    assert "failed in 1 of 2 partitions (2024-07-01..2024-07-08)" in (found.description or "")
    keys = ["2024-07-01..2024-07-08", "2024-07-08..2024-07-15", "2024-07-15..2024-07-22"]
    assert watching.windows() == {keys[0]: (80, 2), keys[1]: (0, 1), keys[2]: (0, 1)}
    rows = [row for row in history(watching.project, WATCHED) if row["window"] == keys[0]]
    assert len(rows) == 1
    assert rows[0]["breach"]
    assert rows[0]["first_judged_at"] < rows[0]["judged_at"]
    (decision,) = Journal(watching.project, WATCHED).decisions()
    assert decision.evidence["window"] == keys[0]
    said = watching.events()
    judged = [(one[JUDGEMENT].value["window"], one[JUDGEMENT].value["labelled"]) for one in said]
    assert judged == [(keys[0], 0), (keys[1], 0), (keys[0], 80), (keys[2], 0)]
    assert said[2]["judged_again"].value == "judged again with 80 labels; with 0 before"
    assert said[3]["unmatched_labels"].value == 5


def test_the_report_says_that_a_window_was_judged_again(watching: Watching) -> None:
    first = watching.logged(FIRST, 1)
    watching.run(FIRST)
    watching.sent(first, FIRST + timedelta(hours=1))
    watching.run(FIRST + timedelta(hours=2))
    page = Path(str(watching.events()[-1]["report"].value)).read_text()
    assert "<dt>judged again</dt><dd>once, as labels came; first" in page


def test_labels_of_earlier_windows_ask_for_a_retraining(tmp_path: Path) -> None:
    yaml = f"{SENT}    retrain: {{model: returned, when: {{labels: 150}}}}\n"
    project = project_in(tmp_path, yaml)
    write_reference(project)
    with pytest.MonkeyPatch.context() as clock:
        watching = Watching(project, clock)
        cursor = None
        asked = []
        for week in range(3):
            now = FIRST + week * WEEK
            frame = watching.logged(now, week + 1)
            watching.run(now)
            cursor = watching.look(cursor, asked)
            # the truth comes a week later
            watching.sent(frame, now + timedelta(hours=1))
    # 100 labels of the first window, then 100 of the second
    assert [run.tags["liminal/triggers"] for run in asked] == ["labels"]
    assert asked[0].tags["liminal/cause"].startswith("labels: 200 new ones")


def test_nothing_is_judged_again_without_other_labels(watching: Watching) -> None:
    first = watching.logged(FIRST, 1)
    watching.sent(first, FIRST - timedelta(hours=1))
    watching.run(FIRST)
    watching.logged(FIRST + WEEK, 2)
    watching.sent(first, FIRST + timedelta(days=1))
    watching.run(FIRST + WEEK)
    assert list(watching.windows().values()) == [(100, 1), (0, 1)]
    assert len(watching.events()) == 2
    # a correction alone is other labels, of as many rows
    watching.sent(first.head(60), FIRST + timedelta(days=2), right=False)
    watching.run(FIRST + WEEK + timedelta(hours=1))
    assert list(watching.windows().values()) == [(100, 2), (0, 1)]


def test_windows_before_the_horizon_stay_as_they_are(watching: Watching) -> None:
    first = watching.logged(FIRST, 1)
    watching.run(FIRST)
    later = FIRST + timedelta(days=35)
    watching.logged(later, 2)
    watching.sent(first, later - timedelta(days=1))
    watching.run(later)
    assert list(watching.windows().values()) == [(0, 1), (0, 1)]


def test_the_same_model_version_is_judged_again(watching: Watching) -> None:
    first = watching.logged(FIRST, 1)
    watching.run(FIRST)
    # meanwhile another version is in use, which answered a little in the first window
    write_reference(watching.project, 2)
    Journal(watching.project, "returned_api").append(
        "deploy", version=2, champion=2, reason="", actor="test", evidence={}
    )
    few = served(5, until=FIRST, days=1, version=2, seed=9)
    PredictionLog(watching.project, "returned_api").append(few)
    watching.sent(first, FIRST + timedelta(days=1))
    watching.logged(FIRST + WEEK, 2)
    watching.run(FIRST + WEEK)
    past = past_windows(watching.project, WATCHED)[0]
    assert (past.model_version, past.labelled) == ("1", 100)


def test_a_window_that_can_not_be_judged_again_stops_nothing(watching: Watching) -> None:
    first = watching.logged(FIRST, 1)
    watching.run(FIRST)
    watching.sent(first, FIRST + timedelta(days=1))
    TableStore(watching.project).delete("returned__reference", "1")
    write_reference(watching.project, 2)
    frame = served(100, until=FIRST + WEEK, days=6, version=2, seed=5)
    PredictionLog(watching.project, "returned_api").append(frame)
    watching.run(FIRST + WEEK)
    assert len(watching.windows()) == 2


def test_partitions_of_scores_are_judged_again_when_the_dataset_has_their_truth(
    tmp_path: Path,
) -> None:
    project = project_in(tmp_path, WATCH)
    write_reference(project)
    asset = monitor_asset(project.block(WATCHED), project=project)  # type: ignore[arg-type]
    instance = dg.DagsterInstance.ephemeral()
    july = write_scores(project, "2024-07", seed=1)
    dg.materialize([asset], instance=instance, partition_key="2024-07")
    august = write_scores(project, "2024-08", seed=2, start=1000)
    write_labels(project, pd.concat([july.head(300), august.head(40)]), right=0.2)
    result = dg.materialize([asset], instance=instance, partition_key="2024-08")
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}["performance"]
    assert not found.passed
    assert "failed in 1 of 2 partitions (2024-07)" in (found.description or "")
    records = instance.fetch_materializations(asset.key, limit=9).records
    assert [record.partition_key for record in reversed(records)] == [
        "2024-07",
        "2024-07",
        "2024-08",
    ]
    again = records[1].asset_materialization
    assert again is not None
    assert again.metadata["labelled_rows"].value == 300
