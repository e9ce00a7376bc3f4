"""Deploy: the real server, started, compared with the registry, stopped; the journal knows it."""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import liminal_assets as la
from liminal_assets.steps import deploy as steps
from liminal_assets.steps import proof
from liminal_assets.steps.deploy import Deployed, deploy
from liminal_assets.steps.packaging import pickle_warning
from liminal_assets.steps.score import Scorer
from liminal_assets.steps.trial import server_on_trial
from liminal_assets.storage.journal import Journal
from liminal_assets_tests.champions import INPUTS, Shop, flights


def processes() -> set[str]:
    """The model servers that run below this process."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as command, open(f"/proc/{pid}/stat") as stat:
                parent = stat.read().rpartition(")")[2].split()[1]
                if b"-m\0liminal_assets.serving" in command.read() and parent == str(os.getpid()):
                    found.add(pid)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_deployment_proves_that_its_server_answers_as_the_registry_does(served: Shop) -> None:
    champion = served.registry.champion("late")
    assert champion
    deployed = deploy(served.project, "late_api")
    row = served.store.read("late__reference", ["1"]).to("pandas").head(1)
    scores = Scorer(served.pipeline(champion))(row[INPUTS])
    answer = deployed.evidence["first_prediction"]
    assert answer["prediction"] == scores.prediction[0]
    assert answer["probability"] == scores.probabilities["probability"][0]
    assert deployed.evidence["latency_p50_ms"] > 0
    assert deployed.evidence["form"] == deployed.evidence["certificate"]["form"] == "onnxruntime"
    assert not processes()
    assert not (served.project.state / "data/shop/late_api__predictions").exists()

    journal = Journal(served.project, "late_api")
    (decision,) = journal.decisions()
    assert (decision.action, decision.champion, decision.previous) == ("deploy", 1, None)
    assert decision.evidence["mlflow_run"] == champion.run_id
    assert json.dumps(decision.evidence["first_prediction"])


def test_the_journal_of_a_deployment_says_which_version_was_live_when(served: Shop) -> None:
    block = served.project.spec.deployments[0]
    first = served.registry.champion("late")
    second = served.register()
    assert first
    for version in (first, first, second, second, first):
        steps.record_live(served.project, block, version, {})
    decisions = Journal(served.project, "late_api").decisions()
    assert [(one.previous, one.champion) for one in decisions] == [(None, 1), (1, 2), (2, 1)]


def _doubled(numbers: Any) -> Any:
    return numbers * 2


PICKLED = {
    "types of scikit-learn": (
        StandardScaler(),
        "could write all of it: train it again, or register it with",
    ),
    "a function of one's own": (
        FunctionTransformer(_doubled),
        r"isn't used for liminal_assets_tests\.steps\.test_deploy\._doubled: use types of",
    ),
    "an object of Python": (StandardScaler(), "can't write a part of it: use types of"),
}


@pytest.mark.parametrize("case", PICKLED)
def test_a_version_that_is_written_by_cloudpickle_is_warned_of(served: Shop, case: str) -> None:
    step, said = PICKLED[case]
    frame = flights(60)
    columns = make_column_transformer((step, ["distance"]))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame[INPUTS], frame["late"])
    if case == "an object of Python":
        pipeline.words_ = {"kept": 1}.keys()
    version = served.register(pipeline, promote=False)
    warning = pickle_warning(served.registry, version)
    assert warning
    assert re.search(rf"written by cloudpickle: whoever loads the file runs code.*{said}", warning)
    assert "'trust: skops_only' refuses such versions" in warning


def test_a_version_that_is_written_by_skops_is_not_warned_of(served: Shop) -> None:
    frame = flights(60)
    columns = make_column_transformer((StandardScaler(), ["distance"]))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame[INPUTS], frame["late"])
    version = served.register(pipeline, promote=False, serialization="skops")
    assert pickle_warning(served.registry, version) is None


def test_a_model_without_a_champion_is_not_deployed(served: Shop) -> None:
    other = la.Project.of(
        "shop",
        served.project.root,
        check=False,
        deployments=[{"deployment": "new_api", "model": "new", "serve": {}}],
    )
    with pytest.raises(la.StepError, match="new has no champion yet") as raised:
        deploy(other, "new_api")
    assert "new__champion" in str(raised.value.hint)


def test_an_unknown_deployment_is_named(served: Shop) -> None:
    with pytest.raises(la.StepError, match="no deployment is called 'late_apy'"):
        deploy(served.project, "late_apy")


@pytest.mark.slow
def test_a_server_that_answers_differently_is_not_deployed(
    served: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Scorer):
        def __call__(self, frame: Any) -> Any:
            scores = super().__call__(frame)
            scores.probabilities["probability"][:] += 1e-6
            return scores

    monkeypatch.setattr(proof, "Scorer", Wrong)
    with pytest.raises(la.StepError, match=r"the server's probability is .*, the registry's"):
        deploy(served.project, "late_api")
    assert Journal(served.project, "late_api").decisions() == []
    assert not processes()


@pytest.mark.slow
def test_a_server_that_does_not_get_ready_says_why(served: Shop) -> None:
    champion = served.registry.champion("late")
    assert champion
    block = served.project.spec.deployments[0]
    with open(champion.folder() / "MLmodel", "a") as file:
        file.write("# changed\n")
    try:
        with (
            pytest.raises(la.StepError, match="aren't those that were registered"),
            server_on_trial(served.project, block),
        ):
            pytest.fail("it must not get ready")
    finally:
        path = champion.folder() / "MLmodel"
        path.write_text(path.read_text().replace("# changed\n", ""))
    assert not processes()


class Recorder:
    """A target of a plugin."""

    def deploy(self, project: Any, deployment: Any, version: Any) -> Deployed:
        return Deployed(version, "https://elsewhere/predict", {"replicas": 2})


class Unloadable(EntryPoint):
    def load(self) -> Any:
        raise ImportError("no module named cloud")


@pytest.mark.parametrize("installed", ["works", "breaks"])
def test_other_targets_are_plugins(
    served: Shop, monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    kind = EntryPoint if installed == "works" else Unloadable
    point = kind("cloud", f"{__name__}:Recorder", "liminal_assets.targets")
    monkeypatch.setattr("liminal_assets.language.deployments.entry_points", lambda group: [point])
    changed = served.rewritten("serve: {port: 0,", "serve: {target: cloud, port: 0,")
    if installed == "breaks":
        with pytest.raises(la.StepError, match="'cloud' can't be loaded: ImportError"):
            deploy(changed.project, "late_api")
        return
    assert deploy(changed.project, "late_api").endpoint == "https://elsewhere/predict"
    (decision,) = Journal(served.project, "late_api").decisions()
    assert decision.evidence["replicas"] == 2


def test_an_unknown_target_is_a_mistake_at_its_line(served: Shop) -> None:
    with pytest.raises(la.InvalidProjectError) as raised:
        served.rewritten("serve: {port: 0,", "serve: {target: locel, port: 0,")
    (mistake,) = raised.value.diagnostics
    assert mistake.code == "unknown-target"
    assert mistake.hint == "did you mean 'local'?"
    assert mistake.location.line == 19


def test_a_plugin_may_have_no_more_than_deploy(
    served: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("cloud", f"{__name__}:Recorder", "liminal_assets.targets")
    monkeypatch.setattr("liminal_assets.language.deployments.entry_points", lambda group: [point])
    project = served.rewritten(
        "serve: {port: 0,", "rollout: {strategy: canary}\n    serve: {target: cloud, port: 0,"
    ).project
    block = project.spec.deployments[0]
    target = steps.target_of(project, block)
    assert target.status(project, block).state == "unknown"
    with pytest.raises(la.StepError, match="target of late_api doesn't delete"):
        target.delete(project, block)
    (mistake,) = steps.target_mistakes(project)
    assert mistake.message == "the target 'cloud' can't do a canary rollout"
    assert mistake.location.line == 19


def test_options_are_for_installed_targets(served: Shop) -> None:
    with pytest.raises(la.InvalidProjectError) as raised:
        served.rewritten("serve: {port: 0,", "serve: {options: {a: 1}, port: 0,")
    (mistake,) = raised.value.diagnostics
    assert "'options' is for installed targets" in mistake.message
