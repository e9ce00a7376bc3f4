"""Failures that are the user's to mend: one message, no traceback."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liminal_assets.language.diagnostics import Location

__all__ = ["StepError", "user_errors"]


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


@contextmanager
def user_errors(root: Path, doing: str, location: Location | None) -> Iterator[None]:
    """An exception of the user's code as one message with the frames of the user's files.

    Args:
        root: the folder of the user's files.
        doing: what raises it: the start of the message.

    Raises:
        StepError: for any exception but a :class:`StepError` and an interrupt.
    """
    try:
        yield
    except StepError:
        raise
    except Exception as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).is_relative_to(root)
        ]
        if isinstance(error, SyntaxError) and error.filename:
            where = f"\n  at {error.filename}:{error.lineno}"
        else:
            where = "".join(
                f"\n  at {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
                for frame in frames
            )
        kind = type(error).__name__
        raise StepError(f"{doing} raised {kind}: {error}{where}", location=location) from error
