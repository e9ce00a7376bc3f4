"""The traffic plan of a deployment: which releases answer, and how requests are shared out.

One small file that is replaced whole. The deployment's controller writes it, every worker follows
it; a crash at any moment leaves the old plan or the new one. How far a rollout has come and what
the journal has yet to learn are in it too, so that a controller that starts again goes on with
what the one before had decided.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from liminal_assets.errors import StepError

__all__ = [
    "Outcome",
    "Plan",
    "Progress",
    "read_plan",
    "version_of",
    "write_atomically",
    "write_plan",
]


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a rollout has come.

    Attributes:
        id: of this rollout; decisions in the journal carry it.
        began: when, in seconds since 1970.
        step: which of the steps, from 0; -1 while workers load the candidate.
        step_began: when, in seconds since 1970.
    """

    id: str
    began: float
    step: int = -1
    step_began: float = 0.0


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision that is in force, and that the journal has yet to learn.

    Attributes:
        id: of the rollout.
        action: the journal's word for it.
        version: the version that it is about.
        champion: the version that answers from here on.
        previous: the version that answered before.
        reason: why, in words.
        evidence: what it rests on.
    """

    id: str
    action: str
    version: str
    champion: str | None
    previous: str | None
    reason: str
    evidence: Mapping[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers.

    Attributes:
        generation: grows with every plan.
        stable: the key of the release that answers; None before the first.
        candidate: the key of the release that is tried.
        share: the percentage of requests that the candidate answers (canary).
        shadow: the percentage of requests that the other version answers in the background
            besides, to compare the two: of all requests the candidate, or of those that the
            candidate answers the stable version.
        wanted: the champion's version.
        problem: why the champion isn't what answers, or why that isn't known.
        previous: the key of the release that answered before; kept to go back to.
        rollout: how far the candidate has come.
        decided: what the journal has yet to learn.
    """

    generation: int = 0
    stable: str | None = None
    candidate: str | None = None
    share: float = 0.0
    shadow: float = 0.0
    wanted: str | None = None
    problem: str | None = None
    previous: str | None = None
    rollout: Progress | None = None
    decided: Outcome | None = None


def version_of(release: str | None) -> str | None:
    """The version that a release's key names."""
    return release.rpartition("-")[0] if release else None


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
    write_atomically(path, msgspec.json.format(msgspec.json.encode(plan), indent=1), sync=True)


def write_atomically(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Replaces a file at once and whole.

    Args:
        sync: whether it must survive a power cut.

    Raises:
        OSError: the disk can't take it; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
