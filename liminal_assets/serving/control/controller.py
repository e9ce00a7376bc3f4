"""Carries out what the registry decides: the champion of a model becomes what a deployment answers.

The alias ``champion`` is the decision. The controller sees it move, makes the release, has it
rehearsed in a process of its own, lets the workers load it beside the one that answers, and gives
it the requests as the rollout says. Every step is one plan that replaces the one before; what the
journal has to learn is in the plan until the journal has it. So a controller that is killed at any
moment leaves one plan, and the next goes on from there.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Rollout
from liminal_assets.serving.control.crew import Crew
from liminal_assets.serving.control.evidence import Evidence, Labels
from liminal_assets.serving.control.outcomes import Books
from liminal_assets.serving.control.plan import Outcome, Plan, Progress, version_of, write_plan
from liminal_assets.serving.control.rollout import Verdict, evidence_of, judge
from liminal_assets.serving.control.supervisor import Ended
from liminal_assets.serving.errors import told
from liminal_assets.serving.observing.counts import Counts, read_counts
from liminal_assets.serving.rehearsal import Crash, rehearse
from liminal_assets.serving.releases.folders import ServingFolders
from liminal_assets.serving.releases.kept import plan_to_go_on_with, readable, tidy
from liminal_assets.serving.releases.release import read_release
from liminal_assets.serving.releases.source import Source
from liminal_assets.storage.journal import APPROVE, FINISH, Journal

__all__ = ["Controller"]

_TICK_SECONDS = 0.1
_PAUSE_SECONDS = 1.0
"""After what the disk, the journal or the registry refused, it is tried again after this time."""
_RETRY_SECONDS = 30.0
"""After this time a version that couldn't be prepared is tried again."""
_CRASHED_SECONDS = 600.0
"""After this time one that ends whatever loads it, where there is none to go back to."""

_log = logging.getLogger("liminal_assets.serving")


class Controller:
    """Keeps the plan of a deployment, in a thread.

    Args:
        folders: what it shares with the workers.
        source: where versions come from.
        journal: the deployment's decisions; None for a server that decides nothing.
        rollout: how a version takes over.
        workers: the processes of the workers that are up.
        ended: how workers ended that weren't told to.
        every: seconds between two looks at the source.
        labels: what labels say of two versions.
        counts: what the workers have counted.
        rehearsing: loads a release in a process of its own.
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
        ended: Callable[[], Sequence[Ended]] = tuple,
        every: float = 2.0,
        labels: Labels | None = None,
        counts: Callable[[Path], Counts] = read_counts,
        rehearsing: Callable[[Path], Crash | None] = rehearse,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folders = folders
        self._source = source
        self._rollout = rollout
        self._every = every
        self._rehearse = rehearsing
        self._clock = clock
        self._crew = Crew(folders, workers, ended, clock)
        self._books = Books(folders.root.name, journal, source)
        self._evidence = Evidence(folders, labels=labels, counts=counts, clock=clock)
        self._wanted: str | None = None
        self._next_look = self._pause_until = 0.0
        self._asked: frozenset[str] = frozenset()
        self._failed: tuple[str, float, str] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.plan = plan_to_go_on_with(folders)

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
                self._books.learn(self.plan.decided)
                self._learned()
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
            except Exception as error:
                self._unforeseen(error)
            self._stop.wait(_TICK_SECONDS)

    def _unforeseen(self, error: Exception) -> None:
        """Who asks is told; the frames are in the log once."""
        self._pause_until = time.monotonic() + _PAUSE_SECONDS
        if f"{type(error).__name__}: {error}" != self.plan.problem:
            with contextlib.suppress(OSError):
                self._change(problem=told(error))

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
            raise StepError(f"the registry can't be read: {told(error)}") from error
        if self._wanted is None:
            self._change(wanted=None, problem=self._source.waiting_for())
            return False
        candidate = version_of(self.plan.candidate)
        self._asked = self._books.asked(candidate) if candidate else frozenset()
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
        if release is not None and self._survived(wanted, release):
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
        if version_of(previous) == wanted and readable(self._folders, previous):
            return previous
        if self._failed and self._failed[0] == wanted and time.monotonic() < self._failed[1]:
            self._change(wanted=wanted, problem=self._failed[2])
            return None
        try:
            return self._source.prepare(wanted).key
        except Exception as error:
            stable = version_of(self.plan.stable)
            stays = f"; version {stable} stays" if stable else ""
            problem = f"version {wanted} can't be loaded{stays}: {told(error)}"
            self._failed = (wanted, time.monotonic() + _RETRY_SECONDS, problem)
            self._change(wanted=wanted, problem=problem)
            return None

    def _survived(self, wanted: str, release: str) -> bool:
        """Whether a process that loads a release lives; else the version is taken back. While none
        answers, and of the one before, workers find out themselves."""
        stable = version_of(self.plan.stable)
        if stable is None or release == self.plan.previous:
            return True
        crash = self._rehearse(self._folders.releases / release)
        if crash is None:
            return True
        reason = f"it ends the process that loads it ({crash.how})"
        evidence = {"crashes": crash.times, "last_words": crash.said}
        told = Outcome(uuid.uuid4().hex, "rollback", wanted, stable, stable, reason, evidence)
        _log.warning("version %s is taken back: %s", wanted, reason)
        self._change(wanted=wanted, problem=None, decided=told)
        return False

    def _give_up(self, candidate: str, ended: Sequence[Ended]) -> None:
        """Takes a candidate away that ends workers."""
        reason = f"{len(ended)} workers ended with it, the last one {ended[-1].how}"
        if self.plan.stable is not None:
            evidence = {"crashes": len(ended), "last": ended[-1].how}
            self._end("rollback", reason, evidence, always=True)
            return
        problem = f"version {candidate} can't be loaded: {reason}"
        self._failed = (candidate, time.monotonic() + _CRASHED_SECONDS, problem)
        self._change(candidate=None, rollout=None, problem=problem)

    def _go_on(self, candidate: str) -> None:
        """Takes the candidate a step further, if it is ready for that."""
        progress = self.plan.rollout
        if progress is None:
            # written by hand or by nobody: begin again
            self._change(candidate=None)
        elif ended := self._crew.ruined(progress.began):
            self._give_up(candidate, ended)
        elif progress.step < 0:
            if trouble := self._crew.trouble():
                self._change(problem=trouble)
            elif not self._crew.have(self.plan.candidate):
                return
            elif reason := self._at_once(candidate):
                self._finish_with(reason, {})
            else:
                self._step(progress, 0)
        elif FINISH in self._asked:
            seen = self._evidence.seen(self.plan, progress)
            self._finish_with("it was told to take over", evidence_of(seen))
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
        return "it was told to take over" if FINISH in self._asked else None

    def _judge(self, progress: Progress) -> None:
        seen = self._evidence.seen(self.plan, progress)
        verdict = judge(self._rollout, seen)
        waits = self._rollout.strategy == "shadow" and self._rollout.then == "wait"
        if verdict.action == "go_on" and waits and APPROVE not in self._asked:
            verdict = Verdict("wait", f"{verdict.reason}; 'liminal promote' lets it take over")
        self._evidence.report(progress, seen, verdict)
        if verdict.action == "roll_back":
            self._end("rollback", verdict.reason, evidence_of(seen))
        elif verdict.action == "wait":
            self._change(problem=self._crew.trouble())
        elif self._rollout.strategy == "canary" and progress.step + 1 < len(self._rollout.steps):
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
        shadow = (100.0 if rollout.compares else 0.0) if canary else rollout.share
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
                {**evidence, **self._told_by(plan.candidate)},
            ),
        )

    def _told_by(self, key: str | None) -> Mapping[str, Any]:
        """What the journal keeps of a release."""
        try:
            return read_release(self._folders.releases / str(key)).evidence
        except StepError:
            # the workers have it in memory
            return {}

    def _end(
        self,
        action: str,
        reason: str,
        evidence: Mapping[str, Any] | None = None,
        *,
        always: bool = False,
    ) -> None:
        """The candidate answers nothing from here on.

        Args:
            always: whether the journal learns it even of one that never answered.
        """
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
            decided=outcome if began or always else None,
        )

    def _learned(self) -> None:
        """A decision is where it belongs."""
        # what was known of the alias may be older than that
        self._next_look = 0.0
        self._change(decided=None)
        tidy(self._folders, self.plan)

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
