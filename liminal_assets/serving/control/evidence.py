"""What a rollout has shown so far: counted by the workers, and measured by labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.control.plan import Plan, Progress, version_of, write_atomically
from liminal_assets.serving.control.rollout import Seen, Verdict, evidence_of, pair_since
from liminal_assets.serving.observing.counts import Counts, read_counts
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.steps.side_by_side import SideBySide

__all__ = ["Evidence", "Labels", "Report", "read_report"]

Labels = Callable[[str, str, float], "SideBySide | None"]
"""What labels say of a stable version and a candidate, of requests since a moment (seconds since
1970); None while they say nothing. It answers at once."""

_REPORT_SECONDS = 1.0


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a rollout is doing, for whoever asks on this machine.

    Attributes:
        rollout: its id.
        at: when this was so, in seconds since 1970.
        verdict: what becomes of the candidate now, in words.
        evidence: what it rests on, as the journal would keep it.
    """

    rollout: str
    at: float
    verdict: str
    evidence: dict[str, Any]


class Evidence:
    """Gathers what the steps of a rollout show.

    Args:
        folders: what the controller shares with the workers.
        labels: what labels say; without it they aren't asked.
        counts: what the workers have counted.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folders: ServingFolders,
        *,
        labels: Labels | None = None,
        counts: Callable[[Path], Counts] = read_counts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folders = folders
        self._labels = labels
        self._read_counts = counts
        self._clock = clock
        self._before: tuple[Progress, Counts, Counts] | None = None
        self._reported = 0.0

    def seen(self, plan: Plan, progress: Progress) -> Seen:
        """What the step has shown; of the requests before a restart nothing is known any more."""
        counts = self._read_counts(self._folders.metrics)
        if self._before is None or self._before[0].id != progress.id:
            self._before = (progress, counts, counts)
        elif self._before[0].step != progress.step:
            self._before = (progress, self._before[1], counts)
        _, at_first, at_step = self._before
        stable, candidate = str(version_of(plan.stable)), str(version_of(plan.candidate))
        return Seen(
            self._clock() - progress.step_began,
            counts.of(stable).since(at_first.of(stable)),
            counts.of(candidate).since(at_step.of(candidate)),
            pair_since(counts.between(stable, candidate), at_step.between(stable, candidate)),
            self._labels(stable, candidate, progress.began) if self._labels else None,
        )

    def report(self, progress: Progress, seen: Seen, verdict: Verdict) -> None:
        """Says how the rollout is doing, at most once a second.

        Raises:
            OSError: the disk can't take it.
        """
        now = self._clock()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            said = Report(progress.id, now, verdict.reason, evidence_of(seen))
            write_atomically(self._folders.report, msgspec.json.encode(said))


def read_report(folders: ServingFolders) -> Report | None:
    """How the rollout is doing; None where nothing was said yet.

    Raises:
        StepError: the file can't be read.
    """
    try:
        return msgspec.json.decode(folders.report.read_bytes(), type=Report)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StepError(f"{folders.report} is no report of a rollout: {error}") from error
