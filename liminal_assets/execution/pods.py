"""The pods of a task: what an executor of type ``kubernetes`` says about them, as one template.

The keys are those of Airflow's ``KubernetesPodOperator`` (Kubernetes provider 1.0.2), which Apache
Liminal gave them to. Parts of Kubernetes's own language may be written in its camel case or in
snake case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from liminal_assets.apache.workflow import ExecutorSpec, Workflow
from liminal_assets.errors import StepError
from liminal_assets.execution.pod_settings import (
    as_list,
    environment_entries,
    local_references,
    port_entries,
    resource_requirements,
    secret_entries,
)
from liminal_assets.execution.task import Container, Mount

__all__ = ["CONTAINER", "check_pod", "pod_template"]

CONTAINER = "base"
"""The name of the container that runs the task, as Airflow called it."""

_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
"""Where a pod of a job with several workers finds its number."""

_POD_FIELDS = {
    "affinity": "affinity",
    "dnspolicy": "dns_policy",
    "hostnetwork": "host_network",
    "image_pull_secrets": "image_pull_secrets",
    "init_containers": "init_containers",
    "node_selectors": "node_selector",
    "node_selector": "node_selector",
    "priority_class_name": "priority_class_name",
    "schedulername": "scheduler_name",
    "security_context": "security_context",
    "service_account_name": "service_account_name",
    "termination_grace_period": "termination_grace_period_seconds",
    "tolerations": "tolerations",
    "volumes": "volumes",
}
"""Keys of an executor, and the field of a pod's specification that each sets."""

_CONTAINER_FIELDS = {
    "arguments": "args",
    "cmds": "command",
    "env_from": "env_from",
    "env_vars": "env",
    "image": "image",
    "image_pull_policy": "image_pull_policy",
    "ports": "ports",
    "resources": "resources",
    "volume_mounts": "volume_mounts",
}
"""Keys of an executor, and the field of the task's container that each sets."""

_READ = {
    "arguments": as_list,
    "cmds": as_list,
    "env_vars": environment_entries,
    "image_pull_secrets": local_references,
    "ports": port_entries,
    "resources": resource_requirements,
}
"""How a key is read whose form isn't Kubernetes's own."""

_METADATA_FIELDS = ("annotations", "labels")


def pod_template(
    executor: ExecutorSpec,
    workflow: Workflow,
    container: Container,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The template of a task's pods, with ``metadata`` and ``spec``, in snake case.

    ``pod_template_file``, else ``full_pod_spec``, is what it starts from: what the executor and
    the task say is put above it, lists are joined, and the container called ``base``, else the
    first, is the task's.

    Args:
        container: what the task runs.
        labels: further labels; those of the executor win.

    Raises:
        StepError: a value isn't what Kubernetes takes, at its line.
    """
    said = _said(executor)
    own = _own_container(executor, workflow, container, said)
    spec: dict[str, Any] = {**said["spec"], "containers": [own]}
    used = [mount["name"] for mount in own.get("volume_mounts", ())]
    written = {volume["name"] for volume in spec.get("volumes", ())}
    claimed = [_volume(workflow, executor, container, name) for name in dict.fromkeys(used)]
    spec["volumes"] = [
        *(volume for volume in claimed if volume and volume["name"] not in written),
        *spec.get("volumes", ()),
        *said["volumes"],
    ]
    metadata = {"labels": {**(labels or {})}}
    client = {"metadata": _merged(metadata, said["metadata"]), "spec": spec}
    template = _merged(_base(executor, workflow), client)
    return _validated(executor, _with_defaults(template))


def check_pod(executor: ExecutorSpec, workflow: Workflow) -> Iterator[StepError]:
    """What is wrong with each of an executor's settings of pods; every mistake, not the first."""
    for key in (*_POD_FIELDS, *_CONTAINER_FIELDS, *_METADATA_FIELDS):
        if executor.get(key) is not None:
            try:
                _setting(executor, key)
            except StepError as error:
                yield error
    for check in (_base, _extras):
        try:
            check(executor, workflow)
        except StepError as error:
            yield error


def _said(executor: ExecutorSpec) -> dict[str, Any]:
    """What the executor says itself, by the part of the pod that it goes to."""
    found: dict[str, Any] = {"spec": {}, "container": {}, "metadata": {}}
    for part, fields in (("spec", _POD_FIELDS), ("container", _CONTAINER_FIELDS)):
        for key, field in fields.items():
            if executor.get(key) is not None:
                found[part][field] = _setting(executor, key)
    for key in _METADATA_FIELDS:
        if executor.get(key) is not None:
            found["metadata"][key] = _setting(executor, key)
    extras = _extras(executor, None)
    found["env"], found["env_from"] = extras["env"], extras["env_from"]
    found["volumes"], found["volume_mounts"] = extras["volumes"], extras["volume_mounts"]
    return found


def _setting(executor: ExecutorSpec, key: str) -> Any:
    """One setting as its field holds it, checked."""
    import kubernetes.client as k8s

    value = executor.get(key)
    with _wrong(executor, key):
        value = _READ[key](value) if key in _READ else value
        if key in _METADATA_FIELDS:
            texts = {str(name): str(text) for name, text in dict(value).items()}
            return _part(k8s.V1ObjectMeta, key, texts, {})
        if key in _POD_FIELDS:
            return _part(k8s.V1PodSpec, _POD_FIELDS[key], value, {"containers": []})
        return _part(k8s.V1Container, _CONTAINER_FIELDS[key], value, {"name": CONTAINER})


def _extras(executor: ExecutorSpec, _: Workflow | None) -> dict[str, list[Any]]:
    """What ``secrets``, ``configmaps`` and ``pod_runtime_info_envs`` add to a pod."""
    with _wrong(executor, "secrets"):
        extras = secret_entries(executor.get("secrets", ()))
    with _wrong(executor, "configmaps"):
        names = as_list(executor.get("configmaps", []))
        extras["env_from"] += [{"config_map_ref": {"name": str(name)}} for name in names]
    with _wrong(executor, "pod_runtime_info_envs"):
        for info in executor.get("pod_runtime_info_envs", ()):
            reference = {"field_ref": {"field_path": str(info["field_path"])}}
            extras["env"].append({"name": str(info["name"]), "value_from": reference})
    return extras


def _own_container(
    executor: ExecutorSpec, workflow: Workflow, container: Container, said: Mapping[str, Any]
) -> dict[str, Any]:
    """The container of the task: what the executor says wins, as it did."""
    written = said["container"]
    environment: dict[str, Any] = {
        name: {"name": name, "value": value} for name, value in container.environment.items()
    }
    environment.update((entry["name"], entry) for entry in (*written.get("env", ()), *said["env"]))
    environment.update((entry["name"], entry) for entry in _worker_entries(container))
    mounts = [_mount(mount) for mount in container.mounts]
    own = {
        "command": list(container.command),
        "image": container.image,
        **{key: value for key, value in written.items() if value not in (None, [])},
        "name": CONTAINER,
        "env": list(environment.values()),
        "env_from": [*written.get("env_from", ()), *said["env_from"]],
        "volume_mounts": [*mounts, *written.get("volume_mounts", ()), *said["volume_mounts"]],
    }
    return {key: value for key, value in own.items() if value not in ("", [])}


def _worker_entries(container: Container) -> list[dict[str, Any]]:
    """Each worker's number and how many there are, in its environment."""
    from liminal_assets.execution.containers import WORKER_COUNT, WORKER_INDEX

    if container.workers == 1:
        return [{"name": WORKER_INDEX, "value": "0"}, {"name": WORKER_COUNT, "value": "1"}]
    index = {"name": WORKER_INDEX, "value_from": {"field_ref": {"field_path": _INDEX}}}
    return [index, {"name": WORKER_COUNT, "value": str(container.workers)}]


def _mount(mount: Mount) -> dict[str, Any]:
    entry = {"name": mount.name, "mount_path": mount.path, "read_only": mount.read_only}
    return {**entry, "sub_path": mount.sub_path} if mount.sub_path else entry


def _volume(
    workflow: Workflow, executor: ExecutorSpec, container: Container, name: str
) -> dict[str, Any] | None:
    """The volume of a name as the file has it; None if it has none.

    A volume is a claim, ``<name>-pvc`` where it is a local one that names none; a secret is the
    cluster's secret of its name.
    """
    if name in workflow.secrets and any(m.secret and m.name == name for m in container.mounts):
        return {"name": name, "secret": {"secret_name": name}}
    volume = workflow.volumes.get(name)
    if volume is None:
        return None
    claim = volume.get("claim_name") or (f"{name}-pvc" if volume.get("local") else None)
    if claim is None:
        raise StepError(
            f"the volume {name!r} says no claim of the cluster",
            location=volume.locate(),
            hint="claim_name: the name of a PersistentVolumeClaim",
        )
    return {"name": name, "persistent_volume_claim": {"claim_name": str(claim)}}


def _base(executor: ExecutorSpec, workflow: Workflow) -> dict[str, Any]:
    """The pod that a template starts from; empty where the executor names none."""
    import kubernetes.client as k8s

    if file := executor.get("pod_template_file"):
        key, written = "pod_template_file", _read_pod(executor, workflow, str(file))
    else:
        key, written = "full_pod_spec", executor.get("full_pod_spec", {})
    with _wrong(executor, key):
        pod = _snake(k8s.V1Pod, written)
        return {part: pod[part] for part in ("metadata", "spec") if pod.get(part)}


def _read_pod(executor: ExecutorSpec, workflow: Workflow, file: str) -> Any:
    at = executor.locate("pod_template_file")
    try:
        return yaml.safe_load((workflow.root / file).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        hint = "a relative path starts at the file's folder"
        raise StepError(f"cannot read {file}: {error}", location=at, hint=hint) from error
    except yaml.YAMLError as error:
        message = f"{file} is not YAML: {' '.join(str(error).split())}"
        raise StepError(message, location=at) from error


def _with_defaults(template: dict[str, Any]) -> dict[str, Any]:
    """What Apache Liminal set where nothing else is said, and no restarts: a task runs once."""
    spec = template["spec"]
    spec.setdefault("image_pull_secrets", [{"name": "regcred"}])
    spec["restart_policy"] = "Never"
    policy = os.environ.get("image_pull_policy", "IfNotPresent")  # noqa: SIM112  # Airflow's name
    _task_container(spec["containers"]).setdefault("image_pull_policy", policy)
    return template


def _validated(executor: ExecutorSpec, template: dict[str, Any]) -> dict[str, Any]:
    import kubernetes.client as k8s
    from dagster_k8s.models import k8s_model_from_dict

    with _wrong(executor, "executor"):
        k8s_model_from_dict(k8s.V1PodTemplateSpec, template)
    if not _task_container(template["spec"]["containers"]).get("image"):
        message = "the task has no image, and a cluster runs nothing else"
        raise StepError(message, location=executor.locate(), hint="give the task an image")
    return template


def _task_container(containers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    named = [item for item in containers if item.get("name") == CONTAINER]
    return (named or list(containers))[0]


def _merged(below: Any, above: Any) -> Any:
    """Two parts of a pod: mappings key by key, lists one after the other, else ``above`` wins."""
    result = dict(below)
    for key, value in above.items():
        other = result.get(key)
        if key == "containers" and other:
            mine, [own] = _task_container(other), value
            joined = {**_merged(mine, own), "name": mine.get("name") or CONTAINER}
            result[key] = [joined if item is mine else item for item in other]
        elif key in ("command", "args"):
            result[key] = value
        elif isinstance(value, Mapping) and isinstance(other, Mapping):
            result[key] = _merged(other, value)
        elif isinstance(value, list) and isinstance(other, list):
            result[key] = _joined(other, value)
        else:
            result[key] = value
    return result


def _joined(below: list[Any], above: list[Any]) -> list[Any]:
    """The items of two lists; of one name (variables, volumes), the one of ``above``."""
    names = {_name(item) for item in above} - {None}
    return [*(item for item in below if _name(item) not in names), *above]


def _name(item: Any) -> str | None:
    """What tells an item of a list from others; a volume may be mounted more than once."""
    named = isinstance(item, Mapping) and "mount_path" not in item
    return item.get("name") if named else None


def _part(model: Any, field: str, value: Any, required: Mapping[str, Any]) -> Any:
    """A field of one of Kubernetes's kinds, in snake case; checked by making the kind."""
    from dagster_k8s.models import k8s_model_from_dict

    part = _snake(model, {field: value})
    k8s_model_from_dict(model, {**required, **part})
    return part[field]


def _snake(model: Any, value: Any) -> dict[str, Any]:
    from dagster_k8s.models import k8s_snake_case_dict

    if not isinstance(value, Mapping):
        raise TypeError(f"must be a mapping, not {value!r}")
    return dict(k8s_snake_case_dict(model, value))


@contextmanager
def _wrong(executor: ExecutorSpec, key: str) -> Iterator[None]:
    """What the value of a key can't be, at its line."""
    try:
        yield
    except StepError:
        raise
    except KeyError as error:
        message = f"{key}: {error.args[0]!r} is missing"
        raise StepError(message, location=executor.locate(key)) from error
    except Exception as error:  # dagster-k8s raises nothing narrower
        said = " ".join(str(error).split())
        raise StepError(f"{key}: {said}", location=executor.locate(key)) from error
