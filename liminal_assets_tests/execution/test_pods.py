from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution.pods import pod_template
from liminal_assets.execution.task import Container, Mount
from liminal_assets_tests.workflows import executor_of

_TASK = Container("app", ["/bin/bash", "-c", "true"], {"COLOUR": "red"})


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("image_pull_policy", raising=False)


def _template(
    folder: Path, settings: str, container: Container = _TASK, rest: str = ""
) -> dict[str, Any]:
    executor, workflow = executor_of(folder, f"type: kubernetes\n{settings}", rest)
    return pod_template(executor, workflow, container, {"who": "us"})


def _spec(folder: Path, settings: str, container: Container = _TASK, rest: str = "") -> Any:
    return _template(folder, settings, container, rest)["spec"]


def test_without_settings_a_pod_is_the_tasks_container(tmp_path: Path) -> None:
    assert _template(tmp_path, "") == {
        "metadata": {"labels": {"who": "us"}},
        "spec": {
            "containers": [
                {
                    "name": "base",
                    "image": "app",
                    "command": ["/bin/bash", "-c", "true"],
                    "image_pull_policy": "IfNotPresent",
                    "env": [
                        {"name": "COLOUR", "value": "red"},
                        {"name": "LIMINAL_SPLIT_ID", "value": "0"},
                        {"name": "LIMINAL_NUM_SPLITS", "value": "1"},
                    ],
                }
            ],
            "volumes": [],
            "image_pull_secrets": [{"name": "regcred"}],
            "restart_policy": "Never",
        },
    }


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ("affinity: {podAntiAffinity: {}}", "affinity", {"pod_anti_affinity": {}}),
        ("dnspolicy: ClusterFirst", "dns_policy", "ClusterFirst"),
        ("hostnetwork: true", "host_network", True),
        ("image_pull_secrets: 'a, b'", "image_pull_secrets", [{"name": "a"}, {"name": "b"}]),
        ("image_pull_secrets: [{name: a}]", "image_pull_secrets", [{"name": "a"}]),
        (
            "init_containers: [{name: i, image: busybox, imagePullPolicy: Always}]",
            "init_containers",
            [{"name": "i", "image": "busybox", "image_pull_policy": "Always"}],
        ),
        ("node_selectors: {disk: ssd}", "node_selector", {"disk": "ssd"}),
        ("node_selector: {disk: ssd}", "node_selector", {"disk": "ssd"}),
        ("priority_class_name: high", "priority_class_name", "high"),
        ("schedulername: mine", "scheduler_name", "mine"),
        ("security_context: {runAsUser: 5}", "security_context", {"run_as_user": 5}),
        ("service_account_name: robot", "service_account_name", "robot"),
        ("termination_grace_period: 7", "termination_grace_period_seconds", 7),
        (
            "tolerations: [{key: gpu, operator: Exists, tolerationSeconds: 9}]",
            "tolerations",
            [{"key": "gpu", "operator": "Exists", "toleration_seconds": 9}],
        ),
        (
            "volumes: [{name: tmp, emptyDir: {sizeLimit: 1Gi}}]",
            "volumes",
            [{"name": "tmp", "empty_dir": {"size_limit": "1Gi"}}],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" in value else "",
)
def test_a_setting_of_the_pod(tmp_path: Path, settings: str, field: str, value: Any) -> None:
    assert _spec(tmp_path, settings)[field] == value


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ("image: other", "image", "other"),
        ("image_pull_policy: Always", "image_pull_policy", "Always"),
        ("cmds: [sh, -c]\narguments: [ls]", "command", ["sh", "-c"]),
        ("arguments: [ls]", "args", ["ls"]),
        ("ports: [80]", "ports", [{"container_port": 80}]),
        (
            "resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}",
            "resources",
            {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        ),
        (
            "resources: {request_memory: 1Gi, limit_cpu: 2, limit_gpu: 1}",
            "resources",
            {"requests": {"memory": "1Gi"}, "limits": {"cpu": "2", "nvidia.com/gpu": "1"}},
        ),
        ("configmaps: [a]", "env_from", [{"config_map_ref": {"name": "a"}}]),
        (
            "env_from: [{secretRef: {name: s}}]\nconfigmaps: [a]",
            "env_from",
            [{"secret_ref": {"name": "s"}}, {"config_map_ref": {"name": "a"}}],
        ),
        (
            "secrets: [{deploy_type: env, secret: s}]",
            "env_from",
            [{"secret_ref": {"name": "s"}}],
        ),
        (
            "volume_mounts: [{name: tmp, mountPath: /tmp}]",
            "volume_mounts",
            [{"name": "tmp", "mount_path": "/tmp"}],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" in value else "",
)  # fmt: skip
def test_a_setting_of_the_container(tmp_path: Path, settings: str, field: str, value: Any) -> None:
    [container] = _spec(tmp_path, settings)["containers"]
    assert container[field] == value


@pytest.mark.parametrize(
    ("settings", "entries"),
    [
        pytest.param("env_vars: {COLOUR: blue, N: 1}", ["COLOUR=blue", "N=1"], id="a mapping"),
        pytest.param("env_vars: [{name: A, value: 1}]", ["A=1", "COLOUR=red"], id="a list"),
        pytest.param(
            "secrets: [{deploy_type: env, deploy_target: KEY, secret: s, key: k}]",
            ["COLOUR=red", "KEY={'secret_key_ref': {'name': 's', 'key': 'k'}}"],
            id="a key of a secret",
        ),
        pytest.param(
            "pod_runtime_info_envs: [{name: IP, field_path: status.podIP}]",
            ["COLOUR=red", "IP={'field_ref': {'field_path': 'status.podIP'}}"],
            id="of the pod",
        ),
    ],
)
def test_environment_variables_of_the_executor_win(
    tmp_path: Path, settings: str, entries: list[str]
) -> None:
    [container] = _spec(tmp_path, settings)["containers"]
    found = [
        f"{entry['name']}={entry.get('value', entry.get('value_from'))}"
        for entry in container["env"]
        if not entry["name"].startswith("LIMINAL_")
    ]
    assert sorted(found) == entries


def test_labels_and_annotations(tmp_path: Path) -> None:
    settings = "labels: {team: a, who: them}\nannotations: {note: 1}"
    assert _template(tmp_path, settings)["metadata"] == {
        "labels": {"team": "a", "who": "them"},
        "annotations": {"note": "1"},
    }


def test_volumes_are_claims_and_secrets_are_folders(tmp_path: Path) -> None:
    mounts = [
        Mount("data", "/data", "in", read_only=True),
        Mount("local", "/local"),
        Mount("key", "/key", secret=True),
    ]
    spec = _spec(
        tmp_path,
        "secrets: [{deploy_type: volume, deploy_target: /run, secret: s}]",
        Container("app", ["true"], mounts=mounts),
        """
        volumes:
          - {volume: data, claim_name: claim}
          - {volume: local, local: {path: .}}
          - {volume: unused, claim_name: other}
        secrets: [{secret: key, local_path_file: k.txt}]
        """,
    )
    assert spec["volumes"] == [
        {"name": "data", "persistent_volume_claim": {"claim_name": "claim"}},
        {"name": "local", "persistent_volume_claim": {"claim_name": "local-pvc"}},
        {"name": "key", "secret": {"secret_name": "key"}},
        {"name": "secret-0", "secret": {"secret_name": "s"}},
    ]
    assert spec["containers"][0]["volume_mounts"] == [
        {"name": "data", "mount_path": "/data", "read_only": True, "sub_path": "in"},
        {"name": "local", "mount_path": "/local", "read_only": False},
        {"name": "key", "mount_path": "/key", "read_only": False},
        {"name": "secret-0", "mount_path": "/run", "read_only": True},
    ]


def test_workers_have_their_number_from_their_pod(tmp_path: Path) -> None:
    [container] = _spec(tmp_path, "", Container("app", ["true"], workers=3))["containers"]
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert container["env"] == [
        {"name": "LIMINAL_SPLIT_ID", "value_from": {"field_ref": {"field_path": path}}},
        {"name": "LIMINAL_NUM_SPLITS", "value": "3"},
    ]


_POD = """
metadata: {labels: {from: template}}
spec:
  serviceAccountName: robot
  imagePullSecrets: [{name: mine}]
  containers:
    - {name: sidecar, image: proxy}
    - name: base
      image: ignored
      imagePullPolicy: Always
      env: [{name: COLOUR, value: green}, {name: KEPT, value: '1'}]
  volumes: [{name: tmp, emptyDir: {}}]
"""


@pytest.mark.parametrize("key", ["pod_template_file", "full_pod_spec"])
def test_a_whole_pod_is_what_a_template_starts_from(tmp_path: Path, key: str) -> None:
    (tmp_path / "pod.yml").write_text(_POD)
    value = "pod.yml" if key == "pod_template_file" else "\n" + _indented(_POD)
    template = _template(tmp_path, f"{key}: {value}\nservice_account_name: other")
    spec = template["spec"]
    assert template["metadata"]["labels"] == {"from": "template", "who": "us"}
    assert spec["service_account_name"] == "other"
    assert spec["image_pull_secrets"] == [{"name": "mine"}]
    assert spec["volumes"] == [{"name": "tmp", "empty_dir": {}}]
    sidecar, base = spec["containers"]
    assert sidecar == {"name": "sidecar", "image": "proxy"}
    assert (base["image"], base["image_pull_policy"]) == ("app", "Always")
    assert {entry["name"]: entry["value"] for entry in base["env"]} == {
        "COLOUR": "red",
        "KEPT": "1",
        "LIMINAL_SPLIT_ID": "0",
        "LIMINAL_NUM_SPLITS": "1",
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param("tolerations: [{keyy: a}]", r":5:.*tolerations: .*keyy", id="unknown key"),
        pytest.param("affinity: [a]", ":5:.*affinity: .*must be a dict", id="wrong kind"),
        pytest.param("termination_grace_period: soon", ":5:.*'soon'", id="no number"),
        pytest.param("env_vars: text", "must be a mapping of names", id="no variables"),
        pytest.param("labels: [a]", ":5:.*labels: ", id="no labels"),
        pytest.param(
            "secrets: [{deploy_type: file, secret: s}]", "env or volume, not 'file'", id="secret"
        ),
        pytest.param("pod_template_file: none.yml", "cannot read none.yml", id="no template"),
        pytest.param("full_pod_spec: {specs: {}}", "full_pod_spec: .*specs", id="no pod"),
    ],
)
def test_what_kubernetes_does_not_take_is_told_at_its_line(
    tmp_path: Path, settings: str, said: str
) -> None:
    with pytest.raises(StepError, match=said):
        _template(tmp_path, settings)


def test_a_pod_needs_an_image(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="the task has no image"):
        _template(tmp_path, "", Container("", ["true"]))


def test_a_volume_needs_a_claim(tmp_path: Path) -> None:
    container = Container("app", ["true"], mounts=[Mount("data", "/data")])
    with pytest.raises(StepError, match=r"yml:5:.*no claim of the cluster"):
        _template(tmp_path, "", container, "volumes: [{volume: data}]")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())
