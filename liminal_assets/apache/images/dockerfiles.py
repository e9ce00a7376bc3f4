"""Pieces of Dockerfiles, and what images with Python have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liminal_assets.apache.images.builder import ImageBuilder, missing_file
from liminal_assets.apache.workflow import Image, Workflow
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Diagnostic, did_you_mean

__all__ = ["USER", "PythonBase", "PythonImageBuilder", "exec_form", "labels", "python_base"]

USER = 10001
"""The id of the user that images run as: as a number, so that Kubernetes sees that it isn't root
(``runAsNonRoot``)."""

DEFAULT = "3.12"
_DEBIAN = {
    "3.6": "3.6.15-slim-bullseye",
    "3.7": "3.7.17-slim-bookworm",
    "3.8": "3.8.20-slim-bookworm",
    "3.9": "3.9.23-slim-bookworm",
    "3.10": "3.10.18-slim-bookworm",
    "3.11": "3.11.13-slim-bookworm",
    "3.12": "3.12.11-slim-bookworm",
    "3.13": "3.13.5-slim-bookworm",
}
"""The tag of the official image by version of Python. Old ones are still there, as they were when
that version's support ended."""
_ENDED = frozenset({"3.6", "3.7", "3.8", "3.9"})


@dataclass(frozen=True)
class PythonBase:
    """A version of Python that there is an official image of."""

    minor: str
    """``3.12``"""
    image: str

    @property
    def ended(self) -> bool:
        """Whether this version gets no more fixes."""
        return self.minor in _ENDED

    @property
    def numbers(self) -> tuple[int, int]:
        """To compare with."""
        major, minor = self.minor.split(".")
        return int(major), int(minor)


def python_base(written: Any) -> PythonBase:
    """The official slim image of a version.

    Args:
        written: ``python_version``: ``3.11`` (its last release known here), ``3.11.4``, or None.

    Raises:
        ValueError: it is no version that there is an image of; the message says what would be
            right.
    """
    text = str(DEFAULT if written is None else written)
    if isinstance(written, float) and text == "3.1":
        raise ValueError("3.10 without quotes is the number 3.1: write '3.10'")
    match = re.fullmatch(r"(\d+\.\d+)(\.\d+)?", text)
    if match is None or match[1] not in _DEBIAN:
        raise ValueError(did_you_mean(text, _DEBIAN) or "known: 3.6 to 3.13")
    tag = _DEBIAN[match[1]] if match[2] is None else f"{text}-slim"
    return PythonBase(match[1], f"python:{tag}")


class PythonImageBuilder(ImageBuilder):
    """What images with Python have in common: ``requirements.txt``, ``pip_conf``, ``build_cmd``."""

    @classmethod
    def check(cls, spec: Image, workflow: Workflow) -> Iterable[Diagnostic]:
        yield from check_python_version(spec)
        if (pip_conf := cls._pip_conf(spec, workflow)) and not pip_conf.is_file():
            yield missing_file(spec, "pip_conf", pip_conf)

    @property
    def base(self) -> PythonBase:
        """The image that it starts from.

        Raises:
            StepError: ``python_version`` is none that there is.
        """
        written = self.spec.get("python_version")
        try:
            return python_base(written)
        except ValueError as hint:
            message = f"there is no Python {written}"
            at = self.spec.locate("python_version")
            raise StepError(message, location=at, hint=str(hint)) from None

    @property
    def requirements(self) -> bool:
        """Whether the source has a ``requirements.txt``."""
        return self.source is not None and (self.source / "requirements.txt").is_file()

    @property
    def build_cmd(self) -> str | None:
        """The command that compiles or otherwise builds the code."""
        written = self.spec.get("build_cmd")
        return None if written is None else str(written)

    @staticmethod
    def _pip_conf(spec: Image, workflow: Workflow) -> Path | None:
        written = spec.get("pip_conf")
        return None if written is None else workflow.root / Path(str(written)).expanduser()

    def secrets(self) -> Mapping[str, Path]:
        path = self._pip_conf(self.spec, self.workflow)
        if path is None:
            return {}
        if not path.is_file():
            missing = missing_file(self.spec, "pip_conf", path)
            raise StepError(missing.message, location=missing.location, hint=missing.hint)
        return {"pip_config": path}

    @property
    def pip_install(self) -> str:
        """The beginning of a ``RUN`` that installs packages, with ``pip_conf`` mounted."""
        mount = "--mount=type=secret,id=pip_config,target=/etc/pip.conf "
        return f"RUN {mount if self.secrets() else ''}pip install --no-cache-dir"

    def labels(self, base: str) -> str:
        """The ``LABEL`` instruction of the image."""
        return labels(self.spec, self.workflow, base)


def check_python_version(spec: Image) -> Iterator[Diagnostic]:
    """A mistake for a version that there isn't, a warning for one whose support has ended."""
    written = spec.get("python_version")
    at = spec.locate("python_version")
    try:
        base = python_base(written)
    except ValueError as hint:
        yield Diagnostic(at, "invalid-value", f"there is no Python {written}", str(hint))
        return
    if base.ended:
        message = f"Python {base.minor} gets no more fixes: the image stays as it was at its end"
        yield Diagnostic(at, "old-python", message, "3.10 to 3.13 are supported", "warning")


def exec_form(*words: str) -> str:
    """A command as Docker runs it without a shell."""
    return json.dumps(list(words))


def labels(spec: Image, workflow: Workflow, base: str) -> str:
    """The standard annotations of an image.

    References: https://github.com/opencontainers/image-spec/blob/main/annotations.md
    """
    values = {
        "title": spec.name,
        "description": spec.get("description"),
        "authors": workflow.configuration.get("owner"),
        "base.name": f"docker.io/{base}" if "/" in base else f"docker.io/library/{base}",
    }
    said = [
        f"org.opencontainers.image.{key}={quoted(str(value))}"
        for key, value in values.items()
        if value is not None
    ]
    return "LABEL " + " \\\n      ".join(said)


def quoted(text: str) -> str:
    """A value of ``LABEL`` or ``ENV`` that stands for itself."""
    plain = " ".join(text.split())
    return json.dumps(plain, ensure_ascii=False).replace("$", "\\$")
