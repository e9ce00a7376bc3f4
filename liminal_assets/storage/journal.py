"""The decisions about a model or deployment: append-only, one immutable JSON file each.

``<data>/<project>/_journal/<name>/00000007.json``. A file appears at once and whole, and none is
written twice: the number is the order, even when clocks jump. The journal answers what was in
production at any moment, and on which evidence.

Who decides holds a lock: of the file system on one machine, and in object storage one that needs
nothing but whole objects (:mod:`liminal_assets.storage.store_lock`). There a file's name ends with
the decision's id besides, so that even a writer that was stopped for longer than the lock waits for
it replaces nobody's decision: two would have the same number, in the order of their moments.
"""

from __future__ import annotations

import getpass
import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.loading import Project
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.locks import file_lock
from liminal_assets.storage.store_lock import store_lock
from liminal_assets.storage.tables import TableStore

__all__ = ["APPROVE", "FINISH", "Decision", "Journal"]

APPROVE = "approve"
"""What somebody decides who lets a candidate take over that waits for it at the end of its
shadow."""
FINISH = "finish"
"""What somebody decides who skips what is left of a deployment's rollout."""
_PENDING = ".pending.json"


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        number: its place in the journal, from 1.
        at: when it was taken (UTC); never before the one that precedes it.
        action: ``promote``, ``rollback``, ``reject``, ``outside`` (an alias that something else
            moved), or a word of the deployment's.
        version: the version that it is about.
        champion: the version in use from here on; None while there is none.
        previous: the version in use before.
        reason: why, in words.
        actor: who or what decided.
        evidence: what the decision rests on: metrics, checks, runs.
    """

    number: int
    at: datetime
    action: str
    version: int | None
    champion: int | None
    previous: int | None
    reason: str
    actor: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        return {**asdict(self), "at": self.at.isoformat(), "evidence": dict(self.evidence)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """The decision that :meth:`as_dict` wrote."""
        return cls(**{**values, "at": datetime.fromisoformat(values["at"])})


class Journal:
    """The decisions about one model or deployment of a project.

    Args:
        project: says where.
        name: the block's name.
    """

    def __init__(self, project: Project, name: str) -> None:
        self.name = name
        store = TableStore(project)
        self._folder = f"{store.root}/_journal/{name}"
        self._options = project.spec.storage.data_options
        self._local = Path(self._folder) if "://" not in self._folder else None
        self._holding = threading.RLock()
        self._held = False

    def append(
        self,
        action: str,
        *,
        version: int | None,
        champion: int | None,
        previous: int | None = None,
        reason: str = "",
        actor: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Writes a decision that needs no other change to become true.

        Raises:
            StepError: the journal can't be written.
        """
        with self.lock():
            decision = self._next(action, version, champion, previous, reason, actor, evidence)
            return self._commit(decision)

    @contextmanager
    def changing(
        self,
        action: str,
        *,
        version: int,
        previous: int | None,
        reason: str = "",
        actor: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Iterator[Decision]:
        """A decision that becomes true with the change made inside the block.

        The intention is written first and the decision last, so that after a crash
        :meth:`recover` knows whether the change was made. Use it inside :meth:`lock`.
        """
        decision = self._next(action, version, version, previous, reason, actor, evidence)
        self._write(_PENDING, decision, replace_old=True)
        yield decision
        self._commit(decision)
        self._remove(_PENDING)

    def settled(self, champion: int | None) -> bool:
        """Whether there is nothing that :meth:`recover` would change; it needs no lock.

        Args:
            champion: the version that is in use now.
        """
        last = self.last()
        return champion == (last.champion if last else None) and self._read(_PENDING) is None

    def recover(self, champion: int | None) -> None:
        """Ends what a crash cut off, and notes a champion that something else chose.

        Args:
            champion: the version that is in use now. Use it inside :meth:`lock`.
        """
        pending = self._read(_PENDING)
        decisions = self.decisions()
        last = decisions[-1] if decisions else None
        if pending is not None:
            done = any(decision.id == pending.id for decision in decisions)
            if not done and champion == pending.version:
                last = self._commit(replace(pending, number=len(decisions) + 1))
            self._remove(_PENDING)
        if champion != (last.champion if last else None):
            self.append(
                "outside",
                version=champion,
                champion=champion,
                previous=last.champion if last else None,
                reason="the alias was moved by something else; noticed now",
                actor="unknown",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps others from deciding at the same time; who holds it may take it again.

        Raises:
            StepError: the storage can't be used.
        """
        with self._holding:
            if self._held:
                yield
                return
            with ExitStack() as held:
                with engine_errors(f"lock the journal of {self.name}"):
                    held.enter_context(self._exclusive())
                self._held = True
                try:
                    yield
                finally:
                    self._held = False

    def _exclusive(self) -> AbstractContextManager[None]:
        if self._local:
            return file_lock(self._local / ".lock")
        filesystem, folder = self._remote()
        return store_lock(filesystem, f"{folder}/_lock")

    def decisions(self) -> list[Decision]:
        """Every decision, in order."""
        return [found for name in self._ordered() if (found := self._read(name)) is not None]

    def newest(self) -> Iterator[Decision]:
        """Every decision, the newest first, each read when it is asked for."""
        for name in reversed(self._ordered()):
            if (found := self._read(name)) is not None:
                yield found

    def last(self) -> Decision | None:
        """The newest decision."""
        return next(self.newest(), None)

    def at(self, moment: datetime) -> Decision | None:
        """The decision in force at a moment; its ``champion`` is what was in use.

        Args:
            moment: with a time zone; a naive one counts as UTC.
        """
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return next((decision for decision in self.newest() if decision.at <= moment), None)

    def _next(
        self,
        action: str,
        version: int | None,
        champion: int | None,
        previous: int | None,
        reason: str,
        actor: str | None,
        evidence: Mapping[str, Any] | None,
    ) -> Decision:
        last = self.last()
        now = datetime.now(timezone.utc)
        if last and now <= last.at:
            now = last.at + timedelta(microseconds=1)
        return Decision(
            number=last.number + 1 if last else 1,
            at=now,
            action=action,
            version=version,
            champion=champion,
            previous=previous,
            reason=reason,
            actor=actor or _user(),
            evidence=evidence or {},
        )

    def _commit(self, decision: Decision) -> Decision:
        """Takes the first free number."""
        if not self._local:
            self._write(f"{decision.number:08d}-{decision.id}.json", decision)
            return decision
        while not self._write(f"{decision.number:08d}.json", decision):
            decision = replace(decision, number=decision.number + 1)
        return decision

    def _write(self, name: str, decision: Decision, *, replace_old: bool = False) -> bool:
        """Writes a file; False, and nothing is written, if it is there and mustn't change. In
        object storage nobody else writes one of that name."""
        content = json.dumps(decision.as_dict(), indent=1, default=str).encode()
        with engine_errors(f"write the journal of {self.name}"):
            if self._local:
                return _write_local(self._local / name, content, replace_old=replace_old)
            filesystem, folder = self._remote()
            filesystem.makedirs(folder, exist_ok=True)
            filesystem.pipe_file(f"{folder}/{name}", content)
            return True

    def _read(self, name: str) -> Decision | None:
        if self._local:
            path = self._local / name
            content = path.read_bytes() if path.is_file() else None
        else:
            filesystem, folder = self._remote()
            file = f"{folder}/{name}"
            content = filesystem.cat_file(file) if filesystem.exists(file) else None
        if content is None:
            return None
        try:
            return Decision.from_dict(json.loads(content))
        except (ValueError, TypeError, KeyError) as error:
            raise StepError(
                f"the journal of {self.name} is damaged: {self._folder}/{name}: {error}"
            ) from error

    def _remove(self, name: str) -> None:
        if self._local:
            (self._local / name).unlink(missing_ok=True)
        else:
            filesystem, folder = self._remote()
            with suppress(FileNotFoundError):
                filesystem.rm_file(f"{folder}/{name}")

    def _ordered(self) -> list[str]:
        """The files of decisions, the oldest first. Those of one number, which a lock that was
        broken leaves, are in the order of their moments."""
        names = sorted(name for name in self._names() if not name.startswith("."))
        numbers = [name[:8] for name in names]
        if len(set(numbers)) == len(numbers):
            return names
        moments = {name: found.at for name in names if (found := self._read(name)) is not None}
        return sorted(moments, key=lambda name: (name[:8], moments[name]))

    def _names(self) -> list[str]:
        if self._local:
            return [path.name for path in self._local.glob("*.json")]
        filesystem, folder = self._remote()
        if not filesystem.exists(folder):
            return []
        names = [path.rpartition("/")[2] for path in filesystem.ls(folder, detail=False)]
        return [name for name in names if name.endswith(".json")]

    def _remote(self) -> tuple[Any, str]:
        import fsspec

        filesystem, folder = fsspec.url_to_fs(self._folder, **self._options)
        filesystem.invalidate_cache()
        return filesystem, folder


def _write_local(path: Path, content: bytes, *, replace_old: bool) -> bool:
    """A file that appears at once and whole, and survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}.draft")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace_old:
            draft.replace(path)
        else:
            os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
