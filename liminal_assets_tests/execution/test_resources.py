"""Volumes, secrets and services on a cluster: what is sent to Kubernetes' API."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from liminal_assets.apache.workflow import Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.manifests import (
    secret_manifests,
    service_manifests,
    volume_manifests,
)
from liminal_assets.execution.resources import apply, delete
from liminal_assets_tests.workflows import workflow_of

PROJECT = """\
name: My Shop
volumes:
  - {volume: data, claim_name: data-claim, local: {path: ./files}}
  - {volume: theirs, claim_name: theirs}
secrets: [{secret: aws, local_path_file: key.txt}]
images:
  - {image: 'org/app:1', type: python_server, source: .,
     endpoints: [{endpoint: /p, module: m, function: f}]}
services:
  - service: my_server
    image: org/app:1
    env_vars: {MODE: fast}
    mounts: [{mount: m, volume: data, path: /mnt/data, sub_path: models}]
    secrets: [{secret: aws, remote_path: /secret}]
    replicas: 2
    resources: {limits: {memory: 2Gi}}
  - {service: db, image: 'postgres:16', port: 5432}
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    (tmp_path / "key.txt").write_text("very secret")
    return workflow_of(tmp_path, PROJECT)


class Cluster:
    """As much of Kubernetes' API as stores resources."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuses = False
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                path = self.path.partition("?")[0]
                cluster.asked.append((self.command, path))
                status, said = cluster.answer(self.command, path, body)
                text = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Prints nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.refuses:
            return 403, {"kind": "Status", "message": "you may not"}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        if method in ("POST", "PATCH"):
            self.stored[path] = body
        if path not in self.stored:
            return 404, {"kind": "Status", "message": "not found"}
        return 200, self.stored.pop(path) if method == "DELETE" else self.stored[path]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that this machine is configured for."""
    running = Cluster()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    config = tmp_path / "kubeconfig"
    address = f"http://127.0.0.1:{running.server.server_port}"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": address}}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join()


def test_a_local_volume_is_a_volume_that_is_retained_and_its_claim(workflow: Workflow) -> None:
    volume, claim = volume_manifests(workflow, "ml")
    assert volume["spec"]["local"] == {"path": str(workflow.root / "files")}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert claim["metadata"]["name"] == "data-claim"
    assert claim["metadata"]["namespace"] == "ml"
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == "data"


def test_a_secret_is_the_content_of_its_file(workflow: Workflow) -> None:
    [secret] = secret_manifests(workflow, "ml")
    assert base64.b64decode(secret["data"]["credentials"]) == b"very secret"


def test_a_secret_without_its_file_is_told(workflow: Workflow) -> None:
    (workflow.root / "key.txt").unlink()
    with pytest.raises(StepError, match=r"liminal.yml:5:.* secret aws can't be read"):
        list(secret_manifests(workflow, "ml"))


def test_a_service_is_a_deployment_with_probes_that_may_do_little(workflow: Workflow) -> None:
    deployment = next(service_manifests(workflow, "ml"))
    assert deployment["metadata"]["name"] == "my-server"
    assert deployment["spec"]["replicas"] == 2
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "org/app:1"
    assert {item["name"]: item["value"] for item in container["env"]} == {
        "MODE": "fast",
        "PORT": str(container["ports"][0]["containerPort"]),
    }
    assert container["resources"] == {"limits": {"memory": "2Gi"}}
    assert container["readinessProbe"]["httpGet"]["path"] == "/.liminal/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/.liminal/healthz"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    claims = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
    assert {"claimName": "data-claim"} in claims
    assert {"name": "data", "mountPath": "/mnt/data", "subPath": "models"} in container[
        "volumeMounts"
    ]


def test_its_service_finds_its_pods(workflow: Workflow) -> None:
    deployment, service, _, database = service_manifests(workflow, "ml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert [item["spec"]["ports"][0]["port"] for item in (service, database)] == [80, 5432]


def test_applied_twice_volumes_are_kept_and_the_rest_is_changed(
    workflow: Workflow, cluster: Cluster
) -> None:
    manifests = [*volume_manifests(workflow, "ml"), *service_manifests(workflow, "ml")]
    assert {change for _, change in apply(manifests)} == {"created"}
    assert cluster.stored["/apis/apps/v1/namespaces/ml/deployments/my-server"] == manifests[2]
    assert cluster.stored["/api/v1/persistentvolumes/data"] == manifests[0]
    again = [(manifest["kind"], change) for manifest, change in apply(manifests)]
    assert again == [
        ("PersistentVolume", "kept"),
        ("PersistentVolumeClaim", "kept"),
        *[("Deployment", "changed"), ("Service", "changed")] * 2,
    ]


def test_what_is_deleted_is_gone_and_what_is_not_there_is_no_failure(
    workflow: Workflow, cluster: Cluster
) -> None:
    manifests = list(volume_manifests(workflow, "ml"))
    list(apply(manifests[:1]))
    assert [change for _, change in delete(manifests)] == ["deleted", "absent"]
    assert cluster.stored == {}


def test_what_the_cluster_refuses_is_one_sentence(workflow: Workflow, cluster: Cluster) -> None:
    cluster.refuses = True
    with pytest.raises(StepError, match="refuses the PersistentVolume data: 403 you may not"):
        list(apply(volume_manifests(workflow, "ml")))


def test_a_cluster_that_does_not_answer_is_one_sentence(
    workflow: Workflow, cluster: Cluster
) -> None:
    cluster.server.server_close()
    cluster.server.shutdown()
    with pytest.raises(StepError, match="the cluster doesn't answer for the PersistentVolume data"):
        list(apply(volume_manifests(workflow, "ml")))
