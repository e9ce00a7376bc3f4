"""``liminal schema``: JSON Schema for editors."""

from __future__ import annotations

from pathlib import Path

import click

from liminal_assets.cli.output import print_json, say
from liminal_assets.language.schema import editor_schema

__all__ = ["command"]


@click.command("schema")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write it to a file.",
)
def command(output: Path | None) -> None:
    """Write the JSON Schema of liminal.yml, for completion and checks in editors.

    In a file's first line: # yaml-language-server: $schema=liminal.schema.json
    """
    schema = editor_schema()
    if output is None:
        print_json(schema)
        return
    import json

    output.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"wrote {output}")
