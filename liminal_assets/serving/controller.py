"""Carries out what the registry decides: the champion of a model becomes what a deployment answers.

The alias ``champion`` is the decision. The controller sees it move, makes the release, lets the
workers load it beside the one that answers, and gives it the requests as the rollout says. Every
step is one plan that replaces the one before; what the journal has to learn is in the plan until
the journal has it. So a controller that is killed at any moment leaves one plan, and the next goes
on from there.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Rollout
from liminal_assets.serving.counts import Counts, read_counts
from liminal_assets.serving.folders import ServingFolders
from liminal_assets.serving.live import read_workers
from liminal_assets.serving.plan import (
    Outcome,
    Plan,
    Progress,
    read_plan,
    version_of,
    write_plan,
)
from liminal_assets.serving.release import Release, read_release
from liminal_assets.serving.rollout import Seen, evidence_of, judge, pair_since
from liminal_assets.storage.journal import FINISH, Journal

__all__ = ["ACTOR", "Controller", "Source"]

ACTOR = "rollout"
_ENDS = ("deploy", "rollback", "cancel")
"""The decisions that end a rollout."""

_TICK_SECONDS = 0.1
_PAUSE_SECONDS = 1.0
"""After what the disk, the journal or the registry refused, it is tried again after this time."""
_RETRY_SECONDS = 30.0
"""After this time a version that couldn't be prepared is tried again."""

_RECENT = 20
"""Decisions among which one is looked for that a crash may have left unsaid."""

_log = logging.getLogger("liminal_assets.serving")


class Source(Protocol):
    """Where versions come from."""

    def newest(self) -> str | None:
        """The version that should answer, cheaply; None while there is none.

        Raises:
            StepError: it can't be told now.
        """

    def prepare(self, version: str) -> Release:
        """That version as a release.

        Raises:
            StepError: it can't be served.
        """

    def went_back(self, version: str) -> bool:
        """Whether it should answer because somebody went back to it."""

    def take_back(self, version: str, to: str, reason: str, evidence: Mapping[str, Any]) -> None:
        """Makes ``to`` the version that should answer, unless it isn't ``version`` any more.

        Raises:
            StepError: it can't be done now.
        """

    def waiting_for(self) -> str:
        """What to say while there is no version."""


class Controller:
    """Keeps the plan of a deployment, in a thread.

    Args:
        folders: what it shares with the workers.
        source: where versions come from.
        journal: the deployment's decisions; None for a server that decides nothing.
        rollout: how a version takes over.
        workers: the processes of the workers that are up.
        every: seconds between two looks at the source.
        counts: what the workers have counted.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        folders: ServingFolders,
        source: Source,
        journal: Journal | None,
        rollout: Rollout,
        *,
        workers: Callable[[], set[int]],
        every: float = 2.0,
        counts: Callable[[Path], Counts] = read_counts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folders = folders
        self._source = source
        self._journal = journal
        self._rollout = rollout
        self._workers = workers
        self._every = every
        self._read_counts = counts
        self._clock = clock
        self._wanted: str | None = None
        self._next_look = self._pause_until = 0.0
        self._finish = False
        self._failed: tuple[str, float, str] | None = None
        self._before: tuple[Progress, Counts, Counts] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.plan = _plan_of(folders)

    def start(self) -> None:
        """Begins to follow the source."""
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Ends that; the plan stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def tick(self) -> Plan:
        """Looks once at everything, and takes at most one step."""
        if time.monotonic() < self._pause_until:
            return self.plan
        try:
            if self.plan.decided is not None:
                self._learn(self.plan.decided)
            elif self._look():
                self._follow()
        except (StepError, OSError) as error:
            self._pause_until = time.monotonic() + _PAUSE_SECONDS
            self._tell(str(error))
        return self.plan

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:
                _log.exception("unexpected")
                self._stop.wait(1.0)
            self._stop.wait(_TICK_SECONDS)

    def _look(self) -> bool:
        """Asks the source from time to time; False while it can't be known what should answer."""
        now = time.monotonic()
        if now < self._next_look:
            return self._wanted is not None
        self._next_look = now + self._every
        try:
            self._wanted = self._source.newest()
        except Exception as error:
            self._wanted = None
            raise StepError(f"the registry can't be read: {_said(error)}") from error
        if self._wanted is None:
            self._change(wanted=None, problem=self._source.waiting_for())
            return False
        self._finish = self.plan.candidate is not None and self._asked_to_finish()
        return True

    def _follow(self) -> None:
        wanted, plan = self._wanted, self.plan
        stable, candidate = version_of(plan.stable), version_of(plan.candidate)
        if candidate is None:
            if wanted != stable:
                self._begin(str(wanted))
            else:
                self._change(wanted=wanted, problem=None)
        elif wanted == candidate:
            self._go_on(candidate)
        elif plan.stable is not None:
            self._end(
                "cancel",
                f"version {wanted} is the champion {'again' if wanted == stable else 'now'}",
            )
        else:
            # none answers yet, and the one that was to is no champion any more
            self._change(candidate=None, rollout=None)

    def _begin(self, wanted: str) -> None:
        """Gives the workers a candidate to load."""
        release = self._release(wanted)
        if release is not None:
            now = self._clock()
            self._change(
                candidate=release,
                share=0.0,
                shadow=0.0,
                wanted=wanted,
                problem=None,
                rollout=Progress(uuid.uuid4().hex, now, step_began=now),
            )

    def _release(self, wanted: str) -> str | None:
        """The key of a version's release, made unless it is the one before; None while it can't be
        made."""
        previous = self.plan.previous
        if version_of(previous) == wanted and _readable(self._folders, previous):
            return previous
        if self._failed and self._failed[0] == wanted and time.monotonic() < self._failed[1]:
            self._change(wanted=wanted, problem=self._failed[2])
            return None
        try:
            return self._source.prepare(wanted).key
        except Exception as error:
            stable = version_of(self.plan.stable)
            stays = f"; version {stable} stays" if stable else ""
            problem = f"version {wanted} can't be loaded{stays}: {_said(error)}"
            self._failed = (wanted, time.monotonic() + _RETRY_SECONDS, problem)
            self._change(wanted=wanted, problem=problem)
            return None

    def _go_on(self, candidate: str) -> None:
        """Takes the candidate a step further, if it is ready for that."""
        progress = self.plan.rollout
        if progress is None:
            # written by hand or by nobody: begin again
            self._change(candidate=None)
        elif progress.step < 0:
            if not self._loaded_everywhere():
                return
            if reason := self._at_once(candidate):
                self._finish_with(reason, {})
            else:
                self._step(progress, 0)
        elif self._finish:
            self._finish_with("it was told to take over", evidence_of(self._seen(progress)))
        else:
            self._judge(progress)

    def _at_once(self, candidate: str) -> str | None:
        """Why a version takes over without a rollout; None if it doesn't."""
        if self.plan.stable is None:
            return f"version {candidate} is the first"
        if self._rollout.strategy == "all_at_once":
            return f"version {candidate} is the champion"
        if self._source.went_back(candidate):
            return f"version {candidate} is the champion again"
        return "it was told to take over" if self._finish else None

    def _judge(self, progress: Progress) -> None:
        seen = self._seen(progress)
        verdict = judge(self._rollout, seen)
        if verdict.action == "roll_back":
            self._end("rollback", verdict.reason, evidence_of(seen))
        elif verdict.action == "wait":
            self._change(problem=self._trouble())
        elif self._rollout.strategy == "shadow":
            if self._rollout.then == "promote":
                self._finish_with(verdict.reason, evidence_of(seen))
        elif progress.step + 1 < len(self._rollout.steps):
            self._step(progress, progress.step + 1, verdict.reason, evidence_of(seen))
        else:
            self._finish_with(verdict.reason, evidence_of(seen))

    def _step(
        self,
        progress: Progress,
        step: int,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        rollout, plan = self._rollout, self.plan
        canary = rollout.strategy == "canary"
        share = rollout.steps[step] if canary else 0.0
        compares = rollout.rollback_on.disagreement is not None
        shadow = (100.0 if compares else 0.0) if canary else rollout.share
        what = f"{share:g} % of requests" if canary else f"in the shadow of {shadow:g} %"
        self._change(
            share=share,
            shadow=shadow,
            problem=None,
            rollout=msgspec.structs.replace(progress, step=step, step_began=self._clock()),
            decided=Outcome(
                progress.id,
                rollout.strategy,
                str(version_of(plan.candidate)),
                version_of(plan.stable),
                version_of(plan.stable),
                f"{what}: {reason}" if reason else what,
                {**(evidence or {}), "step": step},
            ),
        )

    def _finish_with(self, reason: str, evidence: Mapping[str, Any]) -> None:
        """The candidate answers everything from here on."""
        plan, progress = self.plan, self.plan.rollout
        version = str(version_of(plan.candidate))
        self._change(
            stable=plan.candidate,
            previous=plan.stable or plan.previous,
            candidate=None,
            share=0.0,
            shadow=0.0,
            problem=None,
            rollout=None,
            decided=Outcome(
                progress.id if progress else uuid.uuid4().hex,
                "deploy",
                version,
                version,
                version_of(plan.stable),
                reason,
                evidence,
            ),
        )

    def _end(self, action: str, reason: str, evidence: Mapping[str, Any] | None = None) -> None:
        """The candidate answers nothing from here on."""
        plan, progress = self.plan, self.plan.rollout
        began = progress is not None and progress.step >= 0
        outcome = Outcome(
            progress.id if progress else uuid.uuid4().hex,
            action,
            str(version_of(plan.candidate)),
            version_of(plan.stable),
            version_of(plan.stable),
            reason,
            evidence or {},
        )
        self._change(
            candidate=None,
            share=0.0,
            shadow=0.0,
            problem=None,
            rollout=None,
            # one that never answered leaves no trace
            decided=outcome if began else None,
        )

    def _learn(self, outcome: Outcome) -> None:
        """Brings a decision that is in force to the journal, and to the registry where it is one
        against the champion; each once, however often this is cut off."""
        if self._journal is not None:
            self._write_down(self._journal, outcome)
        if outcome.action == "rollback" and outcome.champion is not None:
            name = self._folders.root.name
            reason = f"{name}: {outcome.reason}"
            evidence = {"deployment": name, **outcome.evidence}
            try:
                self._source.take_back(outcome.version, outcome.champion, reason, evidence)
            except StepError:
                # until it can be done, or somebody has chosen another champion
                if self._source.newest() == outcome.version:
                    raise
            # what was known of the alias is older than that
            self._next_look = 0.0
        self._change(decided=None)
        self._tidy()

    def _write_down(self, journal: Journal, outcome: Outcome) -> None:
        champion = _number(outcome.champion)
        with journal.lock():
            last = journal.last()
            if outcome.action == "deploy" and last is not None and last.champion == champion:
                return
            told = (outcome.id, outcome.action, outcome.evidence.get("step"))
            for known in itertools.islice(journal.newest(), _RECENT):
                evidence = known.evidence
                if (evidence.get("rollout"), known.action, evidence.get("step")) == told:
                    return
            journal.append(
                outcome.action,
                version=_number(outcome.version),
                champion=champion,
                previous=_number(outcome.previous),
                reason=outcome.reason,
                actor=ACTOR,
                evidence={"rollout": outcome.id, **outcome.evidence},
            )

    def _seen(self, progress: Progress) -> Seen:
        """What the step has shown; of the requests before a restart nothing is known any more."""
        counts = self._read_counts(self._folders.metrics)
        if self._before is None or self._before[0].id != progress.id:
            self._before = (progress, counts, counts)
        elif self._before[0].step != progress.step:
            self._before = (progress, self._before[1], counts)
        _, at_first, at_step = self._before
        stable = str(version_of(self.plan.stable))
        candidate = str(version_of(self.plan.candidate))
        return Seen(
            self._clock() - progress.step_began,
            counts.of(stable).since(at_first.of(stable)),
            counts.of(candidate).since(at_step.of(candidate)),
            pair_since(counts.between(stable, candidate), at_step.between(stable, candidate)),
        )

    def _loaded_everywhere(self) -> bool:
        """Whether every worker that is up has the candidate in memory."""
        up = self._workers()
        said = read_workers(self._folders.workers)
        states = [said.get(pid) for pid in up]
        if trouble := self._trouble():
            self._change(problem=trouble)
            return False
        return bool(states) and all(
            state is not None and state.candidate == self.plan.candidate for state in states
        )

    def _trouble(self) -> str | None:
        """What a worker couldn't load."""
        up = self._workers()
        states = read_workers(self._folders.workers).values()
        return next((state.problem for state in states if state.pid in up and state.problem), None)

    def _asked_to_finish(self) -> bool:
        """Whether somebody decided so, since the last rollout of the deployment ended."""
        version = _number(version_of(self.plan.candidate))
        for decision in self._journal.newest() if self._journal else ():
            if decision.action == FINISH and decision.version == version:
                return True
            if decision.action in _ENDS:
                return False
        return False

    def _tell(self, problem: str) -> None:
        _log.warning("%s", problem)
        self._change(problem=problem)

    def _change(self, **changes: Any) -> None:
        """Replaces the plan, if it would be another."""
        before = self.plan
        plan = msgspec.structs.replace(before, **changes)
        if plan == before:
            return
        plan = msgspec.structs.replace(plan, generation=before.generation + 1)
        write_plan(self._folders.plan, plan)
        self.plan = plan

    def _tidy(self) -> None:
        """Removes the releases that nobody can come back to."""
        plan = self.plan
        kept = {plan.stable, plan.candidate, plan.previous}
        for state in read_workers(self._folders.workers).values():
            kept |= {state.stable, state.candidate}
        if self._folders.releases.is_dir():
            for folder in self._folders.releases.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)


def _plan_of(folders: ServingFolders) -> Plan:
    """The plan to go on with: the one on disk, without releases that can't be read any more."""
    try:
        plan = read_plan(folders.plan)
    except StepError as error:
        _log.warning("%s: it begins anew", error)
        plan = Plan()
    if not _readable(folders, plan.stable):
        plan = msgspec.structs.replace(plan, stable=None)
    if not _readable(folders, plan.candidate):
        plan = msgspec.structs.replace(plan, candidate=None, share=0.0, shadow=0.0, rollout=None)
    return plan


def _readable(folders: ServingFolders, key: str | None) -> bool:
    if key is None:
        return False
    try:
        read_release(folders.releases / key)
    except StepError as error:
        _log.warning("%s", error)
        # in its place the same release can be made again
        shutil.rmtree(folders.releases / key, ignore_errors=True)
        return False
    return True


def _number(version: str | None) -> int | None:
    return None if version is None else int(version)


def _said(error: Exception) -> str:
    if isinstance(error, StepError):
        return str(error)
    _log.error("unexpected", exc_info=error)
    return f"{type(error).__name__}: {error}"
