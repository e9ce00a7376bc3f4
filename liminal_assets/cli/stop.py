"""``liminal stop``: all that ``liminal start`` has brought up, and whatever is left of it."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.cli.options import as_json, project_options
from liminal_assets.cli.output import print_json, say
from liminal_assets.cli.projects import home_at
from liminal_assets.execution.records import SUPERVISOR, Records

__all__ = ["command", "stop_all"]


@click.command("stop")
@project_options
@as_json
def command(project: Path, env: str | None, as_json: bool) -> None:
    """Stop what 'liminal start' has brought up, every process of it.

    What outlived a crash of its supervisor is stopped as well.
    """
    ended = stop_all(home_at(project))
    if as_json:
        print_json(ended)
    elif not ended:
        say("nothing is up")
    else:
        for name in ended:
            say(f"{name}: stopped")


def stop_all(home: Path) -> list[str]:
    """Stops everything that is up on a state folder; the names of the servers."""
    ended = Records(home / ".liminal").end_all()
    return [record.name for record in ended if record.name != SUPERVISOR]
