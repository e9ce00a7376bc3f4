"""Which versions answer now, and how the next one takes over.

A worker follows the deployment's plan: it loads and asks the next version beside those that answer;
then one assignment makes it the one that later requests see. A request keeps the version that it
began with.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.serving.control.plan import Plan, read_plan, version_of, write_atomically
from liminal_assets.serving.errors import told
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.release import read_release

__all__ = ["Follower", "LiveModel", "State", "WorkerState", "read_workers"]

_RETRY_SECONDS = 30.0
"""After this time a release that couldn't be loaded is tried again."""

_log = logging.getLogger("liminal_assets.serving")


@dataclass(frozen=True)
class State:
    """What a server knows of its versions at one moment.

    Attributes:
        model: the version that answers; None before the first.
        wanted: the version that should answer.
        problem: why they differ, or why it isn't known what should answer.
        candidate: the version that is tried.
        share: the percentage of requests that the candidate answers.
        shadow: the percentage of requests that the other version answers in the background.
        generation: that of the plan which says so.
    """

    model: ServedModel | None = None
    wanted: str | None = None
    problem: str | None = None
    candidate: ServedModel | None = None
    share: float = 0.0
    shadow: float = 0.0
    generation: int = 0


class LiveModel:
    """The versions that answer.

    Attributes:
        state: which; replaced whole.
    """

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State(problem="the model is being loaded")

    @classmethod
    def fixed(cls, model: ServedModel) -> LiveModel:
        """One version for ever."""
        return cls(State(model, model.version))

    def start(self) -> None:
        """Begins to follow what should answer."""

    def stop(self, timeout: float = 5.0) -> None:
        """Ends that; the version stays."""


class WorkerState(msgspec.Struct, frozen=True):
    """What a worker says of itself.

    Attributes:
        pid: its process.
        generation: the plan that it has carried out, as far as it could.
        stable: the release that answers there.
        candidate: the release that is tried there.
        problem: what it couldn't load, and why.
        version: the version that answers there; another than that of ``stable`` while that can't
            be loaded.
        since: when it had loaded that, in seconds since 1970.
    """

    pid: int
    generation: int
    stable: str | None = None
    candidate: str | None = None
    problem: str | None = None
    version: str | None = None
    since: float | None = None


def read_workers(folder: Path) -> dict[int, WorkerState]:
    """What the workers say, by process; those that ended may be among them."""
    found = {}
    for path in folder.glob("*.json"):
        try:
            state = msgspec.json.decode(path.read_bytes(), type=WorkerState)
        except (FileNotFoundError, msgspec.DecodeError):
            # removed meanwhile, or by an older program
            continue
        found[state.pid] = state
    return found


def _load(folder: Path) -> ServedModel:
    return ServedModel.from_release(read_release(folder))


class Follower(LiveModel):
    """Follows a deployment's plan, in a thread.

    Args:
        folders: the deployment's.
        every: seconds between two looks at the plan; a look is one ``stat``.
        load: makes a model of a release's folder, and asks it once.
    """

    def __init__(
        self,
        folders: ServingFolders,
        *,
        every: float = 0.05,
        load: Callable[[Path], ServedModel] = _load,
    ) -> None:
        super().__init__()
        self._folders = folders
        self._every = every
        self._load = load
        self._loaded: dict[str, ServedModel] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._seen: tuple[int, int] | None = None
        self._note = folders.workers / f"{os.getpid()}.json"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to follow the plan; the version that answers by it is in memory when this returns,
        for a worker that takes the place of another is to answer from its first connection on."""
        if self._thread is None:
            self.refresh(stable_only=True)
            self._thread = threading.Thread(target=self._watch, name="live-model", daemon=True)
            self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ends that; the versions stay."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def refresh(self, *, stable_only: bool = False) -> State:
        """Looks once whether there is another plan, and carries it out.

        Args:
            stable_only: not the candidate yet, which may be why the worker before ended.
        """
        stamp = self._stamp()
        if stamp == self._seen and not self._due():
            return self.state
        try:
            plan = read_plan(self._folders.plan)
        except StepError as error:
            return self._settle(replace(self.state, problem=str(error)))
        if stable_only and plan.stable:
            plan = msgspec.structs.replace(plan, candidate=None)
        else:
            self._seen = stamp
        needed = [key for key in (plan.stable, plan.candidate) if key]
        self._failed = {key: told for key, told in self._failed.items() if key in needed}
        models = {key: self._loaded[key] for key in needed if key in self._loaded}
        for key in needed:
            if key not in models and (model := self._model(key)):
                models[key] = model
                # the stable version doesn't wait for the candidate
                self._settle(self._state(plan, models))
        self._loaded = models
        self._settle(self._state(plan, models))
        self._say(plan, models)
        return self.state

    def _state(self, plan: Plan, models: dict[str, ServedModel]) -> State:
        # without the new one the one before stays, even where it isn't in the plan any more
        stable = models.get(plan.stable or "") or self.state.model
        candidate = models.get(plan.candidate or "")
        return State(
            stable,
            plan.wanted,
            self._problem(stable) or plan.problem,
            candidate,
            plan.share if candidate else 0.0,
            plan.shadow if candidate else 0.0,
            plan.generation,
        )

    def _model(self, key: str) -> ServedModel | None:
        """A release, read and asked; None if it can't be loaded."""
        if key in self._failed and time.monotonic() < self._failed[key][0]:
            return None
        try:
            model = self._load(self._folders.releases / key)
        except Exception as error:
            # whatever it is, the version that answers goes on
            self._failed[key] = (time.monotonic() + _RETRY_SECONDS, told(error))
            return None
        self._failed.pop(key, None)
        return model

    def _problem(self, stays: ServedModel | None) -> str | None:
        for key, (_, reason) in self._failed.items():
            goes_on = f"; version {stays.version} stays" if stays else ""
            return f"version {version_of(key)} can't be loaded{goes_on}: {reason}"
        return None

    def _say(self, plan: Plan, models: dict[str, ServedModel]) -> None:
        answers = self.state.model
        said = WorkerState(
            os.getpid(),
            plan.generation,
            plan.stable if plan.stable in models else None,
            plan.candidate if plan.candidate in models else None,
            self._problem(answers),
            answers.version if answers else None,
            answers.loaded_at.timestamp() if answers else None,
        )
        try:
            write_atomically(self._note, msgspec.json.encode(said))
        except OSError as error:
            _log.warning("%s can't be written: %s", self._note, error)

    def _settle(self, state: State) -> State:
        before, self.state = self.state, state
        if state.problem and state.problem != before.problem:
            _log.warning(state.problem)
        if state.model and state.model is not before.model:
            _log.info("version %s of %s answers", state.model.version, state.model.name)
        return state

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._folders.plan.stat()
        except OSError:
            return None
        # a plan is a new file each time
        return found.st_ino, found.st_mtime_ns

    def _due(self) -> bool:
        """Whether something that couldn't be loaded is to be tried again."""
        now = time.monotonic()
        return any(when <= now for when, _ in self._failed.values())

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._every)
