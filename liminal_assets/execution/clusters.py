"""Whether this machine knows a Kubernetes cluster."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cluster_configured"]


def cluster_configured() -> bool:
    """Whether there is a configuration: of the pod that this is, ``KUBECONFIG`` or ``~/.kube``.

    Nothing is asked of the cluster.
    """
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return True
    named = os.environ.get("KUBECONFIG")
    files = named.split(os.pathsep) if named else ["~/.kube/config"]
    return any(Path(file).expanduser().is_file() for file in files if file)
