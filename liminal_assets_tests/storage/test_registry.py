"""The registry: aliases move atomically, versions are checked, history answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.storage import journal
from liminal_assets.storage.journal import Journal
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tracking import import_mlflow, tracking_client, tracking_uri
from liminal_assets_tests.forking import exit_code_of


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    import_mlflow().sklearn.save_model(
        model, str(folder), pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
    )
    return folder


@pytest.fixture
def registry(tmp_path: Path, with_mlflow: Callable[[Path], Path]) -> ModelRegistry:
    return ModelRegistry(Project.of("shop", with_mlflow(tmp_path)))


@pytest.fixture
def add(registry: ModelRegistry, model_folder: Path) -> Callable[[], ModelVersion]:
    client = tracking_client(registry.project)
    experiment = client.create_experiment("shop.returned")

    def make() -> ModelVersion:
        run = client.create_run(experiment)
        client.log_metric(run.info.run_id, "roc_auc", 0.75)
        version = registry.register(
            "returned", str(model_folder), run_id=run.info.run_id, tags={"made": "here"}
        )
        registry.challenge(version)
        return version

    return make


def test_before_the_first_training_there_is_nothing(registry: ModelRegistry) -> None:
    assert registry.champion("returned") is None
    assert registry.challenger("returned") is None
    assert registry.versions("returned") == []
    assert registry.history("returned") == []
    with pytest.raises(la.StepError, match="returned has no version 1") as raised:
        registry.version("returned", 1)
    assert raised.value.hint == "train it first"


def test_a_registered_version_knows_its_lineage(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    add()
    version = registry.challenger("returned")
    assert version is not None
    assert (version.name, version.model, version.version) == ("shop.returned", "returned", 1)
    assert version.metrics == {"roc_auc": 0.75}
    assert version.tags["made"] == "here"
    assert version.digest
    assert version.validated is None
    assert registry.champion("returned") is None


def test_the_newest_candidate_is_the_challenger(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    add()
    add()
    challenger = registry.challenger("returned")
    assert challenger is not None
    assert challenger.version == 2
    registry.promote("returned", 1)
    found = [(version.version, version.aliases) for version in registry.versions("returned")]
    assert found == [(1, ("champion",)), (2, ("challenger",))]


def test_promotion_moves_the_champion_and_keeps_why(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    add()
    promoted = registry.promote("returned", 1, "better", {"roc_auc": 0.75}, "tester")
    assert registry.champion("returned") == promoted
    (decision,) = registry.history("returned")
    assert (decision.action, decision.version, decision.previous) == ("promote", 1, None)
    assert (decision.reason, decision.actor) == ("better", "tester")
    assert decision.evidence == {"roc_auc": 0.75}


def test_promoting_the_champion_again_is_no_decision(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    add()
    registry.promote("returned", 1)
    registry.promote("returned", "1")
    assert len(registry.history("returned")) == 1


def test_rollback_goes_back_one_champion_at_a_time(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    for _ in range(3):
        registry.promote("returned", add())
    assert registry.rollback("returned").version == 2
    assert registry.rollback("returned").version == 1
    with pytest.raises(la.StepError, match="no earlier champion"):
        registry.rollback("returned")
    assert registry.rollback("returned", to=3, reason="mended").version == 3


def test_history_answers_what_was_in_use_at_a_moment(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    registry.promote("returned", add())
    registry.promote("returned", add())
    first, second = registry.history("returned")
    champions = [
        registry.champion_at("returned", moment)
        for moment in (first.at - timedelta(seconds=1), first.at, second.at)
    ]
    assert [champion and champion.version for champion in champions] == [None, 1, 2]


def test_a_rejected_candidate_is_kept_and_tagged_and_the_champion_stays(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    registry.promote("returned", add())
    candidate = add()
    registry.reject(candidate, "roc_auc 0.6 is below 0.7", evidence={"roc_auc": 0.6})
    rejected = registry.version("returned", 2)
    assert rejected.validated is False
    assert rejected.tags["liminal.validation.reasons"] == "roc_auc 0.6 is below 0.7"
    champion = registry.champion("returned")
    assert champion is not None
    assert champion.version == 1
    last = registry.history("returned")[-1]
    assert (last.action, last.version, last.champion) == ("reject", 2, 1)


def test_an_alias_moved_by_something_else_is_noted_in_the_history(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    registry.promote("returned", add())
    add()
    tracking_client(registry.project).set_registered_model_alias("shop.returned", "champion", "2")
    assert [decision.action for decision in registry.history("returned")] == ["promote", "outside"]
    assert registry.rollback("returned").version == 1


def test_a_version_loads_as_the_model_that_was_registered(
    registry: ModelRegistry, add: Callable[[], ModelVersion]
) -> None:
    assert registry.load(add()).predict([[2.0]]) == pytest.approx([4.0])


def test_changed_files_are_not_loaded(
    registry: ModelRegistry, add: Callable[[], ModelVersion], model_folder: Path
) -> None:
    version = add()
    extra = model_folder / "extra.txt"
    extra.write_text("changed")
    try:
        with pytest.raises(la.StepError, match="aren't those that were registered"):
            registry.load(version)
    finally:
        extra.unlink()


def killed(moment: str, folder: str) -> None:
    """A promotion whose process dies before or after one of its writes."""
    from mlflow import MlflowClient

    registry = ModelRegistry(Project.of("shop", folder))
    at, when = moment.split()
    calls = count(1)

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            fatal = next(calls) == int(at)
            if fatal and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    # writes in order: 1 the intention, 2 the alias, 3 the decision
    for owner, name in ((journal, "_write_local"), (MlflowClient, "set_registered_model_alias")):
        setattr(owner, name, dying(getattr(owner, name)))
    registry.promote("returned", 2, "killed", {"roc_auc": 0.8})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "champion"),
    [
        ("1 before", 1),
        ("1 after", 1),
        ("2 before", 1),
        ("2 after", 2),
        ("3 before", 2),
        ("3 after", 2),
    ],
    ids=lambda value: str(value).replace(" ", "_"),
)
def test_kill_at_any_moment_of_a_promotion_leaves_old_or_new(
    moment: str,
    champion: int,
    registry: ModelRegistry,
    add: Callable[[], ModelVersion],
    tmp_path: Path,
    processes: ForkServerContext,
) -> None:
    registry.promote("returned", add())
    add()
    assert exit_code_of(processes, killed, moment, str(tmp_path)) == -signal.SIGKILL
    found = registry.champion("returned")
    assert found is not None
    assert found.version == champion
    history = registry.history("returned")
    assert [decision.champion for decision in history] == list(range(1, champion + 1))
    assert history[-1].evidence == ({"roc_auc": 0.8} if champion == 2 else {})
    promoted = registry.promote("returned", 2, "again")
    assert promoted.version == 2
    assert [decision.champion for decision in registry.history("returned")] == [1, 2]


@pytest.mark.slow
def test_the_database_is_made_once_however_many_processes_ask(tmp_path: Path) -> None:
    code = (
        "import sys; from liminal_assets.language.loading import Project;"
        "from liminal_assets.storage.tracking import tracking_client;"
        "client = tracking_client(Project.of('shop', sys.argv[1]));"
        "print(len(client.search_experiments()))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120) for process in processes]
    assert answers == [("1\n", "")] * 3
    assert Journal(Project.of("shop", tmp_path), "returned").decisions() == []


def test_a_relative_database_starts_at_the_projects_folder(tmp_path: Path) -> None:
    project = Project.of("shop", tmp_path, storage={"mlflow": "sqlite:///runs.db"})
    assert tracking_uri(project) == f"sqlite:///{tmp_path}/runs.db"


def test_a_store_that_cannot_be_reached_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path}/file/runs.db"
    project = Project.of("shop", tmp_path, storage={"mlflow": uri})
    with pytest.raises(la.StepError, match="cannot"):
        ModelRegistry(project).champion("returned")
