"""``liminal history``: the journal of decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from liminal_assets.cli.decisions import model_of
from liminal_assets.cli.options import as_json, open_project, project_options
from liminal_assets.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from liminal_assets.storage.journal import Decision

__all__ = ["command"]


@click.command("history")
@click.argument("deployment")
@project_options
@click.option("--limit", type=click.IntRange(min=1), help="The newest decisions only.")
@as_json
def command(
    deployment: str, project: Path, env: str | None, limit: int | None, as_json: bool
) -> None:
    """Which version of DEPLOYMENT's model was in use when, decided by whom, on which evidence."""
    checked = open_project(project, env)
    model = model_of(checked, deployment)
    from liminal_assets.storage.registry import ModelRegistry

    decisions = ModelRegistry(checked).history(model)[-(limit or 0) :]
    if as_json:
        print_json([decision.as_dict() for decision in decisions])
    elif not decisions:
        say(f"{model}: nothing was decided yet")
    else:
        print_table(
            ["#", "when", "decision", "version", "champion", "by", "why"],
            [_row(decision) for decision in decisions],
        )


def _row(decision: Decision) -> list[str]:
    def number(version: int | None) -> str:
        return "" if version is None else str(version)

    return [
        str(decision.number),
        decision.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        decision.action,
        number(decision.version),
        number(decision.champion),
        decision.actor,
        decision.reason.replace("\n", "; "),
    ]
