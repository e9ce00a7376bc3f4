"""``liminal rollback``: goes back to an earlier champion."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.cli.decisions import actor, announce, model_of, reason_option, version_of
from liminal_assets.cli.options import open_project, project_options

__all__ = ["command"]


@click.command("rollback")
@click.argument("deployment")
@project_options
@click.option("--to", "version", metavar="VERSION", help="Default: the champion before this one.")
@reason_option
def command(
    deployment: str, project: Path, env: str | None, version: str | None, reason: str
) -> None:
    """Take the champion of DEPLOYMENT's model back to an earlier version, at once.

    The decision, who took it and why are kept in the history.
    """
    checked = open_project(project, env)
    model = model_of(checked, deployment)
    from liminal_assets.storage.registry import ModelRegistry

    registry = ModelRegistry(checked)
    previous = registry.champion(model)
    to = version_of(registry, model, version).version if version is not None else None
    announce(checked, registry.rollback(model, to, reason, actor=actor()), previous)
