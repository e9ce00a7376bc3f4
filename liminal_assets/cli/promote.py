"""``liminal promote``: makes a version the champion."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.cli.decisions import actor, announce, model_of, reason_option, version_of
from liminal_assets.cli.options import open_project, project_options
from liminal_assets.cli.output import say
from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project

__all__ = ["command"]


@click.command("promote")
@click.argument("deployment")
@project_options
@click.option("--to", "version", metavar="VERSION", help="Default: the newest candidate.")
@reason_option
@click.option("--force", is_flag=True, help="Even if the version failed its validation.")
@click.option("--now", is_flag=True, help="Skip what is left of DEPLOYMENT's rollout.")
def command(
    deployment: str,
    project: Path,
    env: str | None,
    version: str | None,
    reason: str,
    force: bool,
    now: bool,
) -> None:
    """Make a version of DEPLOYMENT's model the champion, at once for every reader.

    A deployment with a rollout gives it its requests step by step; with --now all of them. A
    shadow that waits at its end ('then: wait') takes over when its version is promoted again. The
    decision, who took it and why are kept in the history.
    """
    checked = open_project(project, env)
    model = model_of(checked, deployment)
    block = checked.blocks[deployment]
    if now and not isinstance(block, Deployment):
        raise click.UsageError(f"--now needs a deployment, and {deployment} is a model")
    from liminal_assets.storage.journal import APPROVE, FINISH
    from liminal_assets.storage.registry import ModelRegistry

    registry = ModelRegistry(checked)
    chosen = registry.challenger(model) if version is None else version_of(registry, model, version)
    if chosen is None:
        raise StepError(f"{model} has no candidate", hint="'liminal run' trains one")
    if chosen.validated is False and not force:
        raise StepError(
            f"version {chosen.version} of {model} failed its validation",
            hint="'liminal history' says why; --force promotes it all the same",
        )
    previous = registry.champion(model)
    evidence = {"validated": chosen.validated, "forced": force, "metrics": dict(chosen.metrics)}
    announce(
        checked, registry.promote(model, chosen, reason, evidence=evidence, actor=actor()), previous
    )
    waits = isinstance(block, Deployment) and block.rollout.then == "wait"
    again = previous is not None and previous.version == chosen.version
    if now:
        _decide(checked, deployment, FINISH, chosen.version, reason)
    elif waits and again and _decide(checked, deployment, APPROVE, chosen.version, reason):
        said = "when its shadow has seen what it must; --now doesn't wait for that"
        say(f"{deployment}: version {chosen.version} takes over {said}", style="green")


def _decide(project: Project, deployment: str, action: str, version: int, reason: str) -> bool:
    """Tells the servers of a deployment what to do with the candidate that they have; whether
    there is anything to tell them."""
    from liminal_assets.storage.journal import Journal

    journal = Journal(project, deployment)
    with journal.lock():
        last = journal.last()
        live = last.champion if last else None
        if live == version:
            return False
        journal.append(
            action,
            version=version,
            champion=live,
            previous=live,
            reason=reason,
            actor=actor(),
        )
    return True
