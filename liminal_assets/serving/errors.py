"""Requests that can't be answered: a status, a sentence, and what is wrong with each field."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liminal_assets.errors import StepError

__all__ = ["SHOWN", "Problem", "RequestError", "told"]

_log = logging.getLogger("liminal_assets.serving")

SHOWN = 100
"""Problems listed in one answer."""

_TOLD = 10
"""Problems told in one text."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value."""

    row: int
    """Counted from 0."""
    field: str
    message: str
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form in an answer."""
        hint = {"hint": self.hint} if self.hint else {}
        return {"row": self.row, "field": self.field, "message": self.message, **hint}


class RequestError(Exception):
    """A request that can't be answered, and why.

    Args:
        status: the HTTP status.
        code: a stable word for programs.
        message: one sentence for people.
        problems: the values that are wrong.
        allow: the HTTP methods that would be right, where the method is wrong.
        headers: what else the answer must say, by the header's name.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        problems: Sequence[Problem] = (),
        *,
        allow: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.problems = tuple(problems)
        self.allow = allow
        self.headers = dict(headers or {})

    def as_dict(self) -> dict[str, Any]:
        """The form in an answer."""
        said: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.problems:
            said["problems"] = [problem.as_dict() for problem in self.problems[:SHOWN]]
            said["problem_count"] = len(self.problems)
        return said

    @property
    def sentence(self) -> str:
        """What is wrong in one text, for protocols that have no list of problems."""
        said = self.message
        if self.problems:
            # the first one may be in the message already, or be all of it
            first = f"{self.problems[0].field}: {self.problems[0].message}"
            said = said.removesuffix(f"; {first}")
            said = "" if said in (first, self.problems[0].message) else said
        told = [
            f"{problem.field}: {problem.message} (row {problem.row})"
            for problem in self.problems[:_TOLD]
        ]
        left = len(self.problems) - len(told)
        told += [f"and {left} more"] if left else []
        return "; ".join([said, *told] if said else told)


def told(error: Exception) -> str:
    """What to say of an error; where its frames are needed to understand it they are logged."""
    if isinstance(error, StepError):
        return str(error)
    _log.error("unexpected", exc_info=error)
    return f"{type(error).__name__}: {error}"
