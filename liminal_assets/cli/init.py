"""``liminal init``: a new project that runs at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from liminal_assets.cli.output import say
from liminal_assets.language.base import as_name
from liminal_assets.language.diagnostics import did_you_mean

__all__ = ["TEMPLATES", "command"]

_FOLDER = Path(__file__).with_name("templates")
_NAME = "__NAME__"
# under their own names git and a code location would take them for this repository's
_RENAMED = {"project.gitignore": ".gitignore", "project.yml": "liminal.yml"}

TEMPLATES = {
    "tabular": "a table → a classifier with a REST endpoint, scores and a drift monitor",
    "batch": "monthly files → a regression that scores each month, watched on arriving labels",
    "apache": "a pipeline of tasks and a service in Apache Liminal's sections, without Docker",
}
"""What ``init`` can make, and what it is."""


@click.command(
    "init",
    epilog="Templates: " + "; ".join(f"{name}: {what}" for name, what in TEMPLATES.items()),
)
@click.argument("template_and_dir", nargs=-1, required=True, metavar="[TEMPLATE] DIR")
def command(template_and_dir: tuple[str, ...]) -> None:
    """Make a new project in DIR that runs at once.

    TEMPLATE is 'tabular' (default), 'batch' or 'apache'.
    """
    if len(template_and_dir) > 2:
        raise click.UsageError("takes a template and a folder")
    template = template_and_dir[0] if len(template_and_dir) == 2 else "tabular"
    if template not in TEMPLATES:
        hint = did_you_mean(template, TEMPLATES)
        raise click.UsageError(f"there is no template {template!r} ({hint})")
    folder = Path(template_and_dir[-1]).expanduser()
    name = project_name(folder.resolve().name)
    files = dict(_files(template))
    _check_free(folder, files)
    for target, source in files.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        path.write_text(text.replace(_NAME, name), encoding="utf-8")
    say(f"made {name} in {folder}", style="green")
    show = "liminal start" if template == "apache" else "liminal ui"
    for line in ("liminal validate", "liminal run", show):
        say(f"  {line} --project {folder}")


def project_name(folder: str) -> str:
    """A folder's name as the name of a project: words joined by single underscores."""
    return as_name(folder, "project")


def _files(template: str) -> Iterator[tuple[Path, Path]]:
    """Each file of a template: where it goes, and where it is."""
    root = _FOLDER / template
    for source in sorted(root.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            target = source.relative_to(root)
            yield target.with_name(_RENAMED.get(target.name, target.name)), source


def _check_free(folder: Path, files: dict[Path, Path]) -> None:
    """Fails where something would be overwritten.

    Raises:
        click.UsageError: names it.
    """
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"{folder} is a file")
    taken = [str(target) for target in files if (folder / target).exists()]
    if (folder / "liminal.yaml").exists():
        taken.insert(0, "liminal.yaml")
    if taken:
        raise click.UsageError(f"{folder} holds {', '.join(taken[:3])} already")
