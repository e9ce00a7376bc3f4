"""Container engines of this machine: docker, podman or buildah, whichever answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from liminal_assets.errors import StepError

__all__ = ["BUILDERS", "RUNNERS", "Engine", "engines", "find_engine"]

RUNNERS = ("docker", "podman")
"""Engines that run containers, the preferred one first."""
BUILDERS = (*RUNNERS, "buildah")
"""Engines that build images."""

_ANSWER: Mapping[str, tuple[str, ...]] = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
    "buildah": ("version",),
}
"""What each engine is asked to find whether it works; docker's server is another process."""
_PATIENCE = 20.0
"""Seconds that an engine has to answer."""


@dataclass(frozen=True)
class Engine:
    """A container engine that works."""

    name: str
    program: str
    """Its path."""
    version: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        own = {"DOCKER_BUILDKIT": "1"} if self.name == "docker" else {}
        return {**os.environ, **own}

    def build_command(
        self, context: Path, tag: str, *, no_cache: bool = False, secrets: Mapping[str, Path]
    ) -> list[str]:
        """The command that builds an image.

        Args:
            context: the folder with its Dockerfile.
            tag: its name.
            no_cache: whether every step is to run again.
            secrets: files that steps may mount, by id.
        """
        command = [self.program, "build", "--tag", tag]
        # only this format has health checks
        command += ["--progress=plain"] if self.name == "docker" else ["--format=docker"]
        if no_cache:
            command.append("--no-cache")
        for name, file in secrets.items():
            command.append(f"--secret=id={name},src={file}")
        return [*command, str(context)]


def find_engine(wanted: str | None = None, *, among: tuple[str, ...] = BUILDERS) -> Engine:
    """The first container engine that is installed and answers.

    Args:
        wanted: the one that must do.
        among: those that would do, the preferred one first.

    Raises:
        StepError: none is installed, or none of those that are answers; says why.
    """
    broken = []
    for name in (wanted,) if wanted else among:
        program = shutil.which(name)
        if program is None:
            continue
        engine, reason = _asked(name, program)
        if engine is not None:
            return engine
        broken.append(f"{name} is installed, but: {reason}")
    if broken:
        hint = "start it, or choose another with --engine"
        if broken[0].startswith("docker"):
            hint = "start its daemon, or install podman or buildah, which need none"
        raise StepError("; ".join(broken), hint=hint, transient=True)
    if wanted:
        raise StepError(f"{wanted} is not installed", hint=f"engines: {', '.join(among)}")
    raise StepError(
        "there is no container engine on this machine",
        hint=f"install one of {', '.join(among)}; tasks and services run without images too",
    )


def engines(among: tuple[str, ...] = BUILDERS) -> Iterator[tuple[str, Engine | None, str]]:
    """Every engine that is installed: its name, itself if it answers, and why it doesn't."""
    for name in among:
        if program := shutil.which(name):
            yield (name, *_asked(name, program))


def _asked(name: str, program: str) -> tuple[Engine | None, str]:
    try:
        done = subprocess.run(  # noqa: S603
            [program, *_ANSWER[name]],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_PATIENCE:.0f} seconds"
    except OSError as error:
        return None, error.strerror or str(error)
    if done.returncode == 0:
        first = next(iter(done.stdout.strip().splitlines()), "")
        return Engine(name, program, first), ""
    told = (done.stderr or done.stdout).strip().splitlines()
    return None, told[-1] if told else f"exit code {done.returncode}"
