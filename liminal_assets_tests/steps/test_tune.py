"""Tune: the search finds, stops early, survives interruptions, and starts anew when it must."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import liminal_assets as la
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.metrics import metric_of
from liminal_assets.steps.tune import Search, search, study_name
from liminal_assets_tests.forking import exit_code_of

SPACE = {"C": {"low": 0.01, "high": 10.0, "log": True}}


def model_of(**tune: Any) -> Model:
    return Model.model_validate(
        {
            "model": "m",
            "features": "f",
            "target": "y",
            "estimator": "sklearn.linear_model.LogisticRegression",
            "tune": {"trials": 6, "metric": "roc_auc", "space": SPACE, **tune},
        }
    )


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all searches of a module: Optuna takes a second to make one."""
    return f"sqlite:///{tmp_path_factory.mktemp('optuna')}/studies.db"


@pytest.fixture
def project(tmp_path: Path, studies: str) -> Project:
    # a name of its own per test, so that searches don't meet
    return Project.of(f"p{abs(hash(tmp_path))}", tmp_path, check=False, storage={"tuning": studies})


@pytest.fixture
def run(project: Project) -> Callable[..., Search]:
    def start(scores: Any, metric: str = "roc_auc", version: str = "v1", **tune: Any) -> Search:
        return search(project, model_of(**tune), metric_of(metric), scores, data_version=version)

    return start


def near_one(params: Mapping[str, Any]) -> Iterator[float]:
    """Best at C = 1."""
    for fold in range(3):
        yield 1.0 - abs(np.log10(params["C"])) / 10 - fold * 0.001


def test_the_best_parameters_are_found(run: Callable[..., Search]) -> None:
    found = run(near_one, trials=20)
    assert 0.3 < found.params["C"] < 3
    assert found.value == max(t.value for t in found.trials if t.state == "complete")
    assert found.best(1).rows[0]["C"] == found.params["C"]


def test_a_metric_that_is_better_low_is_minimised(run: Callable[..., Search]) -> None:
    found = run(lambda params: iter([params["C"]]), metric="log_loss")
    assert found.direction == "minimize"
    assert found.params["C"] == min(trial.params["C"] for trial in found.trials)


def test_the_direction_can_be_said(run: Callable[..., Search]) -> None:
    found = run(lambda params: iter([params["C"]]), metric="log_loss", direction="maximize")
    assert found.params["C"] == max(trial.params["C"] for trial in found.trials)


def test_equal_seeds_search_alike_and_others_differently(run: Callable[..., Search]) -> None:
    one, same, other = (run(near_one, version=v, seed=s) for v, s in (("a", 0), ("b", 0), ("c", 1)))
    assert [t.params for t in one.trials] == [t.params for t in same.trials]
    assert [t.params for t in one.trials] != [t.params for t in other.trials]


def test_a_finished_search_is_not_run_again(run: Callable[..., Search]) -> None:
    first = run(near_one)
    again = run(lambda params: pytest.fail("a trial ran"))
    assert again.params == first.params
    assert again.resumed == 6


def test_an_interrupted_search_finds_what_one_without_it_finds(run: Callable[..., Search]) -> None:
    straight = run(near_one, version="straight")
    calls = 0

    def interrupted(params: Mapping[str, Any]) -> Iterator[float]:
        nonlocal calls
        calls += 1
        for value in near_one(params):
            if calls == 4:
                raise KeyboardInterrupt
            yield value

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, version="interrupted")
    resumed = run(near_one, version="interrupted")
    assert resumed.resumed == 3
    complete = [t.params for t in resumed.trials if t.state != "failed"]
    assert complete == [t.params for t in straight.trials]
    assert resumed.params == straight.params


def test_more_trials_go_on_with_the_same_search(run: Callable[..., Search]) -> None:
    run(near_one, trials=4)
    more = run(near_one, trials=7)
    assert (more.resumed, len(more.trials)) == (4, 7)


@pytest.mark.parametrize(
    "change",
    [
        {"tune": {"space": {"C": {"low": 0.1, "high": 10.0, "log": True}}}},
        {"tune": {"metric": "f1"}},
        {"params": {"solver": "saga"}},
        {"target": "z"},
        {"prepare": {"numeric": {"scale": "standard"}}},
        {"split": {"seed": 1}},
    ],
    ids=str,
)
def test_a_changed_search_starts_anew(project: Project, change: dict[str, Any]) -> None:
    model = model_of()
    said = model.model_dump(by_alias=True)
    said = {**said, **change, "tune": {**said["tune"], **change.get("tune", {})}}
    changed = Model.model_validate(said)
    assert study_name(project, changed, "v1") != study_name(project, model, "v1")


def test_changed_rows_and_code_start_anew_and_a_description_does_not(project: Project) -> None:
    model = Model.model_validate(
        {**model_of().model_dump(by_alias=True), "estimator": None, "python": "own:build"}
    )
    (project.root / "own.py").write_text("def build(C): ...")
    name = study_name(project, model, "v1")
    assert study_name(project, model, "v2") != name
    assert study_name(project, model.model_copy(update={"description": "new"}), "v1") == name
    (project.root / "own.py").write_text("def build(C): return 1")
    assert study_name(project, model, "v1") != name


def test_bad_trials_are_stopped_early(run: Callable[..., Search]) -> None:
    folds: list[int] = []

    def scores(params: Mapping[str, Any]) -> Iterator[float]:
        folds.append(0)
        good = len(folds) <= 5
        for _ in range(3):
            folds[-1] += 1
            yield 0.9 if good else 0.1

    found = run(scores, trials=8)
    assert [trial.state for trial in found.trials] == ["complete"] * 5 + ["pruned"] * 3
    assert folds == [3] * 5 + [1] * 3


def test_pruning_can_be_switched_off(run: Callable[..., Search]) -> None:
    values = iter([0.9] * 15 + [0.1] * 9)
    found = run(lambda params: (next(values) for _ in range(3)), trials=8, prune=False)
    assert {trial.state for trial in found.trials} == {"complete"}


def test_a_trial_that_fails_does_not_end_the_search(run: Callable[..., Search]) -> None:
    def scores(params: Mapping[str, Any]) -> Iterator[float]:
        if params["C"] > 1:
            raise ValueError("too strong")
        yield params["C"]

    found = run(scores, trials=8, prune=False)
    assert {trial.state for trial in found.trials} == {"complete", "failed"}
    assert found.params["C"] <= 1


def test_a_search_in_which_every_trial_fails_says_why_and_gives_up(
    run: Callable[..., Search],
) -> None:
    tried = []

    def scores(params: Mapping[str, Any]) -> Iterator[float]:
        tried.append(params)
        raise ValueError("the estimator says no")
        yield

    with pytest.raises(la.StepError, match=r"no trial .* succeeded: ValueError: the estimator"):
        run(scores, trials=50)
    assert len(tried) == 5


def test_a_timeout_ends_the_search(run: Callable[..., Search]) -> None:
    found = run(near_one, trials=500, timeout=timedelta(milliseconds=150))
    assert 1 <= len(found.trials) < 100


def test_the_default_database_lies_in_the_state_folder(tmp_path: Path) -> None:
    project = Project.of("p", tmp_path, check=False)
    search(project, model_of(trials=1), metric_of("roc_auc"), near_one, data_version="v")
    assert (project.state / "optuna" / "studies.db").is_file()


def test_choices_and_the_preparation_are_searched_too(project: Project) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"x": random.normal(size=120), "z": random.normal(size=120) * 1000})
    rows["y"] = rows["x"] > 0
    trained = la.steps.train(
        rows,
        target="y",
        estimator="sklearn.neighbors.KNeighborsClassifier",
        tune={
            "trials": 8,
            "metric": "accuracy",
            "space": {
                "prepare__numeric__scale": {"choices": ["none", "standard"]},
                "n_neighbors": {"low": 1, "high": 9, "step": 2},
                "weights": {"choices": ["uniform", "distance"]},
            },
        },
        project=project,
    )
    assert trained.search is not None
    assert trained.params["prepare__numeric__scale"] == "standard"
    assert trained.params["n_neighbors"] % 2 == 1
    assert trained.pipeline["prepare"].named_transformers_["numeric"]["scale"]


def killed(folder: str) -> None:
    """A search whose process dies in its third trial."""
    calls = count(1)

    def scores(params: Mapping[str, Any]) -> Iterator[float]:
        third = next(calls) == 3
        for value in near_one(params):
            if third:
                os.kill(os.getpid(), signal.SIGKILL)
            yield value

    project = Project.of("p", folder, check=False)
    search(project, model_of(), metric_of("roc_auc"), scores, data_version="v")


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_stopped(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    assert exit_code_of(processes, killed, str(tmp_path)) == -signal.SIGKILL
    project = Project.of("p", tmp_path, check=False)
    found = search(project, model_of(), metric_of("roc_auc"), near_one, data_version="v")
    assert found.resumed == 2
    assert sum(trial.state != "failed" for trial in found.trials) == 6
