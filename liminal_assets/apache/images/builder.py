"""What an image builder is: it makes the folder that a container engine builds an image from."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from liminal_assets.apache.workflow import Image, Workflow
from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Diagnostic, Location

__all__ = ["DOCKERFILE", "EXTRAS", "ImageBuilder"]

DOCKERFILE = "Dockerfile"
EXTRAS = ".liminal-image"
"""The folder of a build context that holds what comes beside the user's source."""

_LEFT_OUT = (
    ".git",
    ".hypothesis",
    ".ipynb_checkpoints",
    ".liminal",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
    "node_modules",
)
"""Folders that never get into a build context; virtual environments don't either."""


class ImageBuilder(ABC):
    """Makes an image's build context. A plugin is a module with one subclass, named like its type.

    >>> class Julia(ImageBuilder):
    ...     def dockerfile(self):
    ...         return Path(__file__).with_name("Dockerfile.julia")
    """

    needs_source: bool = True
    """Whether an image without ``source`` can't be built."""

    def __init__(self, spec: Image, workflow: Workflow) -> None:
        self.spec = spec
        self.workflow = workflow

    @classmethod
    def check(cls, spec: Image, workflow: Workflow) -> Iterable[Diagnostic]:
        """What is wrong with an image's configuration, without building it."""
        return ()

    @property
    def tag(self) -> str:
        """The image's name, with its tag if it has one."""
        return self.spec.name

    @property
    def source(self) -> Path | None:
        """The folder that is put into the image; None for an image without.

        Raises:
            StepError: there is no such folder.
        """
        written = self.spec.get("source")
        if written is None:
            return None
        folder = (self.workflow.root / str(written)).resolve()
        if not folder.is_dir():
            raise StepError(
                f"the image {self.tag} has no source: there is no folder {folder}",
                location=self.spec.locate("source"),
                hint="a path starts at the folder of the liminal.yml",
            )
        return folder

    @abstractmethod
    def dockerfile(self) -> str | Path:
        """The Dockerfile: its text, or the file that holds it. ``COPY . /app/`` copies the source.

        Raises:
            StepError: what is the user's to mend.
        """

    def additional_files(self) -> Mapping[str, str | Path]:
        """What is put beside the source, by the path in the build context: text, or a file to
        copy."""
        return {}

    def secrets(self) -> Mapping[str, Path]:
        """Files that the build may see but the image never holds, by the id of their mount:
        ``RUN --mount=type=secret,id=…``."""
        return {}

    def write_context(self, folder: Path) -> None:
        """Writes everything that the image is built from into an empty folder.

        Raises:
            StepError: something that is to be copied isn't there or can't be read.
        """
        files = dict(self.additional_files())
        files[DOCKERFILE] = self.dockerfile()
        try:
            if source := self.source:
                copy_source(source, folder, without=[folder, *self._confidential()])
            for name, content in files.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Path):
                    shutil.copyfile(content, target)
                else:
                    target.write_text(content, encoding="utf-8")
            self._keep(folder, files)
        except OSError as error:
            reason = error.strerror or str(error)
            named = f"{error.filename}: " if error.filename else ""
            raise StepError(
                f"what the image {self.tag} is built from can't be copied: {named}{reason}",
                location=self.spec.locate(),
            ) from None

    def _confidential(self) -> Iterator[Path]:
        """Files that no image may hold: what builds and tasks get as secrets."""
        yield from self.secrets().values()
        for items, key in (
            (self.workflow.images, "pip_conf"),
            (self.workflow.secrets, "local_path_file"),
        ):
            for item in items.values():
                if written := item.get(key):
                    yield self.workflow.root / Path(str(written)).expanduser()

    def _keep(self, folder: Path, files: Iterable[str]) -> None:
        """Has the engine see our files whatever the source's own ``.dockerignore`` leaves out."""
        ignore = folder / ".dockerignore"
        own = ignore.read_text(encoding="utf-8").rstrip() + "\n" if ignore.exists() else ""
        kept = sorted({name.split("/")[0] for name in files} - {DOCKERFILE})
        lines = [DOCKERFILE, ".dockerignore", *(f"!{name}" for name in kept)]
        ignore.write_text(own + "\n".join(lines) + "\n", encoding="utf-8")


def copy_source(source: Path, target: Path, *, without: Collection[Path] = ()) -> None:
    """Copies a folder without caches, virtual environments, and the folders of Git and our state.

    Args:
        without: files and folders to leave out besides.
    """
    left_out = {path.resolve() for path in without}

    def ignored(folder: str, names: list[str]) -> Sequence[str]:
        here = Path(folder)
        return [
            name
            for name in names
            if name in _LEFT_OUT
            or (here / name / "pyvenv.cfg").exists()
            or (here / name).resolve() in left_out
            or not _is_plain(here / name)
        ]

    shutil.copytree(source, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)


def _is_plain(path: Path) -> bool:
    """No socket, pipe or device, which can't be copied."""
    return path.is_symlink() or path.is_dir() or os.path.isfile(path)


def missing_file(spec: Image, key: str, path: Path) -> Diagnostic:
    """The mistake of a key that names a file that isn't there."""
    at: Location = spec.locate(key)
    hint = "a path starts at the folder of the liminal.yml"
    return Diagnostic(at, "missing-file", f"there is no file {path}", hint)
