"""A model server as KServe's InferenceService: traffic by steps, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.steps.deploy import deploy, target_mistakes, target_of
from liminal_assets_tests.stored_resources import Store

AtTarget = Callable[..., tuple[la.Project, Any]]
CANARY = ("model: late\n    serve:", "model: late\n    rollout: {%s}\n    serve:")


@pytest.fixture
def ready(cluster: Store, answer_of: Callable[[int], Any]) -> Store:
    answer = answer_of(1)
    cluster.answer = lambda body: (200, answer)
    return cluster


def shares(cluster: Store) -> list[Any]:
    """The traffic of the versions that were applied, in order."""
    return [
        applied["spec"]["predictor"].get("canaryTrafficPercent")
        for applied in cluster.applied
        if applied["kind"] == "InferenceService"
    ]


def test_a_version_is_the_predictor_of_an_inference_service(
    at_target: AtTarget, ready: Store
) -> None:
    project, block = at_target("kserve")
    deployed = deploy(project, block)
    assert ready.kinds() == {"inferenceservices", "secrets"}
    service = ready.resource("inferenceservices")
    predictor = service["spec"]["predictor"]
    [container] = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert container["args"][:1] == ["--release"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 10)
    # Knative takes neither
    assert "lifecycle" not in container
    assert "terminationGracePeriodSeconds" not in predictor
    assert deployed.endpoint == service["status"]["url"] + "/predict"
    assert deployed.evidence["revision"] == "shop--late-api-predictor-00001"
    assert deployed.evidence["first_prediction"]["prediction"] in (0, 1)

    ready.writes.clear()
    deploy(project, block)
    assert ready.writes == []
    target = target_of(project, block)
    status = target.status(project, block)
    assert (status.state, status.version) == ("ready", "1")
    assert target.delete(project, block)
    assert ready.kinds() == set()
    assert target.status(project, block).state == "absent"


def test_a_canary_takes_over_step_by_step(at_target: AtTarget, ready: Store) -> None:
    deploy(*at_target("kserve"))
    rollout = CANARY[1] % "strategy: canary, steps: [5, 25, 100], wait: 30ms"
    again = ("org/server:1", "org/server:2")
    changes = (CANARY[0], rollout), ("port: 0,", "port: 0, max_rows: 9,")
    project, block = at_target("kserve", *changes)
    assert list(target_mistakes(project)) == []
    deploy(project, block)
    assert shares(ready) == [None, 5, 25, None]
    # the same release has nothing to try
    deploy(*at_target("kserve", *changes, again))
    assert shares(ready)[4:] == [None]


def test_a_canary_that_fails_is_taken_back(at_target: AtTarget, ready: Store) -> None:
    deploy(*at_target("kserve"))
    before = ready.resource("inferenceservices")["spec"]
    ready.waiting["org/server:2"] = "RevisionFailed"
    project, block = at_target(
        "kserve",
        (CANARY[0], CANARY[1] % "strategy: canary, steps: [5, 100]"),
        ("port: 0,", "port: 0, max_rows: 9,"),
        ("org/server:1", "org/server:2"),
    )
    with pytest.raises(la.StepError, match=r"liminal.yml:\d+:.* RevisionFailed it says why"):
        deploy(project, block)
    assert ready.resource("inferenceservices")["spec"] == before
    assert [kind for kind, _ in ready.stored].count("secrets") == 1


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        ("strategy: shadow", "can't do a shadow rollout"),
        ("strategy: canary, steps: [0.5, 100]", "whole percents, not 0.5"),
        ("strategy: canary, rollback_on: {p99_ms: 5}", "neither errors nor latency"),
    ],
)
def test_what_kserve_can_not_do_is_told_at_its_line(
    at_target: AtTarget, rollout: str, message: str
) -> None:
    project, _ = at_target("kserve", (CANARY[0], CANARY[1] % rollout))
    (mistake,) = target_mistakes(project)
    assert message in mistake.message
    assert mistake.location.line == 19


def test_a_route_that_can_not_be_reached_from_here_is_no_failure(
    at_target: AtTarget, cluster: Store
) -> None:
    cluster.answer = lambda body: (404, {"message": "no route"})
    evidence = deploy(*at_target("kserve")).evidence
    assert evidence["first_prediction"] is None
    assert evidence["not_asked"].startswith("404")
