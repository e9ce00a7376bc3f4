"""Failures that are the user's to mend: one message, no traceback."""

from __future__ import annotations

from liminal_assets.language.diagnostics import Location

__all__ = ["StepError"]


class StepError(Exception):
    """A step can't go on because of its data, a user function or the environment.

    Args:
        message: what is wrong, in one sentence.
        location: the place in the YAML that the failing piece comes from.
        hint: what would be right.
        transient: whether trying again may help (a network, a lock).
    """

    def __init__(
        self,
        message: str,
        *,
        location: Location | None = None,
        hint: str | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.hint = hint
        self.transient = transient

    def at(self, location: Location) -> StepError:
        """The error itself, pointing to a place in the YAML unless it already does."""
        self.location = self.location or location
        return self

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"
