"""How a deployment's server on this machine is doing, from the files that it shares with itself."""

from __future__ import annotations

import fcntl
from typing import Any

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.control.evidence import read_report
from liminal_assets.serving.control.plan import Plan, read_plan, version_of
from liminal_assets.serving.control.team import WorkerHealth, health_of
from liminal_assets.serving.releases.folders import ServingFolders

__all__ = ["Overview", "Trial", "overview"]


class Trial(msgspec.Struct, frozen=True):
    """A version that is tried.

    Attributes:
        version: which.
        step: which of the rollout's steps, from 1; 0 while workers load it.
        share: the percentage of requests that it answers.
        shadow: the percentage of requests that the other version answers in the background.
        began: when its rollout began, in seconds since 1970.
        step_began: when the step began.
        verdict: what becomes of it now, in words.
        evidence: what that rests on, as the journal would keep it.
    """

    version: str
    step: int
    share: float
    shadow: float
    began: float
    step_began: float
    verdict: str = ""
    evidence: dict[str, Any] = {}


class Overview(msgspec.Struct, frozen=True):
    """How a server is doing.

    Attributes:
        version: the version that answers; None before the first.
        candidate: the version that is tried besides.
        champion: the version that should answer.
        problem: why it doesn't, or why that isn't known.
        workers: how each is.
    """

    version: str | None
    candidate: Trial | None
    champion: str | None
    problem: str | None
    workers: list[WorkerHealth]

    @property
    def health(self) -> str:
        """All workers in words: ``ready``, or how many of them are."""
        ready = sum(worker.state == "ready" for worker in self.workers)
        if ready == len(self.workers) > 0:
            return "ready" if ready == 1 else f"ready ({ready} workers)"
        others = sorted({w.state for w in self.workers if w.state != "ready"})
        said = f"{ready} of {len(self.workers)} workers ready"
        return f"{said} ({', '.join(others)})" if others else "starting"


def overview(folders: ServingFolders) -> Overview | None:
    """How the server is doing that runs on this machine; None where none does.

    Raises:
        StepError: what it wrote can't be read.
    """
    if not _runs(folders):
        return None
    plan = read_plan(folders.plan)
    return Overview(
        version_of(plan.stable),
        _trial(folders, plan),
        plan.wanted,
        plan.problem,
        health_of(folders),
    )


def _trial(folders: ServingFolders, plan: Plan) -> Trial | None:
    version, progress = version_of(plan.candidate), plan.rollout
    if version is None or progress is None:
        return None
    trial = Trial(
        version,
        progress.step + 1,
        plan.share,
        plan.shadow,
        progress.began,
        progress.step_began,
        "workers load it" if progress.step < 0 else "",
    )
    report = read_report(folders)
    if report is None or report.rollout != progress.id:
        return trial
    return msgspec.structs.replace(trial, verdict=report.verdict, evidence=report.evidence)


def _runs(folders: ServingFolders) -> bool:
    """Whether a controller holds its lock."""
    try:
        with folders.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StepError(f"{folders.lock} can't be read: {error.strerror}") from error
    return False
