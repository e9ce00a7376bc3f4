"""One stream, twice: lived through with Dagster and MLflow, and replayed. The decisions agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import liminal_assets as la
from liminal_assets.factories.deployments import deployment_assets
from liminal_assets.factories.models import UNTIL_TAG, model_assets
from liminal_assets.factories.monitors import monitor_asset
from liminal_assets.factories.sensors import _tags, retraining_sensor
from liminal_assets.language.loading import Project
from liminal_assets.steps.performance import labelled_count
from liminal_assets.steps.replay.results import Tick
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.replaying import MONTHS, WATCH, project_in, write_world

FIRST = 2
"""Months that the first version learns from."""
POLICY = (
    "{model: returned, when: [{breach: [performance]}, {fresh: 3}, {labels: 700}], "
    "cooldown: 40d, at_most: 3 per 6 months, min_rows: 350, "
    "rollback: {below: validation, by: 0.1, windows: 1}}"
)
"""Every reason, everything that makes one wait, and a rollback."""


@dataclass
class Life:
    """The project as it is lived through, month by month."""

    project: Project
    instance: dg.DagsterInstance
    cursor: str | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        project = self.project
        self.watch = project.block("returned_watch")
        self.model = model_assets(project.block("returned"), project=project)
        self.rest = [
            *deployment_assets(project.block("returned_scores"), project=project),
            monitor_asset(self.watch, project=project),
        ]
        self.sensor = retraining_sensor(
            self.watch,
            project=project,
            target=dg.AssetSelection.assets(*(asset.key for asset in self.model)),
        )
        self.definitions = dg.Definitions(assets=[*self.model, *self.rest], sensors=[self.sensor])
        self.repository = self.definitions.get_repository_def()

    def train(self, tags: Mapping[str, str]) -> None:
        """A run of the model's assets, which the gate may end."""
        dg.materialize(self.model, instance=self.instance, tags=dict(tags), raise_on_error=False)

    def make(self, name: str, partition: str) -> None:
        """A run of the scores' or the monitor's asset."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        key = dg.AssetKey([self.project.name, name])
        done = job.execute_in_process(
            instance=self.instance, partition_key=partition, asset_selection=[key]
        )
        assert done.success

    def month(self, key: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """A month goes by; what the sensor says until it has nothing more to do, and what it then
        remembers."""
        write_world(self.project, key, hindsight=False)
        self.make("returned_scores", key)
        for earlier in [*self.counts, key]:
            count = self.labelled(earlier)
            if count != self.counts.get(earlier):
                self.counts[earlier] = count
                self.make("returned_watch", earlier)
        while True:
            context = dg.build_sensor_context(
                instance=self.instance, cursor=self.cursor, repository_def=self.repository
            )
            said = self.sensor.evaluate_tick(context)
            self.cursor = said.cursor
            yield said, json.loads(said.cursor or "{}")["policy"]
            for request in said.run_requests or ():
                self.train(request.tags)
            if not said.run_requests and "does worse than asked" not in (said.skip_message or ""):
                return

    def labelled(self, key: str) -> int:
        store = TableStore(self.project)
        return labelled_count(
            self.project,
            self.watch,
            store.read("returned_scores", [key]),
            store.read("outcomes"),
        )


@pytest.mark.slow
def test_the_sensor_and_the_replay_decide_alike(
    tmp_path: Path, with_mlflow: Callable[[Path], Path]
) -> None:
    watch = WATCH.replace("retrain: {model: returned}", f"retrain: {POLICY}")
    project = project_in(with_mlflow(tmp_path / "live"), watch)
    with dg.DagsterInstance.ephemeral() as instance:
        life = Life(project, instance)
        write_world(project, MONTHS[FIRST - 1], hindsight=False)
        life.train({UNTIL_TAG: MONTHS[FIRST - 1]})
        lived = [list(life.month(key)) for key in MONTHS[FIRST:]]

    past = project_in(tmp_path / "past", watch)
    write_world(past)
    found = la.steps.backtest(past, "returned_watch", windows=(MONTHS[FIRST], MONTHS[-1]))
    replayed = found.project.steps
    assert [step.window.key for step in replayed] == list(MONTHS[FIRST:])
    for month, step in zip(lived, replayed, strict=True):
        assert len(month) == len(step.ticks), step.window.key
        for (said, memory), tick in zip(month, step.ticks, strict=True):
            same(past, said, memory, tick)
    same_versions(project, found.project)
    outcomes = {action.outcome for step in replayed for action in step.actions}
    assert outcomes == {"promoted", "rejected", "taken back"}, "a stream in which things happen"


def same(project: Project, said: Any, memory: Mapping[str, Any], tick: Tick) -> None:
    """What the sensor said in a tick is what the replay decided: cause, evidence, window and all
    that either remembers."""
    decision = tick.decision
    assert memory == json.loads(json.dumps(decision.state.as_dict()))
    if decision.retraining is None:
        assert (said.run_requests or [], said.skip_message) == ([], decision.reason)
        return
    (request,) = said.run_requests
    assert request.run_key == f"returned:{decision.retraining.key}"
    ours = {key: value for key, value in request.tags.items() if key.startswith("liminal/")}
    watch: Any = project.block("returned_watch")
    assert ours == _tags(project, watch, "returned", decision.retraining)


def same_versions(project: Project, replay: Any) -> None:
    """The same versions took over, were refused and were taken back."""
    first, *decided = Journal(project, "returned").decisions()
    assert (first.action, first.version) == ("promote", 1)
    names = {"promoted": "promote", "rejected": "reject", "taken back": "rollback"}
    assert [(one.action, one.version) for one in decided] == [
        (names[action.outcome], action.version) for step in replay.steps for action in step.actions
    ]
