"""The workers of a deployment as each of them, the controller and ``liminal status`` see them.

A worker answers ``/readyz`` for itself, for whoever asks sends it requests; what it says of the
others comes from here. The supervisor writes which there should be, each worker what it has loaded,
and the time stamp of a file shows that its event loop turns.
"""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from liminal_assets.serving.control.live import read_workers
from liminal_assets.serving.control.plan import version_of, write_atomically
from liminal_assets.serving.releases.folders import ServingFolders

__all__ = ["Place", "Team", "WorkerHealth", "health_of", "read_team", "write_team"]

_SILENT_SECONDS = 10.0
"""A worker shows that it turns once a second; a machine may be busy."""


class Place(msgspec.Struct, frozen=True):
    """The place of one worker.

    Attributes:
        pid: its process; None while the next one waits to be started.
        started: when that was started, in seconds since 1970.
        restarts: how often another took the place.
        ended: how the one before ended.
    """

    pid: int | None
    started: float
    restarts: int = 0
    ended: str | None = None


class Team(msgspec.Struct, frozen=True):
    """The workers that there should be.

    Attributes:
        pid: the process that keeps them up.
        started: when that began, in seconds since 1970.
        places: one each.
    """

    pid: int
    started: float
    places: tuple[Place, ...]


class WorkerHealth(msgspec.Struct, frozen=True):
    """How one worker is.

    Attributes:
        pid: its process.
        state: ``ready`` to answer; ``loading`` the first version; ``silent``: its event loop stands
            still; ``restarting``: it ended, and the next one isn't there yet.
        version: the version that answers there.
        candidate: the version that is tried there.
        since: when it had loaded the version that answers, in seconds since 1970.
        restarts: how often its place was taken by another.
        ended: how the one before ended.
        problem: what it couldn't load, and why.
    """

    pid: int | None
    state: Literal["ready", "loading", "silent", "restarting"]
    version: str | None = None
    candidate: str | None = None
    since: float | None = None
    restarts: int = 0
    ended: str | None = None
    problem: str | None = None


def write_team(folders: ServingFolders, team: Team) -> None:
    """Says which workers there should be.

    Raises:
        OSError: the disk can't take it.
    """
    write_atomically(folders.team, msgspec.json.encode(team))


def read_team(folders: ServingFolders) -> Team | None:
    """Which workers there should be; None before a supervisor said so."""
    try:
        return msgspec.json.decode(folders.team.read_bytes(), type=Team)
    except (OSError, msgspec.DecodeError):
        return None


def health_of(folders: ServingFolders) -> list[WorkerHealth]:
    """How each worker is."""
    team = read_team(folders)
    return [_health(folders, place) for place in team.places] if team else []


def _health(folders: ServingFolders, place: Place) -> WorkerHealth:
    gone = WorkerHealth(place.pid, "restarting", restarts=place.restarts, ended=place.ended)
    if place.pid is None:
        return gone
    said = read_workers(folders.workers).get(place.pid)
    if said is None:
        return msgspec.structs.replace(gone, state="loading")
    there = "silent" if _silent(folders, place) else "ready"
    return msgspec.structs.replace(
        gone,
        state=there if said.version else "loading",
        version=said.version,
        candidate=version_of(said.candidate),
        since=said.since,
        problem=said.problem,
    )


def _silent(folders: ServingFolders, place: Place) -> bool:
    try:
        turned = (folders.workers / f"{place.pid}.beat").stat().st_mtime
    except OSError:
        return True
    return time.time() - turned > _SILENT_SECONDS
