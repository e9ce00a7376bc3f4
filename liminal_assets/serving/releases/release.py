"""A release: one version of a model as a folder that a server answers from, and nothing else.

The folder holds ``release.json`` and the files of the form that answers. It is made once, where
MLflow and scikit-learn are, and read by workers that import neither. Its name is that of the
version and of its content, it appears at once and whole, and it never changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.steps.signature import Field, Signature

__all__ = ["FORMAT", "Release", "read_release", "write_release"]

FORMAT = 1
"""The format of ``release.json``; a server refuses one that it doesn't know."""
_NAME = "release.json"


@dataclass(frozen=True)
class Release:
    """What a server needs to know of a version.

    Attributes:
        name: the registered model, ``<project>.<model>``.
        version: its version, as text.
        run_id: the MLflow run that made it.
        digest: SHA-256 over the registered model's files.
        signature: what it takes.
        example: a row that it can answer, as JSON values.
        form: which form answers; its files are in the folder (see ``serving.forms``).
        settings: what the form needs besides its files.
        certificate: what shows that the form answers as the pipeline does.
        features: how a request that carries only the entity gets the rest from the online store;
            none if it must carry all.
        baseline: the bins of its columns in the training reference
            (:func:`~liminal_assets.steps.baseline.baseline`); empty where none is kept.
        files: SHA-256 of each file of the folder, by its path there.
        folder: where it is; empty before it is written.
    """

    name: str
    version: str
    signature: Signature
    form: str
    run_id: str | None = None
    digest: str | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    certificate: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] | None = None
    baseline: Sequence[Mapping[str, Any]] = field(default_factory=list)
    files: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def evidence(self) -> Mapping[str, Any]:
        """What the journal keeps of it: by which specification its features are looked up."""
        known = (self.features or {}).get("specification")
        return {"feature_specification": known} if known else {}

    @property
    def key(self) -> str:
        """Its folder's name: the version, and the beginning of a digest of all that it holds."""
        content = json.dumps(_as_dict(self), sort_keys=True).encode()
        return f"{self.version}-{hashlib.sha256(content).hexdigest()[:12]}"


def write_release(root: Path, release: Release, fill: Callable[[Path], None]) -> Release:
    """Writes a release below ``root``; one with the same content is left as it is.

    Args:
        root: the folder of a deployment's releases.
        release: all but its files.
        fill: writes the form's files into an empty folder.

    Raises:
        OSError: the disk can't take it; nothing is left behind.
    """
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".{uuid.uuid4().hex}.draft"
    draft.mkdir()
    try:
        fill(draft)
        made = replace(release, files=_digests(draft))
        target = root / made.key
        if target.is_dir():
            return replace(made, folder=target)
        with (draft / _NAME).open("x") as file:
            json.dump(_as_dict(made), file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        try:
            draft.rename(target)
        except OSError:
            # another process was faster with the same content
            if not target.is_dir():
                raise
        return replace(made, folder=target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_release(folder: Path) -> Release:
    """A release, its files checked against their digests.

    Raises:
        StepError: there is none, it is of another format, or a file was changed.
    """
    try:
        said = json.loads((folder / _NAME).read_text())
    except (OSError, ValueError) as error:
        raise StepError(f"{folder} is no release: {error}") from error
    if said.pop("format", None) != FORMAT:
        raise StepError(
            f"{folder} is a release of another format",
            hint="deploy the model again with this version of liminal-assets",
        )
    signature = said.pop("signature")
    release = Release(
        **said,
        signature=Signature(
            tuple(Field(**values) for values in signature["fields"]),
            tuple(Field(**values) for values in signature["carried"]),
        ),
        folder=folder,
    )
    if _digests(folder) != release.files:
        raise StepError(
            f"the files of {folder} aren't those that were released",
            hint="someone changed them; deploy the model again",
        )
    return release


def _as_dict(release: Release) -> dict[str, Any]:
    said = asdict(replace(release, folder=Path()))
    del said["folder"]
    return {"format": FORMAT, **said}


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _NAME)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if "__pycache__" not in path.parts
    }
