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


def test_kserve_may_bring_the_release_to_the_pod(
    at_target: AtTarget, ready: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = "s3://models/releases/shop/late_api/1-abc.tar.gz"
    monkeypatch.setattr("liminal_assets.execution.targets.cluster.publish", lambda *_: published)
    store = (
        "release_store: store, namespace: ml, timeout: 200ms},\n      sagemaker",
        "release_store: 's3://models/releases', storage_initializer: true, mode: Standard, "
        "namespace: ml, service_account: reader, timeout: 200ms},\n      sagemaker",
    )
    project, block = at_target("kserve", store)
    deployed = deploy(project, block)
    service = ready.resource("inferenceservices")
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    predictor = service["spec"]["predictor"]
    assert predictor["serviceAccountName"] == "reader"
    [container] = predictor["containers"]
    variables = {item["name"]: item["value"] for item in container["env"]}
    # KServe puts an init container before it that unpacks this to /mnt/models
    assert variables["STORAGE_URI"] == published
    assert variables["PROTOCOL"] == "v2"
    arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert arguments["--release"] == "/mnt/models"
    assert arguments["--key"].startswith("1-")
    # the archive is gone by then; its content still has the name that was deployed
    assert "--sha256" not in arguments
    assert deployed.evidence["release"] == published


def test_a_cluster_without_knative_has_no_canaries(at_target: AtTarget, ready: Store) -> None:
    deploy(*at_target("kserve"))
    ready.resource("inferenceservices")["status"]["deploymentMode"] = "Standard"
    ready.writes.clear()
    project, block = at_target(
        "kserve",
        (CANARY[0], CANARY[1] % "strategy: canary, steps: [5, 100]"),
        ("port: 0,", "port: 0, max_rows: 9,"),
    )
    with pytest.raises(la.StepError, match="in its mode Knative alone"):
        deploy(project, block)
    assert {kind for _, kind, _ in ready.writes} <= {"secrets"}
    assert [kind for kind, _ in ready.stored].count("secrets") == 1


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
        ("strategy: canary", "in its mode Knative alone"),
    ],
)
def test_what_kserve_can_not_do_is_told_at_its_line(
    at_target: AtTarget, rollout: str, message: str
) -> None:
    mode = "Standard" if "Knative" in message else "Knative"
    project, _ = at_target(
        "kserve",
        (CANARY[0], CANARY[1] % rollout),
        ("kserve: {", f"kserve: {{mode: {mode}, "),
    )
    (mistake,) = target_mistakes(project)
    assert message in mistake.message
    assert mistake.location.line == 19


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("mode: Standard, replicas: 0", "'replicas: 0' needs Knative"),
        ("mode: RawDeployment, scale_metric: rps", "scales by cpu or memory, not by rps"),
        ("mode: Fast", "mode"),
        ("storage_initializer: true", "fetches from s3:// and gs://"),
    ],
)
def test_what_is_wrong_with_the_options_is_told_at_its_line(
    at_target: AtTarget, options: str, message: str
) -> None:
    with pytest.raises(la.InvalidProjectError) as raised:
        at_target("kserve", ("kserve: {", f"kserve: {{{options}, "))
    (mistake,) = raised.value.diagnostics
    assert message in mistake.message
    assert mistake.location.line == 23


def test_a_route_that_can_not_be_reached_from_here_is_no_failure(
    at_target: AtTarget, cluster: Store
) -> None:
    cluster.answer = lambda body: (404, {"message": "no route"})
    evidence = deploy(*at_target("kserve")).evidence
    assert evidence["first_prediction"] is None
    assert evidence["not_asked"].startswith("404")
