"""Where a deployment's servers of this machine keep what they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServingFolders"]


@dataclass(frozen=True)
class ServingFolders:
    """The folder of one deployment: ``<state>/serving/<deployment>``.

    Attributes:
        root: the folder.
    """

    root: Path

    @classmethod
    def of(cls, state: Path, deployment: str) -> ServingFolders:
        """That of a deployment below a project's state folder."""
        return cls(state / "serving" / deployment)

    @property
    def releases(self) -> Path:
        """One folder per release."""
        return self.root / "releases"

    @property
    def plan(self) -> Path:
        """The traffic plan."""
        return self.root / "plan.json"

    @property
    def spool(self) -> Path:
        """Answered rows and feedback on their way to the prediction log."""
        return self.root / "spool"

    @property
    def workers(self) -> Path:
        """What each worker says of itself: a file named after its process."""
        return self.root / "workers"

    @property
    def report(self) -> Path:
        """How the rollout is doing."""
        return self.root / "rollout.json"

    @property
    def team(self) -> Path:
        """Which workers there should be, and how those that ended did."""
        return self.root / "workers.json"

    @property
    def lock(self) -> Path:
        """Held by the controller."""
        return self.root / "controller.lock"

    @property
    def metrics(self) -> Path:
        """What workers count, one file each."""
        return self.root / "metrics"

    @property
    def drift(self) -> Path:
        """Logged rows by the bins of the training reference, counted by whoever merges the log."""
        return self.root / "drift"
