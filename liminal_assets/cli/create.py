"""``liminal create``: the volumes of a project."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.cli.cluster import (
    apply_all,
    manifests_as_yaml,
    namespace_option,
    uses_cluster,
)
from liminal_assets.cli.options import as_json, project_options
from liminal_assets.cli.output import print_json, say
from liminal_assets.cli.projects import open_workflows
from liminal_assets.errors import StepError
from liminal_assets.execution.mounts import volume_folder

__all__ = ["command"]


@click.command("create")
@project_options
@namespace_option
@click.option("--dry-run", is_flag=True, help="Only print what a cluster would get, as YAML.")
@as_json
def command(project: Path, env: str | None, namespace: str, dry_run: bool, as_json: bool) -> None:
    """Make the volumes of a project: their folders on this machine and, where a cluster is
    configured, a volume with its claim for each of them."""
    from liminal_assets.execution.manifests import volume_manifests

    workflows = open_workflows(project, env)
    manifests = [item for workflow in workflows for item in volume_manifests(workflow, namespace)]
    if dry_run:
        click.echo(manifests_as_yaml(manifests, ()), nl=False)
        return
    done = []
    for workflow in workflows:
        for volume in workflow.volumes.values():
            folder = volume_folder(volume, workflow)
            change = "kept" if folder.is_dir() else "created"
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StepError(
                    f"the folder of the volume {volume.name} can't be made: {folder}: "
                    f"{error.strerror}",
                    location=volume.locate("local"),
                ) from None
            done.append({"kind": "folder", "name": str(folder), "change": change})
            if not as_json:
                say(f"{volume.name}: {folder} ({change})")
    if uses_cluster():
        done += apply_all(manifests, quiet=as_json)
    if as_json:
        print_json(done)
    elif not done:
        say("there are no volumes")
