"""What the workers of a deployment do with the releases that they are given."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from liminal_assets.serving.control.live import read_workers
from liminal_assets.serving.control.supervisor import Ended
from liminal_assets.serving.releases.folders import ServingFolders

__all__ = ["Crew"]

_CRASHES = 3
"""So many workers that ended by themselves within the time below are the candidate's fault."""
_CRASHES_WITHIN = 300.0


class Crew:
    """The workers, as a controller sees them.

    Args:
        folders: what it shares with them.
        workers: the processes of those that are up.
        ended: how those ended that weren't told to.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folders: ServingFolders,
        workers: Callable[[], set[int]],
        ended: Callable[[], Sequence[Ended]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folders = folders
        self._workers = workers
        self._ended = ended
        self._clock = clock

    def have(self, release: str | None) -> bool:
        """Whether every worker that is up has a candidate in memory."""
        said = read_workers(self._folders.workers)
        states = [said.get(pid) for pid in self._workers()]
        return bool(states) and all(
            state is not None and state.candidate == release for state in states
        )

    def trouble(self) -> str | None:
        """What a worker couldn't load."""
        up = self._workers()
        states = read_workers(self._folders.workers).values()
        return next((state.problem for state in states if state.pid in up and state.problem), None)

    def ruined(self, since: float) -> Sequence[Ended]:
        """How workers ended since a candidate is there, if so many did that it must be why."""
        since = max(since, self._clock() - _CRASHES_WITHIN)
        ended = [end for end in self._ended() if end.at >= since]
        return ended if len(ended) >= _CRASHES else ()
