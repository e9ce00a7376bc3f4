"""Alias, server, feature specification and monitor baseline move together: a process that is killed
(SIGKILL) before any write of a promotion or a rollback leaves the old or the new, and the next one
ends it.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project, load_project
from liminal_assets.language.monitors import Monitor
from liminal_assets.serving.control import controller as controllers
from liminal_assets.serving.control.controller import Controller
from liminal_assets.serving.control.live import Follower
from liminal_assets.serving.control.plan import read_plan, version_of
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.registry import RegistrySource
from liminal_assets.serving.releases.release import read_release
from liminal_assets.steps.windows import watched_rows
from liminal_assets.storage import journal as journals
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.predictions import PredictionLog
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tables import TableStore
from liminal_assets_tests.champions import YAML, Shop, flights
from liminal_assets_tests.forking import exit_code_of

pytestmark = pytest.mark.slow

# a compiled form is asked hundreds of rows for its certificate, which no move depends on
WATCHED = f"""{YAML.replace("reload_every: 200ms", "reload_every: 200ms, form: pipeline")}
monitors:
  - {{monitor: late_watch, deployment: late_api, drift: {{threshold: 0.5}}}}
"""


def carry_out(project: Project, *, most: int = 60) -> None:
    """Does what the deployment's server does, with one worker, until nothing is left to do."""
    deployment = project.block("late_api")
    assert isinstance(deployment, Deployment)
    folders = ServingFolders.of(project.state, "late_api")
    source = RegistrySource(project, deployment, folders)
    controller = Controller(
        folders,
        source,
        Journal(project, "late_api"),
        deployment.rollout,
        workers=lambda: {os.getpid()},
        every=0.0,
        rehearsing=lambda folder: None,
    )
    worker = Follower(folders)
    for _ in range(most):
        plan = controller.tick()
        worker.refresh()
        if plan.decided is None and version_of(plan.stable) == source.newest():
            return
    pytest.fail(f"it doesn't end: {controller.plan}")


def writes() -> list[tuple[Any, str]]:
    """Everything by which a move changes something that outlives the process."""
    from mlflow import MlflowClient

    return [
        (journals, "_write_local"),
        (Journal, "_remove"),
        (MlflowClient, "set_registered_model_alias"),
        (RegistrySource, "prepare"),
        (controllers, "write_plan"),
    ]


def die_before(point: int) -> list[str]:
    """Kills this process before its ``point``-th write; the names of those until then."""
    done: list[str] = []

    def fatal(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            if len(done) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return write

    for owner, name in writes():
        setattr(owner, name, fatal(name, getattr(owner, name)))
    return done


def move(root: str, action: str, point: int, told: Any = None) -> None:
    """A promotion of version 2, or a rollback to version 1, and the server that follows it."""
    project = load_project(Path(root))
    registry = ModelRegistry(project)
    done = die_before(point)
    if action == "promote":
        registry.promote("late", 2, "better", {"roc_auc": 0.9}, "me")
    else:
        registry.rollback("late", 1, "complaints", {"calls": 7}, "me")
    carry_out(project)
    if told is not None:
        told.put(done)


def go_on(root: Path) -> None:
    """Whoever comes next: a reader of the history, and a server that starts again."""
    project = load_project(root)
    ModelRegistry(project).history("late")
    carry_out(project)


@pytest.fixture(scope="module")
def live(
    served_template: Path, tmp_path_factory: pytest.TempPathFactory, processes: ForkServerContext
) -> dict[str, Path]:
    """By what is to happen: version 1 answers and 2 is registered; 2 answers, after 1."""
    folder = tmp_path_factory.mktemp("live") / "promote"
    shutil.copytree(served_template, folder)
    (folder / "liminal.yml").write_text(WATCHED)
    shop = Shop(load_project(folder), tmp_path_factory.mktemp("models"))
    shop.register(promote=False)
    log = PredictionLog(shop.project, "late_api")
    for version in ("1", "2"):
        rows = flights(60, seed=int(version)).assign(
            prediction=1,
            probability=0.5,
            model_version=version,
            prediction_id=[f"{version}{number:031x}" for number in range(60)],
            sample_rate=1.0,
        )
        now = pd.Timestamp.now("UTC").as_unit("us")
        log.append(rows.drop(columns="late").assign(requested_at=now, scored_at=now))
    go_on(folder)
    after = folder.with_name("rollback")
    shutil.copytree(folder, after)
    assert exit_code_of(processes, move, str(after), "promote", 0) == 0
    return {"promote": folder, "rollback": after}


@dataclass(frozen=True)
class Found:
    """The version that each part of a project takes for the one in use."""

    alias: int
    server: int
    journal: int | None
    watched: int


def look(root: Path) -> Found:
    """What whoever looks now finds; each part is whole."""
    project = load_project(root)
    registry = ModelRegistry(project)
    champion = registry.champion("late")
    assert champion
    folders = ServingFolders.of(project.state, "late_api")
    plan = read_plan(folders.plan)
    # its files, its feature specification and the bins of its drift are one folder with digests
    release = read_release(folders.releases / str(plan.stable))
    assert release.version == version_of(plan.stable)
    assert release.digest == registry.version("late", release.version).digest
    last = Journal(project, "late_api").last()
    monitor = project.block("late_watch")
    assert isinstance(monitor, Monitor)
    watched = watched_rows(project, monitor)
    # answers are compared with the training rows of the version that gave them
    versions = set(watched.rows.to("pandas")["model_version"])
    assert versions == {watched.model_version}
    assert watched.reference_name == f"the training rows of v{watched.model_version}"
    own = TableStore(project).read("late__reference", [str(watched.model_version)])
    assert watched.reference
    assert watched.reference.to("arrow") == own.to("arrow")
    return Found(
        champion.version,
        int(release.version),
        last.champion if last else None,
        int(str(watched.model_version)),
    )


@pytest.mark.parametrize(("action", "old", "new"), [("promote", 1, 2), ("rollback", 2, 1)])
def test_killed_before_any_write_old_or_new_is_left_and_the_next_ends_it(
    action: str,
    old: int,
    new: int,
    live: dict[str, Path],
    processes: ForkServerContext,
    tmp_path: Path,
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(live[action], whole)
    told = processes.SimpleQueue()
    assert exit_code_of(processes, move, str(whole), action, 0, told) == 0
    steps = told.get()
    # the intention, the alias, the decision; the plan and what the journal learns of it
    assert steps[:4] == ["_write_local", "set_registered_model_alias", "_write_local", "_remove"]
    assert steps.count("write_plan") >= 3
    assert look(whole) == Found(new, new, new, new)
    for point in range(1, len(steps) + 1):
        root = tmp_path / str(point)
        shutil.copytree(live[action], root)
        assert exit_code_of(processes, move, str(root), action, point) == -signal.SIGKILL
        left = look(root)
        assert {left.alias, left.server, left.watched} <= {old, new}, steps[point - 1]
        assert left.journal in (old, new)
        # nothing is ahead of the alias, which is the decision
        if left.alias == old:
            assert left == Found(old, old, old, old)
        go_on(root)
        end = left.alias
        assert look(root) == Found(end, end, end, end), steps[point - 1]
        decided = ModelRegistry(load_project(root)).history("late")
        moves = [one for one in decided if one.reason in ("better", "complaints")]
        # each once, and with its evidence
        before = [] if action == "promote" else [2]
        assert [one.champion for one in moves] == before + [new] * (end == new)
        assert all(one.evidence for one in moves)
        shutil.rmtree(root)
