"""What a controller needs to know of the place that versions come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from liminal_assets.serving.releases.release import Release

__all__ = ["Source"]


class Source(Protocol):
    """Where versions come from."""

    def newest(self) -> str | None:
        """The version that should answer, cheaply; None while there is none.

        Raises:
            StepError: it can't be told now.
        """

    def prepare(self, version: str) -> Release:
        """That version as a release.

        Raises:
            StepError: it can't be served.
        """

    def went_back(self, version: str) -> bool:
        """Whether it should answer because somebody went back to it."""

    def take_back(self, version: str, to: str, reason: str, evidence: Mapping[str, Any]) -> None:
        """Makes ``to`` the version that should answer, unless it isn't ``version`` any more.

        Raises:
            StepError: it can't be done now.
        """

    def waiting_for(self) -> str:
        """What to say while there is no version."""
