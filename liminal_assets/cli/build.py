"""``liminal build``: the images of Apache Liminal projects, by docker, podman or buildah."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from liminal_assets.cli.options import as_json, project_options
from liminal_assets.cli.output import duration, print_json, say
from liminal_assets.cli.projects import open_workflows
from liminal_assets.errors import StepError
from liminal_assets.execution.engines import BUILDERS, Engine, find_engine
from liminal_assets.language.diagnostics import did_you_mean

if TYPE_CHECKING:
    from liminal_assets.apache.images.builder import ImageBuilder
    from liminal_assets.apache.workflow import Image, Workflow

__all__ = ["command"]


@dataclass(frozen=True)
class _Built:
    image: str
    state: str
    """``built``, ``failed``, ``written`` (a dry run) or ``skipped``."""
    command: str | None = None
    context: str | None = None
    seconds: float | None = None


@click.command("build")
@project_options
@click.option("--image", "names", metavar="NAME", multiple=True, help="Only this one; repeatable.")
@click.option(
    "--engine", type=click.Choice(BUILDERS), help="What builds. Default: the first that answers."
)
@click.option(
    "--dry-run", is_flag=True, help="Only write what each image is built from; needs no engine."
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where --dry-run writes. Default: below the state folder.",
)
@as_json
def command(
    project: Path,
    env: str | None,
    names: Sequence[str],
    engine: str | None,
    dry_run: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Build the images of a project, and of those below it.

    Each image is its source folder with a Dockerfile of its type. A failed build is exit code 1;
    the others are built all the same.
    """
    if output and not dry_run:
        raise click.UsageError("--output is where --dry-run writes")
    builders, skipped = _builders(project, env, names)
    if not builders and not skipped and not as_json:
        say("there are no images to build")
    if dry_run:
        # the command is shown for the engine that would be used
        shown = Engine(engine or "docker", engine or "docker")
        done = [_write(builder, shown, output) for builder in builders]
    else:
        used = find_engine(engine) if builders else None
        done = [_build(builder, used, quiet=as_json) for builder in builders if used]
    done += [_Built(name, "skipped") for name in skipped]
    if as_json:
        print_json([{k: v for k, v in vars(item).items() if v is not None} for item in done])
    else:
        for item in done:
            _tell(item)
    return 1 if any(item.state == "failed" for item in done) else 0


def _builders(
    project: Path, env: str | None, names: Sequence[str]
) -> tuple[list[ImageBuilder], list[str]]:
    """Builders of the images that are asked for, each once, and the names of images that have
    nothing to be built from."""
    builders: dict[tuple[str, Path | None], ImageBuilder] = {}
    skipped: dict[str, None] = {}
    known: set[str] = set()
    for workflow in open_workflows(project, env):
        for spec in workflow.images.values():
            known.add(spec.name)
            if names and spec.name not in names:
                continue
            kind = _kind(spec, workflow)
            if kind is None:
                skipped[spec.name] = None
                continue
            builder = kind(spec, workflow)
            builders.setdefault((builder.tag, builder.source), builder)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            message = f"no image is called {name!r}" + (f" ({hint})" if hint else "")
            raise click.BadParameter(message, param_hint="--image")
    return list(builders.values()), list(skipped)


def _kind(spec: Image, workflow: Workflow) -> type[ImageBuilder] | None:
    """The builder of an image; None for one that has nothing to be built from.

    Raises:
        StepError: its plugin can't be used, and it has a source.
    """
    from liminal_assets.apache.images.finding import image_builder

    has_source = spec.get("source") is not None
    try:
        kind = image_builder(spec, workflow)
    except StepError:
        if has_source:
            raise
        return None
    return kind if has_source or not kind.needs_source else None


def _write(builder: ImageBuilder, engine: Engine, output: Path | None) -> _Built:
    """Writes the build context of an image, and tells the command that would build it."""
    folder = (output or builder.workflow.state / "images") / _file_name(builder.tag)
    if folder.exists():
        _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    builder.write_context(folder.resolve())
    (folder / _MARK).touch()
    command = _command(builder, engine, folder.resolve())
    return _Built(builder.tag, "written", shlex.join(command), str(folder))


_MARK = ".liminal-context"


def _clear(folder: Path) -> None:
    """Removes what an earlier dry run wrote, and nothing else.

    Raises:
        StepError: the folder holds something else.
    """
    if not (folder / _MARK).exists() and any(folder.iterdir()):
        hint = "choose another with --output"
        raise StepError(f"{folder} is no build context of an earlier dry run", hint=hint)
    shutil.rmtree(folder)


def _build(builder: ImageBuilder, engine: Engine, *, quiet: bool) -> _Built:
    began = time.monotonic()
    with _context(builder) as folder:
        command = _command(builder, engine, folder)
        if not quiet:
            say(f"{builder.tag}: {shlex.join(command)}", style="bold")
        code = _run(command, engine, quiet=quiet)
    state = "built" if code == 0 else "failed"
    return _Built(builder.tag, state, shlex.join(command), seconds=time.monotonic() - began)


@contextmanager
def _context(builder: ImageBuilder) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="liminal-image-") as folder:
        builder.write_context(Path(folder))
        yield Path(folder)


def _command(builder: ImageBuilder, engine: Engine, folder: Path) -> list[str]:
    no_cache = bool(builder.spec.get("no_cache", False))
    return engine.build_command(folder, builder.tag, no_cache=no_cache, secrets=builder.secrets())


def _run(command: Sequence[str], engine: Engine, *, quiet: bool) -> int:
    """Runs a build with its output on the terminal, or on standard error beside JSON."""
    process = subprocess.Popen(  # noqa: S603
        command,
        env=engine.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        assert process.stdout  # noqa: S101
        for line in process.stdout:
            click.echo(line, nl=False, err=quiet)
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _tell(built: _Built) -> None:
    if built.state == "written":
        say(f"{built.image}: {built.context}")
        say(f"  {built.command}")
    elif built.state == "skipped":
        say(f"{built.image}: skipped, it has no 'source'", style="yellow")
    else:
        style = "green" if built.state == "built" else "bold red"
        say(f"{built.image}: {built.state} in {duration(built.seconds or 0)}", style=style)


def _file_name(tag: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in tag)
