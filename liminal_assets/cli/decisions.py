"""What ``promote``, ``rollback`` and ``history`` share: which model is meant, and who decides."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from liminal_assets.cli.output import say
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model

if TYPE_CHECKING:
    from liminal_assets.storage.model_version import ModelVersion
    from liminal_assets.storage.registry import ModelRegistry

__all__ = ["actor", "announce", "model_of", "reason_option", "version_of"]

reason_option = click.option(
    "--reason", metavar="TEXT", default="", help="Why; kept in the history."
)
"""``--reason``: parameter ``reason``."""


def model_of(project: Project, name: str) -> str:
    """The model of a deployment, or the model of that name.

    Raises:
        click.UsageError: there is neither.
    """
    block = project.blocks.get(name)
    if isinstance(block, Deployment):
        return block.model
    if isinstance(block, Model):
        return block.name
    spec = project.spec
    known = [*(block.name for block in spec.deployments), *(block.name for block in spec.models)]
    hint = did_you_mean(name, known)
    raise click.UsageError(
        f"no deployment or model is called {name!r}" + (f" ({hint})" if hint else "")
    )


def version_of(registry: ModelRegistry, model: str, version: str) -> ModelVersion:
    """The version that ``--to`` names.

    Raises:
        click.BadParameter: there is none; says which there are.
    """
    from liminal_assets.storage.registry import UnknownVersionError

    try:
        return registry.version(model, version)
    except UnknownVersionError as error:
        raise click.BadParameter(f"{error.message} ({error.hint})", param_hint="--to") from None


def actor() -> str:
    """Who decides by the command, as the history names them."""
    try:
        return f"{getpass.getuser()} (liminal)"
    except (KeyError, OSError):
        return "liminal"


def announce(project: Project, version: ModelVersion, previous: ModelVersion | None) -> None:
    """Says what a decision changed, and what sees it when."""
    users = [block for block in project.spec.deployments if block.model == version.model]
    names = ", ".join(block.name for block in users)
    if previous is not None and previous.version == version.version:
        say(f"{version.model}: version {version.version} is the champion already")
        names = ""
    else:
        before = f" (before: version {previous.version})" if previous else ""
        changed = f"{version.model}: version {version.version} is the champion now{before}"
        say(changed, style="green")
    if any(block.serve is not None for block in users):
        from liminal_assets.steps.deploy import bring_along

        for deployed in bring_along(project, version, previous):
            say(f"it answers at {deployed.endpoint}", style="green")
    if names:
        say(f"servers take it by themselves; batch scores with the next run: {names}")
