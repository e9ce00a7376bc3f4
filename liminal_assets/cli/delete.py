"""``liminal delete``: takes back what ``deploy`` and ``create`` made, or all state."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from liminal_assets.apache.volumes import local_folder
from liminal_assets.apache.workflow import Workflow
from liminal_assets.cli.cluster import delete_all, namespace_option, uses_cluster
from liminal_assets.cli.options import as_json, project_options
from liminal_assets.cli.output import print_json, say
from liminal_assets.cli.projects import Deployed, projects_together, workflows_of
from liminal_assets.cli.stop import stop_all
from liminal_assets.errors import StepError
from liminal_assets.execution.manifests import Manifest
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project

__all__ = ["command"]


@click.command("delete")
@project_options
@click.option(
    "--clean",
    is_flag=True,
    help="Also stop what is up, and delete the state folder (tables, models, runs) and the images.",
)
@namespace_option
@click.option("--yes", is_flag=True, help="Don't ask.")
@as_json
def command(
    project: Path, env: str | None, clean: bool, namespace: str, yes: bool, as_json: bool
) -> None:
    """Take the projects of a folder out of what 'liminal start' brings up, delete their model
    servers from targets elsewhere and, where a cluster is configured, their services, secrets and
    volumes there.

    Folders of volumes on this machine stay as they are, always.
    """
    projects = projects_together(project, env)
    workflows, home = workflows_of(projects), projects[0].home
    state = home / ".liminal"
    if clean:
        _keep_volumes(workflows, state)
    resources = [item for workflow in workflows for item in _resources(workflow, namespace)]
    servers = [
        (item, block)
        for item in projects
        for block in item.spec.deployments
        if block.serve is not None and block.serve.target != "local"
    ]
    lost = _lost(state, resources, clean=clean)
    lost += [f"the server {block.name} at its target" for _, block in servers]
    if lost and not yes:
        _ask(lost)
    done: list[dict[str, str]] = []
    if uses_cluster():
        done += delete_all(resources, quiet=as_json)
    done += _servers(servers)
    for place in Deployed(home).remove([item.place for item in projects]):
        done.append({"kind": "registration", "name": place, "change": "deleted"})
    if clean:
        done += _clean(workflows, home)
    if as_json:
        print_json(done)
        return
    for item in done:
        if item["kind"] in ("registration", "image", "state", "server"):
            say(f"{item['kind']} {item['name']}: {item['change']}")
    if not done:
        say("there is nothing to delete")


def _resources(workflow: Workflow, namespace: str) -> Iterator[Manifest]:
    """What a cluster holds of a project, in the order in which it can go."""
    from liminal_assets.execution.manifests import resource_name, volume_manifests

    def named(kind: str, name: str) -> Manifest:
        return {"kind": kind, "metadata": {"name": name, "namespace": namespace}}

    for service in workflow.services.values():
        yield named("Service", resource_name(service.name))
        yield named("Deployment", resource_name(service.name))
    for secret in workflow.secrets.values():
        if secret.get("local_path_file") is not None:
            yield named("Secret", secret.name)
    volumes = list(volume_manifests(workflow, namespace))
    # claims before the volumes that they hold on to
    yield from reversed(volumes)


def _servers(servers: Sequence[tuple[Project, Deployment]]) -> Iterator[dict[str, str]]:
    """Takes model servers from where they run elsewhere."""
    from liminal_assets.steps.deploy import target_of

    for project, block in servers:
        gone = target_of(project, block).delete(project, block)
        yield {"kind": "server", "name": block.name, "change": "deleted" if gone else "absent"}


def _lost(state: Path, resources: Sequence[Manifest], *, clean: bool) -> list[str]:
    """What can't be had back."""
    lost = []
    if uses_cluster() and resources:
        names = [f"{item['kind']} {item['metadata']['name']}" for item in resources]
        lost.append("on the cluster: " + ", ".join(names))
    if clean and state.exists():
        others = len(Deployed(state.parent).all())
        lost.append(f"{state}: tables, models, runs and logs ({others} deployed projects)")
    return lost


def _ask(lost: Sequence[str]) -> None:
    """Goes on only if somebody says yes.

    Raises:
        click.UsageError: nobody is there to ask.
        click.Abort: they say no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"this deletes {'; '.join(lost)}: --yes does it")
    for item in lost:
        say(f"deletes {item}", err=True)
    click.confirm("Delete it?", abort=True, err=True)


def _keep_volumes(workflows: Sequence[Workflow], state: Path) -> None:
    """Fails for a volume whose folder would go with the state.

    Raises:
        StepError: names the volume.
    """
    for workflow in workflows:
        for volume in workflow.volumes.values():
            folder = local_folder(volume, workflow)
            if folder is not None and folder.is_relative_to(state.resolve()):
                raise StepError(
                    f"the volume {volume.name} lies in the state folder {state}, which --clean "
                    "deletes",
                    location=volume.locate("local"),
                    hint="move its data elsewhere first",
                )


def _clean(workflows: Sequence[Workflow], home: Path) -> list[dict[str, str]]:
    done = [{"kind": "server", "name": name, "change": "stopped"} for name in stop_all(home)]
    done += [
        {"kind": "image", "name": name, "change": change} for name, change in _images(workflows)
    ]
    state = home / ".liminal"
    if state.exists():
        try:
            shutil.rmtree(state)
        except OSError as error:
            message = f"{state} can't be deleted: {error.filename}: {error.strerror}"
            raise StepError(message) from None
        done.append({"kind": "state", "name": str(state), "change": "deleted"})
    return done


def _images(workflows: Sequence[Workflow]) -> Iterator[tuple[str, str]]:
    """Takes the images that 'liminal build' makes from an engine that is there."""
    from liminal_assets.execution.engines import engines

    tags = [
        image.name
        for workflow in workflows
        for image in workflow.images.values()
        if image.get("source") is not None
    ]
    engine = next((engine for _, engine, _ in engines() if engine is not None), None)
    if engine is None:
        return
    for tag in dict.fromkeys(tags):
        done = subprocess.run(  # noqa: S603
            [engine.program, "rmi", tag],
            capture_output=True,
            text=True,
            check=False,
        )
        yield tag, "deleted" if done.returncode == 0 else "absent"
