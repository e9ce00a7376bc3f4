"""What steps report, free of Dagster: results of checks, and things that are shown to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Markdown", "Outcome", "Plot", "Records", "Severity", "Svg"]

Severity = Literal["error", "warning"]


class Markdown(str):
    """Text with Markdown in it."""

    __slots__ = ()


@dataclass(frozen=True)
class Records:
    """A few rows shown as a table; every row has the same keys and plain values."""

    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Plot:
    """A picture."""

    png: bytes = field(repr=False)
    title: str = ""


@dataclass(frozen=True)
class Svg:
    """A picture as SVG text: drawn in a millisecond, where matplotlib takes a tenth of a second."""

    text: str = field(repr=False)
    title: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    ``metadata`` holds JSON values, :class:`Markdown`, :class:`Records`, :class:`Plot` and
    :class:`Svg`.
    """

    name: str
    passed: bool
    severity: Severity = "error"
    description: str | None = None
    """One sentence for people: what was found, against what was asked."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Whether it stops what is downstream."""
        return not self.passed and self.severity == "error"
