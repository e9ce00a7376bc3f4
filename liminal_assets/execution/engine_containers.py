"""Tasks as containers of docker or podman, if one is here and answers."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache

from liminal_assets.errors import StepError
from liminal_assets.execution.engines import RUNNERS, Engine, engines, find_engine
from liminal_assets.execution.namespaces import Bind
from liminal_assets.language.diagnostics import did_you_mean

__all__ = ["CHOICES", "has_image", "remove_command", "run_command", "runner", "why_no_runner"]

NO_ENGINE = "none"
CHOICES = (*RUNNERS, NO_ENGINE)
"""What may be asked for."""
_VARIABLE = "LIMINAL_ENGINE"
_READ_BY_CLIENTS = (
    "BUILDAH_", "CONTAINER", "DBUS_", "DOCKER_", "GODEBUG", "HOME", "LD_", "PATH", "PODMAN_",
    "SSH_", "TMPDIR", "USER", "XDG_", "http", "HTTP", "https", "NO_PROXY", "no_proxy",
)  # fmt: skip
"""Variables, or their beginnings, that the engine's own client looks at."""


def runner(chosen: str | None = None) -> Engine | None:
    """The engine that is asked for, else the first that answers; None if there is none, or none is
    wanted. Engines are asked once per process.

    Args:
        chosen: one of :data:`CHOICES`; default: ``LIMINAL_ENGINE``.

    Raises:
        StepError: the one that is asked for isn't here, or doesn't answer.
    """
    wanted = chosen or os.environ.get(_VARIABLE)
    if wanted == NO_ENGINE:
        return None
    if not wanted:
        return next((engine for _, engine, _ in _asked() if engine), None)
    if wanted not in CHOICES:
        hint = did_you_mean(wanted, CHOICES)
        raise StepError(f"{wanted!r} is no container engine that runs tasks", hint=hint)
    return find_engine(wanted, among=RUNNERS)


def why_no_runner() -> str:
    """Why there is no engine, in words that follow a colon."""
    broken = [f"{name} is installed, but: {reason}" for name, _, reason in _asked() if reason]
    return "; ".join(broken) or f"neither {' nor '.join(RUNNERS)} is installed"


@cache
def _asked() -> tuple[tuple[str, Engine | None, str], ...]:
    return tuple(engines(RUNNERS))


def has_image(engine: Engine, image: str) -> bool:
    """Whether an image is here, so that it needn't be pulled."""
    done = subprocess.run(  # noqa: S603
        [engine.program, "image", "inspect", image],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def run_command(
    engine: Engine,
    name: str,
    image: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    binds: Sequence[Bind] = (),
) -> tuple[list[str], dict[str, str]]:
    """The command that runs a container, and removes it when it ends.

    The task's program takes the place of the image's, as in Kubernetes.

    Returns:
        Program and arguments, and the environment of the engine's client. Values of variables are
        in the latter, for every user of the machine sees the former.
    """
    words = [engine.program, "run", "--rm", "--name", name]
    if engine.name == "docker":  # podman needs a package of its own for it
        words.append("--init")
    values = engine.environment
    for key, value in environment.items():
        if key.startswith(_READ_BY_CLIENTS):
            words += ["--env", f"{key}={value}"]
        else:
            words += ["--env", key]
            values[key] = value
    for bind in binds:
        for source, target in _files(bind):
            fields = ["type=bind", f"source={source}", f"target={target}"]
            words += ["--mount", _csv([*fields, *(["readonly"] if bind.read_only else [])])]
    return [*words, "--entrypoint", command[0], image, *command[1:]], values


def remove_command(engine: Engine, name: str) -> list[str]:
    """The command that ends a container, if it still runs, and removes it."""
    return [engine.program, "rm", "--force", name]


def _files(bind: Bind) -> list[tuple[str, str]]:
    if bind.source:
        return [(bind.source, bind.target)]
    return [(original, f"{bind.target.rstrip('/')}/{name}") for name, original in bind.copies]


def _csv(fields: Sequence[str]) -> str:
    """A comma-separated line: paths may hold commas and quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
