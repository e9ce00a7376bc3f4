"""A registered version of a model, and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from liminal_assets.storage.tracking import import_mlflow, tracking_errors

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

__all__ = ["DIGEST_TAG", "VALIDATION_TAG", "ModelVersion", "digest_of"]

DIGEST_TAG = "liminal.digest"
VALIDATION_TAG = "liminal.validation"


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a model.

    Attributes:
        name: the registered model, ``<project>.<model>``.
        model: the block's name.
        version: its number, from 1; also the partition of ``<model>__reference``.
        run_id: the MLflow run that made it.
        metrics: what was measured on held-out rows.
        tags: lineage and the outcome of the validation.
        created_at: when it was registered (UTC).
        source: MLflow's URI of the model's files.
    """

    name: str
    model: str
    version: int
    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    created_at: datetime
    source: str
    aliases: tuple[str, ...] = ()
    tracking_uri: str = field(default="", repr=False)

    @property
    def partition(self) -> str:
        """Its partition of the table ``<model>__reference``."""
        return str(self.version)

    @property
    def digest(self) -> str | None:
        """SHA-256 over the model's files, recorded when it was registered."""
        return self.tags.get(DIGEST_TAG)

    @property
    def validated(self) -> bool | None:
        """Whether it passed its validation; None before one."""
        said = self.tags.get(VALIDATION_TAG)
        return None if said is None else said == "passed"

    @property
    def signature(self) -> ModelSignature:
        """The names and types of its inputs and outputs."""
        mlflow = import_mlflow()
        found: ModelSignature = mlflow.models.Model.load(str(self.folder())).signature
        return found

    def folder(self) -> Path:
        """The folder of its files, brought here if they are elsewhere."""
        mlflow = import_mlflow()
        with tracking_errors(f"read the files of version {self.version} of {self.model}"):
            # a local folder is read in place
            return Path(
                mlflow.artifacts.download_artifacts(self.source, tracking_uri=self.tracking_uri)
            )


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of a model's files."""
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        # written by MLflow when it downloads, and by Python when it imports
        if name == "registered_model_meta" or "__pycache__" in name:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()
