"""``liminal serve``: a deployment's model server in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.cli.options import open_project, project_options
from liminal_assets.cli.output import say
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project

__all__ = ["command", "deployment_of"]


@click.command("serve")
@project_options
@click.argument("deployment")
@click.option("--host", metavar="ADDRESS", help="Default: as the deployment says.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Default: as the deployment says; 0 takes a free one.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="Where gRPC is spoken besides. Default: as the deployment says; 0 takes a free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Processes that share the ports. Default: as the deployment says.",
)
def command(
    project: Path,
    env: str | None,
    deployment: str,
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    workers: int | None,
) -> None:
    """Serve the champion of DEPLOYMENT until Ctrl-C.

    It starts without a champion too, and takes up whichever version is promoted while it runs.
    SIGTERM lets requests under way finish and writes the prediction log before it ends; it exits
    with 1 if some couldn't.
    """
    opened = open_project(project, env)
    block = deployment_of(opened, deployment)
    said = block.serve
    if said is None:
        raise click.BadParameter(
            f"{block.name} is no server: it scores in batches ('liminal run --select {block.name}' "
            "does that, 'liminal predict' scores a file)",
            param_hint="DEPLOYMENT",
        )
    used = said.port if port is None else port
    if used and used == (said.grpc_port if grpc_port is None else grpc_port):
        raise click.UsageError(f"HTTP and gRPC can't both have port {used}: --grpc-port, --port")
    from liminal_assets.serving.server import serve

    def listening(url: str, grpc: str | None) -> None:
        say(f"{block.name} listens at {url}/predict, its documentation is {url}/docs")
        if grpc:
            say(f"gRPC at {grpc}")
        if said.access_log is not None and said.access_log.file:
            file = opened.root / Path(said.access_log.file).expanduser()
            say(f"requests are written to {file}")
        say("Ctrl-C stops it")

    gently = serve(
        opened,
        block,
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        on_listening=listening,
    )
    if not gently:
        raise SystemExit(1)


def deployment_of(project: Project, name: str) -> Deployment:
    """The deployment of that name.

    Raises:
        click.BadParameter: there is none.
    """
    known = {block.deployment: block for block in project.spec.deployments}
    if name not in known:
        hint = did_you_mean(name, known)
        raise click.BadParameter(
            f"no deployment is called {name!r}" + (f" ({hint})" if hint else ""),
            param_hint="DEPLOYMENT",
        )
    return known[name]
