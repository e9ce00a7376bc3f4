"""What verbs do on a Kubernetes cluster, and how they show it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.output import say
from liminal_assets.execution.clusters import cluster_configured

if TYPE_CHECKING:
    from liminal_assets.apache.workflow import Workflow
    from liminal_assets.execution.manifests import Manifest

__all__ = ["apply_all", "delete_all", "manifests_as_yaml", "namespace_option", "uses_cluster"]

namespace_option = click.option(
    "--namespace", metavar="NAME", default="default", show_default=True, help="On a cluster."
)
"""``--namespace NAME``: parameter ``namespace``."""


def uses_cluster() -> bool:
    """Whether services and volumes belong on a cluster: one is configured, and
    ``LIMINAL_EXECUTOR`` isn't ``local``."""
    return cluster_configured() and os.environ.get("LIMINAL_EXECUTOR") != "local"


def apply_all(manifests: Iterable[Manifest], *, quiet: bool) -> list[dict[str, str]]:
    """Makes or changes resources, and tells of each."""
    from liminal_assets.execution.resources import apply

    return _told(apply(manifests), quiet=quiet)


def delete_all(manifests: Iterable[Manifest], *, quiet: bool) -> list[dict[str, str]]:
    """Takes resources away, and tells of each."""
    from liminal_assets.execution.resources import delete

    return _told(delete(manifests), quiet=quiet)


def _told(changes: Iterator[tuple[Manifest, Any]], *, quiet: bool) -> list[dict[str, str]]:
    done = []
    for manifest, change in changes:
        name = manifest["metadata"]["name"]
        done.append({"kind": manifest["kind"], "name": name, "change": change})
        if not quiet:
            say(f"{manifest['kind']} {name}: {change}")
    return done


def manifests_as_yaml(manifests: Sequence[Manifest], workflows: Sequence[Workflow]) -> str:
    """Resources as ``kubectl apply -f`` reads them. Of a secret only where it comes from is shown:
    what is printed ends up in logs."""
    from liminal_assets.language.writing import to_yaml

    lines = [
        f"# Secret {secret.name}: 'liminal deploy' makes it from {secret.get('local_path_file')}\n"
        for workflow in workflows
        for secret in workflow.secrets.values()
        if secret.get("local_path_file") is not None
    ]
    return "".join(lines) + "---\n".join(map(to_yaml, manifests))
