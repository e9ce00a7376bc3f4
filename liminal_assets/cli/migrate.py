"""``liminal migrate``: what must change in a project of Apache Liminal."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from liminal_assets.cli.options import as_json, project_options
from liminal_assets.cli.output import print_diagnostics, print_json, relative, say
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import InvalidProjectError

if TYPE_CHECKING:
    from liminal_assets.apache.migration import Mended

__all__ = ["command", "write_files"]


@click.command("migrate")
@project_options
@click.option("--write", is_flag=True, help="Change the files.")
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files that change into DIR, and leave the project as it is.",
)
@click.option(
    "--modern",
    is_flag=True,
    help="Add models, deployments and schedules beside the pipelines, with a TODO for each decision"
    " and functions to write.",
)
@as_json
def command(
    project: Path, env: str | None, write: bool, output: Path | None, modern: bool, as_json: bool
) -> None:
    """Show what must change in a project of Apache Liminal, as a diff.

    Everything of 'liminal validate' whose right form is plain is put right: env → env_vars,
    metrics and monitoring, misspelt keys, missing quotes, variables out of order, names and keys
    written twice, old Python versions, plugins in the wrong folder. Every other line stays as it
    is, comments too. What someone must decide is listed. Environments change nothing.
    """
    from liminal_assets.apache.migration import mend, modernised, read_sources

    if write and output:
        raise click.UsageError("--write changes the project, --output leaves it: take one")
    mended = mend(read_sources(project))
    if mended is None:
        message = "there is no Apache Liminal project here"
        raise InvalidProjectError.at(project, "no-project", message)
    if modern:
        mended = modernised(mended)
    mended = _with_parts(mended)
    if write:
        write_files(mended.changed)
        for move in mended.moves:
            move.target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(move.source, move.target)
    elif output:
        _write_beside(mended, output.expanduser().resolve())
    if as_json:
        print_json(_document(mended, written=write or output is not None))
    else:
        _report(mended, write=write, output=output)


def _with_parts(mended: Mended) -> Mended:
    """With what takes the imports of plugins to know, as 'liminal validate' tells it."""
    from liminal_assets.apache.resolve import examine_projects
    from liminal_assets.cli.apache import mistakes_of_parts

    tree = mended.after.tree()
    parts = mistakes_of_parts(examine_projects(tree)) if tree else ()
    return replace(mended, left=tuple(sorted({*mended.left, *parts})))


def write_files(texts: Mapping[Path, str]) -> None:
    """Writes files, each of which is the old or the new one at every moment.

    Raises:
        StepError: one can't be written; then none is changed.
    """
    drafts: dict[Path, Path] = {}
    try:
        for file, text in texts.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
            drafts[file] = Path(name)
            with os.fdopen(descriptor, "wb") as draft:
                draft.write(text.encode("utf-8"))
            if file.exists():
                shutil.copymode(file, name)
            else:
                os.chmod(name, 0o666 & ~_umask())
        for file, draft_file in drafts.items():
            os.replace(draft_file, file)
    except OSError as error:
        raise StepError(f"cannot write {error.filename}: {error.strerror}") from None
    finally:
        for draft_file in drafts.values():
            draft_file.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_beside(mended: Mended, output: Path) -> None:
    """The files that change, in the same places below another folder."""
    root = mended.before.folder
    write_files({output / file.relative_to(root): t for file, t in mended.changed.items()})
    for move in mended.moves:
        target = output / move.target.relative_to(root)
        shutil.copytree(move.source, target, dirs_exist_ok=True)


def _report(mended: Mended, *, write: bool, output: Path | None) -> None:
    """The diff on standard output; why, and what is left to decide, on standard error."""
    click.echo("".join(_diff(mended)), nl=False)
    for reason in mended.reasons:
        say(f"{relative(reason.location)}: {reason.text}", err=True)
    files = len(mended.changed) + len(mended.moves)
    if not files:
        say("nothing to change", style="green", err=True)
    elif write or output:
        say(f"wrote {_files(files)}", style="green", err=True)
    else:
        say(f"{_files(files)} would change: --write changes them", style="bold", err=True)
    if mended.left:
        say("left for you to decide:", style="bold", err=True)
        print_diagnostics(mended.left)


def _files(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"


def _diff(mended: Mended) -> Iterator[str]:
    """What ``git apply`` and ``patch -p1`` take in the project's folder."""
    root = mended.before.folder
    for file, text in mended.changed.items():
        name = file.relative_to(root).as_posix()
        before = mended.before.texts.get(file)
        old, new = "/dev/null" if before is None else f"a/{name}", f"b/{name}"
        for line in difflib.unified_diff(_lines(before or ""), _lines(text), old, new):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
    for move in mended.moves:
        yield f"rename from {move.source.relative_to(root).as_posix()}\n"
        yield f"rename to {move.target.relative_to(root).as_posix()}\n"


def _lines(text: str) -> list[str]:
    """Lines with their ends, which may be those of Windows."""
    *lines, last = text.split("\n")
    return [f"{line}\n" for line in lines] + [last] * bool(last)


def _document(mended: Mended, *, written: bool) -> dict[str, Any]:
    return {
        "written": written,
        "files": [{"file": str(file), "text": text} for file, text in mended.changed.items()],
        "moves": [{"from": str(m.source), "to": str(m.target)} for m in mended.moves],
        "changes": [
            {"file": reason.location.file, "line": reason.location.line, "reason": reason.text}
            for reason in mended.reasons
        ],
        "left": [diagnostic.as_dict() for diagnostic in mended.left],
    }
