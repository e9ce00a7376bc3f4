"""What rules look at and what they propose."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from liminal_assets.apache.migration.outline import Edit, Outline
from liminal_assets.language.diagnostics import Diagnostic
from liminal_assets.language.source import LocatedDict

__all__ = ["Change", "Rule", "View", "neighbour"]


@dataclass(frozen=True)
class Change:
    """One thing that is put right in a file."""

    line: int
    reason: str
    edits: tuple[Edit, ...]

    @property
    def is_move(self) -> bool:
        """Whether it touches several places."""
        return len(self.edits) > 1


@dataclass(frozen=True)
class View:
    """One file as rules see it."""

    file: Path
    outline: Outline
    document: LocatedDict
    diagnostics: tuple[Diagnostic, ...]
    """What ``validate`` says of the file."""
    executors: frozenset[str]
    """The executors of every project."""
    supers: frozenset[str]
    """The names that ``super`` may take."""


Rule = Callable[[View], Iterator[Change]]

_CLOSE, _CLEARLY = 0.8, 0.1


def neighbour(word: str, known: Collection[str]) -> str | None:
    """The one known word that a misspelt one must mean; None where it isn't plain.

    It is very close, and the next one is clearly less so.

    >>> neighbour("pipelnes", ["pipelines", "pipeline_defaults"])
    'pipelines'
    """
    ratios = sorted(
        ((difflib.SequenceMatcher(None, word.lower(), one.lower()).ratio(), one) for one in known),
        reverse=True,
    )
    if not ratios or ratios[0][0] < _CLOSE:
        return None
    second = ratios[1][0] if len(ratios) > 1 else 0.0
    return ratios[0][1] if ratios[0][0] - second >= _CLEARLY else None
