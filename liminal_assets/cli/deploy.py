"""``liminal deploy``: registers projects for ``start``, and brings services to a cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click

from liminal_assets.apache.workflow import Workflow
from liminal_assets.cli.apache import mistakes_of_workflow
from liminal_assets.cli.cluster import (
    apply_all,
    manifests_as_yaml,
    namespace_option,
    uses_cluster,
)
from liminal_assets.cli.options import as_json, project_options
from liminal_assets.cli.output import print_json, say
from liminal_assets.cli.projects import Deployed, projects_together, workflows_of
from liminal_assets.cli.stop import stop_all
from liminal_assets.language.diagnostics import InvalidProjectError

__all__ = ["command"]


@click.command("deploy")
@project_options
@click.option(
    "--clean",
    is_flag=True,
    help="From scratch: stop what is up, forget other projects, old logs and ports. Data and the "
    "history of runs stay.",
)
@namespace_option
@click.option("--dry-run", is_flag=True, help="Only print what a cluster would get, as YAML.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where --dry-run writes. Default: standard output.",
)
@as_json
def command(
    project: Path,
    env: str | None,
    clean: bool,
    namespace: str,
    dry_run: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Check the projects of a folder and register them: 'liminal start' brings them up.

    Where a Kubernetes cluster is configured, volumes, secrets and services go there, and 'start'
    leaves the services to it.
    """
    if output and not dry_run:
        raise click.UsageError("--output is where --dry-run writes")
    from liminal_assets.execution.manifests import service_manifests, volume_manifests

    projects = projects_together(project, env)
    workflows = workflows_of(projects)
    _check(workflows)
    if dry_run:
        manifests = list(
            chain.from_iterable(
                chain(volume_manifests(item, namespace), service_manifests(item, namespace))
                for item in workflows
            )
        )
        text = manifests_as_yaml(manifests, workflows)
        if output:
            output.write_text(text, encoding="utf-8")
            say(f"written to {output}")
        else:
            click.echo(text, nl=False)
        return
    home = projects[0].home
    if clean:
        _clean(home)
    changes = _to_cluster(workflows, namespace, quiet=as_json) if uses_cluster() else []
    for item in projects:
        cluster = namespace if uses_cluster() and item.workflow is not None else None
        Deployed(home).add(
            item.place, name=item.name, at=time.strftime("%Y-%m-%dT%H:%M:%S%z"), cluster=cluster
        )
    if as_json:
        print_json(
            {"projects": [item.name for item in projects], "home": str(home), "cluster": changes}
        )
        return
    for item in projects:
        say(f"{item.name}: deployed", style="green")
    say("'liminal start' brings it up")


def _check(workflows: Sequence[Workflow]) -> None:
    """Fails for what would fail only when it runs.

    Raises:
        InvalidProjectError: everything that is wrong.
    """
    errors = [
        item for workflow in workflows for item in mistakes_of_workflow(workflow) if item.is_error
    ]
    if errors:
        raise InvalidProjectError(errors)


def _clean(home: Path) -> None:
    stop_all(home)
    state = home / ".liminal"
    for name in ("images", "logs", "services", "up"):
        if (state / name).exists():
            shutil.rmtree(state / name)
    (state / "deployed.json").unlink(missing_ok=True)


def _to_cluster(
    workflows: Sequence[Workflow], namespace: str, *, quiet: bool
) -> list[dict[str, str]]:
    from liminal_assets.execution.manifests import (
        secret_manifests,
        service_manifests,
        volume_manifests,
    )

    return [
        change
        for workflow in workflows
        for manifests in (volume_manifests, secret_manifests, service_manifests)
        for change in apply_all(manifests(workflow, namespace), quiet=quiet)
    ]
