"""The traffic plan of a deployment: which releases answer, and how requests are shared out.

One small file that is replaced whole. The deployment's controller writes it, every worker follows
it; a crash at any moment leaves the old plan or the new one.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import msgspec

from liminal_assets.errors import StepError

__all__ = ["Plan", "read_plan", "write_plan"]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers.

    Attributes:
        generation: grows with every plan.
        stable: the key of the release that answers; None before the first.
        candidate: the key of the release that is tried.
        share: the percentage of requests that the candidate answers (canary).
        shadow: whether the candidate answers every request in the background besides.
        wanted: the champion's version.
        problem: why the champion isn't what answers, or why that isn't known.
    """

    generation: int = 0
    stable: str | None = None
    candidate: str | None = None
    share: float = 0.0
    shadow: bool = False
    wanted: str | None = None
    problem: str | None = None


def read_plan(path: Path) -> Plan:
    """The plan in force; an empty one before the first.

    Raises:
        StepError: the file is no plan.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except FileNotFoundError:
        return Plan()
    except (OSError, msgspec.DecodeError) as error:
        raise StepError(f"{path} is no traffic plan: {error}") from error


def write_plan(path: Path, plan: Plan) -> None:
    """Replaces the plan at once and whole.

    Raises:
        OSError: the disk can't take it; the old plan stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(plan), indent=1))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
