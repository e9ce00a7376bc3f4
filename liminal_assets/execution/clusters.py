"""Whether this machine knows a Kubernetes cluster, and how it reaches one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liminal_assets.apache.workflow import ExecutorSpec
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location

__all__ = ["ClusterAccess", "api_client", "cluster_answers", "cluster_configured", "refusal"]

_IN_CLUSTER = "AIRFLOW__KUBERNETES__IN_CLUSTER"
_FILE = "AIRFLOW__KUBERNETES__CONFIG_FILE"
_CONTEXT = "AIRFLOW__KUBERNETES__CLUSTER_CONTEXT"


@dataclass(frozen=True)
class ClusterAccess:
    """Which configuration of a cluster is used."""

    in_cluster: bool
    """That of the pod that this process runs in."""
    file: str | None = None
    """A kubeconfig; None for ``KUBECONFIG``, else ``~/.kube/config``."""
    context: str | None = None
    """A context of it; None for its current one."""

    @classmethod
    def of(cls, spec: ExecutorSpec | None = None) -> ClusterAccess:
        """The access of an executor: ``in_cluster``, ``config_file`` and ``cluster_context``, then
        Airflow's environment variables for them, then what there is."""
        said = (lambda key: None) if spec is None else spec.get
        file, context = said("config_file"), said("cluster_context")
        inside = said("in_cluster")
        if inside is None and (variable := os.environ.get(_IN_CLUSTER)):
            inside = variable.strip().lower() == "true"
        if inside is None:
            inside = bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and not (file or context)
        return cls(
            bool(inside),
            None if inside else file or os.environ.get(_FILE) or None,
            None if inside else context or os.environ.get(_CONTEXT) or None,
        )


def cluster_configured(spec: ExecutorSpec | None = None) -> bool:
    """Whether there is a configuration: of the pod that this is, the executor's own file,
    ``KUBECONFIG`` or ``~/.kube``.

    Nothing is asked of the cluster.
    """
    access = ClusterAccess.of(spec)
    if access.in_cluster or os.environ.get("KUBERNETES_SERVICE_HOST"):
        return True
    named = access.file or os.environ.get("KUBECONFIG")
    files = named.split(os.pathsep) if named else ["~/.kube/config"]
    return any(Path(file).expanduser().is_file() for file in files if file)


def api_client(access: ClusterAccess | None = None, location: Location | None = None) -> Any:
    """A client of Kubernetes' API; no request is sent, and the process's default stays.

    Args:
        access: default: what there is.
        location: what an error points to.

    Raises:
        StepError: the configuration can't be used.
    """
    from dagster_k8s.client import PatchedApiClient
    from kubernetes import client, config

    access = access or ClusterAccess.of()
    configuration = client.Configuration()
    try:
        if access.in_cluster:
            config.load_incluster_config(client_configuration=configuration)
        else:
            # the client has read the variable when it was imported
            file = access.file or os.environ.get("KUBECONFIG")
            config.load_kube_config(file, access.context, configuration)
    except config.ConfigException as error:
        raise StepError(
            f"the configuration of the cluster can't be used: {error}",
            location=location,
            hint="KUBECONFIG or ~/.kube/config; 'kubectl config view' shows it",
        ) from None
    if configuration.no_proxy is None:
        # the client forgets what it has read (kubernetes-client/python#2520)
        configuration.no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    # a cluster that is away is told at once, not after three times the time-out
    configuration.retries = 0
    return PatchedApiClient(configuration)


@contextmanager
def cluster_answers(doing: str, location: Location | None = None) -> Iterator[None]:
    """What the cluster says to a request, as one :class:`StepError`.

    Args:
        doing: what failed then: ``"make the job x"``.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        message = f"the cluster refuses to {doing}: {error.status} {refusal(error)}"
        transient = error.status in (429, 500, 502, 503, 504)
        raise StepError(message, location=location, transient=transient) from None
    except HTTPError as error:
        raise StepError(
            f"the cluster doesn't answer when asked to {doing}: {str(error)[:300]}",
            location=location,
            hint="'kubectl cluster-info' asks it; LIMINAL_EXECUTOR=local does without",
            transient=True,
        ) from None


def refusal(error: Any) -> str:
    """The sentence of Kubernetes' ``ApiException``."""
    import json

    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
