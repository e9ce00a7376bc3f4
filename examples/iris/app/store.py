"""The models of a folder: numbered versions, of which the newest counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import joblib

ROOT = Path(os.environ.get("STORE", "/mnt/flowers"))


class Shelf:
    """The versions in one folder: ``candidates`` or ``production``."""

    def __init__(self, name: str) -> None:
        self.folder = ROOT / name

    def newest(self) -> int | None:
        """The highest version; None if there is none."""
        versions = [int(file.stem) for file in self.folder.glob("*.joblib")]
        return max(versions, default=None)

    def load(self, version: int) -> Any:
        return joblib.load(self.folder / f"{version}.joblib")

    def save(self, model: Any, version: int) -> None:
        """Puts a model there in one step, so that nobody reads half of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{version}.draft"
        joblib.dump(model, draft)
        os.replace(draft, self.folder / f"{version}.joblib")


CANDIDATES = Shelf("candidates")
PRODUCTION = Shelf("production")
