"""A model server on a Kubernetes cluster: what it gets, and what is put back when it fails."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import liminal_assets as la
from liminal_assets.steps.deploy import deploy, target_mistakes, target_of
from liminal_assets.storage.journal import Journal
from liminal_assets_tests.stored_resources import Store

AtTarget = Callable[..., tuple[la.Project, Any]]
KINDS = {
    "deployments": "V1Deployment",
    "services": "V1Service",
    "secrets": "V1Secret",
    "horizontalpodautoscalers": "V2HorizontalPodAutoscaler",
    "poddisruptionbudgets": "V1PodDisruptionBudget",
}


@pytest.fixture
def ready(cluster: Store, answer_of: Callable[[int], Any]) -> Store:
    """A cluster whose service answers as version 1 does."""
    answer = answer_of(1)
    cluster.answer = lambda body: (200, answer)
    return cluster


def test_a_version_is_a_deployment_and_what_belongs_to_it(
    at_target: AtTarget, ready: Store
) -> None:
    project, block = at_target("kubernetes")
    deployed = deploy(project, block)
    assert deployed.endpoint == "http://shop--late-api.ml.svc/predict"
    evidence = deployed.evidence
    assert (evidence["revision"], evidence["ready"]) == ("1", "1/1")
    assert evidence["first_prediction"]["prediction"] in (0, 1)
    assert evidence["certificate"]["form"]
    assert ready.kinds() == {*KINDS, "pods"}

    spec = ready.resource("deployments")["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert {container[key]["httpGet"]["path"] for key in ("startupProbe", "readinessProbe")} == {
        "/readyz"
    }
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["runAsNonRoot"]
    assert pod["terminationGracePeriodSeconds"] > 30 + 5
    metadata = spec["template"]["metadata"]
    assert metadata["labels"]["app.kubernetes.io/version"] == "1"
    assert metadata["annotations"]["prometheus.io/path"] == "/metrics"
    assert metadata["annotations"]["liminal-assets/mlflow-run"] == deployed.version.run_id
    hpa = ready.resource("horizontalpodautoscalers")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 10)
    selector = spec["selector"]["matchLabels"]
    assert ready.resource("services")["spec"]["selector"] == selector
    assert selector.items() <= metadata["labels"].items()
    said = base64.b64decode(ready.resource("secrets")["data"]["serving.json"])
    assert json.loads(said)["limits"]["max_rows"] == 10_000

    arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    archive = Path(arguments["--release"])
    assert archive == project.root / "store/shop/late_api" / archive.name
    assert archive.is_file()
    (decision,) = Journal(project, "late_api").decisions()
    assert decision.evidence["release_sha256"] == arguments["--sha256"]
    assert "very-secret-token" not in json.dumps(decision.as_dict())


def test_manifests_are_what_the_client_knows(at_target: AtTarget, ready: Store) -> None:
    from kubernetes.client import ApiClient

    deploy(*at_target("kubernetes"))
    client = ApiClient()
    for (plural, _), resource in ready.stored.items():
        if plural in KINDS:
            manifest = {key: value for key, value in resource.items() if key != "status"}
            response = SimpleNamespace(data=json.dumps(manifest))
            model = client.deserialize(response, KINDS[plural])
            # a key that the API doesn't know would be gone
            assert client.sanitize_for_serialization(model) == manifest


def test_the_same_version_again_changes_nothing(at_target: AtTarget, ready: Store) -> None:
    project, block = at_target("kubernetes")
    deploy(project, block)
    before = deepcopy(ready.stored)
    ready.writes.clear()
    deploy(project, block)
    assert ready.writes == []
    assert ready.stored == before


def test_a_version_that_does_not_get_ready_leaves_the_one_before(
    at_target: AtTarget, ready: Store
) -> None:
    deploy(*at_target("kubernetes"))
    before = {key: item["spec"] for key, item in ready.stored.items() if "spec" in item}
    ready.waiting["org/server:2"] = "ImagePullBackOff"
    project, block = at_target("kubernetes", ("org/server:1", "org/server:2"))
    with pytest.raises(la.StepError, match="ImagePullBackOff it says why") as raised:
        deploy(project, block)
    assert raised.value.location
    assert raised.value.location.file == str(project.file)
    assert {key: item["spec"] for key, item in ready.stored.items() if "spec" in item} == before
    assert target_of(project, block).status(project, block).state == "ready"


@pytest.mark.parametrize(
    "refused", ["deployments", "poddisruptionbudgets", "horizontalpodautoscalers"]
)
def test_a_first_version_that_fails_leaves_nothing(
    at_target: AtTarget, ready: Store, refused: str
) -> None:
    ready.refuse[refused] = ("PATCH", 403)
    with pytest.raises(la.StepError, match=r"liminal.yml:\d+:.* 403 you may not"):
        deploy(*at_target("kubernetes"))
    assert ready.kinds() <= {"pods"}


def test_a_server_that_answers_otherwise_is_taken_back(at_target: AtTarget, ready: Store) -> None:
    wrong = {"model_version": "1", "predictions": [{"prediction": 7, "probability": 0.5}]}
    ready.answer = lambda body: (200, wrong)
    with pytest.raises(la.StepError, match="the server's prediction is 7"):
        deploy(*at_target("kubernetes"))
    assert ready.kinds() <= {"pods"}


def test_a_cluster_that_lets_nobody_through_still_gets_its_server(
    at_target: AtTarget, cluster: Store
) -> None:
    cluster.answer = lambda body: (403, {"message": "no proxies here"})
    evidence = deploy(*at_target("kubernetes")).evidence
    assert evidence["first_prediction"] is None
    assert evidence["not_asked"] == "403 no proxies here"


def test_what_somebody_else_made_is_not_touched(at_target: AtTarget, ready: Store) -> None:
    project, block = at_target("kubernetes")
    deploy(project, block)
    theirs = ready.resource("services")
    theirs["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    ready.writes.clear()
    with pytest.raises(la.StepError, match=r"the Service .* isn't ours"):
        deploy(project, block)
    with pytest.raises(la.StepError, match=r"the Service .* isn't ours"):
        target_of(project, block).delete(project, block)
    assert ready.resource("services") is theirs


def test_a_fixed_number_of_pods_has_no_autoscaler(at_target: AtTarget, ready: Store) -> None:
    deploy(*at_target("kubernetes"))
    deploy(*at_target("kubernetes", ("namespace: ml,", "namespace: ml, max_replicas: 2,")))
    assert ready.resource("deployments")["spec"]["replicas"] == 2
    assert "horizontalpodautoscalers" not in ready.kinds()


def test_a_port_of_grpc_leads_to_the_pods(at_target: AtTarget, ready: Store) -> None:
    deploy(*at_target("kubernetes", ("port: 0,", "port: 0, grpc_port: 9000,")))
    service = ready.resource("services")["spec"]["ports"]
    assert {port["name"]: (port["port"], port["targetPort"]) for port in service} == {
        "http": (80, "http"),
        "grpc": (9000, "grpc"),
    }
    [container] = ready.resource("deployments")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    said = base64.b64decode(ready.resource("secrets")["data"]["serving.json"])
    assert ports == {"http": 8080, "grpc": json.loads(said)["grpc"]["port"]}


def test_a_store_that_is_a_claim_is_mounted(at_target: AtTarget, ready: Store) -> None:
    deploy(*at_target("kubernetes", ("namespace: ml,", "namespace: ml, claim: models,")))
    pod = ready.resource("deployments")["spec"]["template"]["spec"]
    assert {"claimName": "models", "readOnly": True} in [
        volume.get("persistentVolumeClaim") for volume in pod["volumes"]
    ]
    assert pod["containers"][0]["args"][1].startswith("/releases/shop/late_api/1-")


def test_what_is_deleted_is_gone(at_target: AtTarget, ready: Store) -> None:
    project, block = at_target("kubernetes")
    target = target_of(project, block)
    assert target.status(project, block).state == "absent"
    assert not target.delete(project, block)
    deploy(project, block)
    status = target.status(project, block)
    assert (status.state, status.version, status.details["ready"]) == ("ready", "1", "1/1")
    assert target.delete(project, block)
    assert ready.kinds() <= {"pods"}


def test_secrets_of_older_versions_go(at_target: AtTarget, ready: Store) -> None:
    for rows in (10, 20, 30):
        deploy(*at_target("kubernetes", ("port: 0,", f"port: 0, max_rows: {rows},")))
    assert [kind for kind, _ in ready.stored].count("secrets") == 2


def test_keys_go_along_in_the_secret_and_nowhere_else(
    at_target: AtTarget, ready: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING_KEY", "a-secret-of-more-than-thirty-two-letters")
    auth = "auth: {jwt: {algorithms: [HS256], key: {env: SIGNING_KEY}}}"
    project, block = at_target(
        "kubernetes", ("port: 0,", f"port: 0, {auth}, drain: {{wait: 20s}},")
    )
    deploy(project, block)
    said = json.loads(base64.b64decode(ready.resource("secrets")["data"]["serving.json"]))
    assert said["auth"]["jwt"]["key"] == "a-secret-of-more-than-thirty-two-letters"
    assert said["drain_wait"] == 0
    deployment = ready.resource("deployments")
    assert "more-than-thirty-two" not in json.dumps(deployment)
    pod = deployment["spec"]["template"]["spec"]
    assert "sleep(20)" in pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]
    assert pod["terminationGracePeriodSeconds"] > 20 + 30
    archive = Path(pod["containers"][0]["args"][1])
    assert b"more-than-thirty-two" not in gzip.decompress(archive.read_bytes())


def test_files_of_this_machine_are_told_at_their_line(at_target: AtTarget) -> None:
    project, _ = at_target("kubernetes", ("port: 0,", "port: 0, tls: {cert: server.pem},"))
    (mistake,) = target_mistakes(project)
    assert "doesn't have the files of this machine" in mistake.message
    assert mistake.location.line == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("image: 'org/server:1', release_store: store, namespace: ml", "namespace: ml"), "image"),
        (("namespace: ml,", "namespase: ml,"), "namespase"),
        (("namespace: ml,", "namespace: ml, replicas: 3, max_replicas: 2,"), "max_replicas"),
        (("namespace: ml,", "namespace: ML_1,"), "namespace"),
        (("namespace: ml,", "namespace: ml, environment_from: My_Secret,"), "environment_from"),
        (
            ("namespace: ml,", "namespace: ml, resources: {requests: {cpu: 1 core}},"),
            "an amount is a number and a unit",
        ),
        (
            ("namespace: ml,", "namespace: ml, resources: {requests: {cpu: -1}},"),
            "more than nothing",
        ),
        (
            (
                "namespace: ml,",
                "namespace: ml, resources: {requests: {cpu: 1, memory: 1Gi}, "
                "limits: {memory: 1000M}},",
            ),
            "1Gi of memory are requested, above the limit 1000M",
        ),
        (
            ("namespace: ml,", "namespace: ml, resources: {limits: {memory: 1Gi}},"),
            "autoscaling goes by the requested CPU",
        ),
        (
            ("release_store: store, namespace: ml,", "release_store: 's3://b', claim: models,"),
            "'release_store' is its path on this machine",
        ),
        (("namespace: ml,", "namespace: ml, target_cpu: 0,"), "target_cpu"),
        (("namespace: ml,", "namespace: ml, image_pull_policy: Sometimes,"), "image_pull_policy"),
    ],
)
def test_what_is_wrong_with_the_options_is_told_at_its_line(
    at_target: AtTarget, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(la.InvalidProjectError) as raised:
        at_target("kubernetes", change)
    mistake = raised.value.diagnostics[0]
    assert message in mistake.message
    assert mistake.location.line == 22


def test_a_target_without_its_options_is_told_at_its_line(at_target: AtTarget) -> None:
    with pytest.raises(la.InvalidProjectError) as raised:
        at_target("kubernetes", ("kubernetes: {image", "# {image"))
    (mistake,) = raised.value.diagnostics
    assert "'target: kubernetes' needs 'kubernetes:'" in mistake.message
    assert mistake.location.line in (19, 20)
