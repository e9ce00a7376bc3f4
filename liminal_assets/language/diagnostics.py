"""What is wrong with a project, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Diagnostic", "InvalidProjectError", "Location", "closest", "did_you_mean"]


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file. Lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: a stable ``code``, a message and, where there is one, a hint.

    A warning leaves the project usable: something in it has no effect, or not the one it seems
    to have.
    """

    location: Location
    code: str
    message: str
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.location}: {self.code}: {self.message}{hint}"

    def __lt__(self, other: Diagnostic) -> bool:
        """In the order of the files."""
        return self._order() < other._order()

    def _order(self) -> tuple[Location, str, str, str, str]:
        return self.location, self.code, self.message, self.hint or "", self.severity

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    def as_dict(self) -> dict[str, str | int | None]:
        """The form of ``liminal validate --json``; a warning has ``severity`` besides."""
        values: dict[str, str | int | None] = {
            "file": self.location.file,
            "line": self.location.line,
            "column": self.location.column,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }
        return values if self.is_error else {**values, "severity": self.severity}


class InvalidProjectError(Exception):
    """A project is wrong. Carries every mistake found, in the order of the file."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(map(str, self.diagnostics)))

    @classmethod
    def at(
        cls, location: Location | Path | str, code: str, message: str, hint: str | None = None
    ) -> InvalidProjectError:
        """The error for a single mistake."""
        if not isinstance(location, Location):
            location = Location(str(location))
        return cls([Diagnostic(location, code, message, hint)])


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the closest known word, or the few words there are."""
    choices = sorted(set(map(str, known)))
    if close := closest(word, choices):
        return f"did you mean {close!r}?"
    if choices and len(choices) <= 12:
        return "known: " + ", ".join(choices)
    return None


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that someone may have meant."""
    lowered = {choice.lower(): choice for choice in sorted(known)}
    close = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else None
