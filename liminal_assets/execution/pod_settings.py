"""Settings of pods in the forms that Airflow took, as Kubernetes's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "as_list",
    "environment_entries",
    "local_references",
    "port_entries",
    "resource_requirements",
    "secret_entries",
]

_RESOURCES = {
    "cpu": "cpu",
    "memory": "memory",
    "ephemeral_storage": "ephemeral-storage",
    "gpu": "nvidia.com/gpu",
}


def as_list(value: Any) -> list[Any]:
    """A list of texts; one text is a list of it.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise TypeError(f"must be a list, not {value!r}")
    return [str(item) for item in value]


def environment_entries(value: Any) -> list[dict[str, Any]]:
    """Environment variables as entries: from ``{NAME: value}``, or from entries.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, Mapping):
        return [
            {"name": str(name), "value": "" if text is None else str(text)}
            for name, text in value.items()
        ]
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise TypeError("must be a mapping of names to values, or a list of mappings")
    return [
        {**item, "value": str(item["value"])} if item.get("value") is not None else dict(item)
        for item in value
    ]


def local_references(value: Any) -> list[dict[str, Any]]:
    """Names of secrets: from ``a,b``, a list of names or a list of ``{name: a}``.

    Raises:
        TypeError: it is none of them.
    """
    if isinstance(value, str):
        return [{"name": name.strip()} for name in value.split(",") if name.strip()]
    if not isinstance(value, list):
        raise TypeError(f"must be a name or a list of names, not {value!r}")
    return [dict(item) if isinstance(item, Mapping) else {"name": str(item)} for item in value]


def port_entries(value: Any) -> list[Any]:
    """Ports of a container: from numbers, or from Kubernetes's own mappings.

    Raises:
        TypeError: it is no list.
    """
    if not isinstance(value, list):
        raise TypeError(f"must be a list, not {value!r}")
    return [{"container_port": item} if isinstance(item, int) else item for item in value]


def resource_requirements(value: Any) -> dict[str, Any]:
    """Requests and limits: Kubernetes's own, or ``request_memory: 1Gi``, ``limit_cpu: 2``, ….

    Raises:
        TypeError: it is no mapping.
        ValueError: a key is unknown.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"must be a mapping, not {value!r}")
    found: dict[str, Any] = {}
    for key, amount in value.items():
        kind, _, name = str(key).partition("_")
        if kind in ("request", "limit") and name in _RESOURCES:
            found.setdefault(f"{kind}s", {})[_RESOURCES[name]] = str(amount)
        elif key in ("requests", "limits") and isinstance(amount, Mapping):
            found.setdefault(str(key), {}).update(
                {str(resource): str(much) for resource, much in amount.items()}
            )
        elif key == "claims":
            found["claims"] = amount
        else:
            raise ValueError(f"{key!r} is no resource: write requests: and limits:")
    return found


def secret_entries(secrets: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What secrets add to a pod, by the field: of the form of Airflow's ``Secret``.

    ``deploy_type: env`` with a ``deploy_target`` and a ``key`` is one variable, without a target
    all keys of the secret are; ``deploy_type: volume`` is a folder at the target.

    Raises:
        TypeError: they are no mappings.
        ValueError: a type is neither.
        KeyError: a secret has no name, or a volume no place.
    """
    added: dict[str, list[Any]] = {"env": [], "env_from": [], "volumes": [], "volume_mounts": []}
    for number, secret in enumerate(secrets):
        if not isinstance(secret, Mapping):
            raise TypeError(f"each must be a mapping, not {secret!r}")
        kind, name = secret.get("deploy_type"), str(secret["secret"])
        target = secret.get("deploy_target")
        if kind == "volume":
            volume: dict[str, Any] = {"secret_name": name}
            if items := secret.get("items"):
                volume["items"] = items
            added["volumes"].append({"name": f"secret-{number}", "secret": volume})
            added["volume_mounts"].append(
                {
                    "name": f"secret-{number}",
                    "mount_path": str(secret["deploy_target"]),
                    "read_only": True,
                }
            )
        elif kind != "env":
            raise ValueError(f"deploy_type must be env or volume, not {kind!r}")
        elif target:
            reference = {"secret_key_ref": {"name": name, "key": str(secret["key"])}}
            added["env"].append({"name": str(target), "value_from": reference})
        else:
            added["env_from"].append({"secret_ref": {"name": name}})
    return added
