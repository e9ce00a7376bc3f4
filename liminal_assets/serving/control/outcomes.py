"""Decisions that are in force: the journal learns them, the registry where they are against the
champion, each once; and what people decided about a rollout meanwhile."""

from __future__ import annotations

import itertools

from liminal_assets.errors import StepError
from liminal_assets.serving.control.plan import Outcome
from liminal_assets.serving.releases.source import Source
from liminal_assets.storage.journal import APPROVE, FINISH, Journal

__all__ = ["ACTOR", "Books"]

ACTOR = "rollout"
_ENDS = ("deploy", "rollback", "cancel")
"""The decisions that end a rollout."""

_RECENT = 20
"""Decisions among which one is looked for that a crash may have left unsaid."""


class Books:
    """Where the decisions of a deployment's rollouts are kept.

    Args:
        name: the deployment.
        journal: its decisions; None for a server that decides nothing.
        source: where its versions come from.
    """

    def __init__(self, name: str, journal: Journal | None, source: Source) -> None:
        self._name = name
        self._journal = journal
        self._source = source

    def learn(self, outcome: Outcome) -> None:
        """Keeps a decision; the same again changes nothing.

        Raises:
            StepError: the journal or the registry can't be written now.
        """
        if self._journal is None:
            return
        self._write_down(self._journal, outcome)
        if outcome.action != "rollback" or outcome.champion is None:
            return
        reason = f"{self._name}: {outcome.reason}"
        evidence = {"deployment": self._name, **outcome.evidence}
        try:
            self._source.take_back(outcome.version, outcome.champion, reason, evidence)
        except StepError:
            # until it can be done, or somebody has chosen another champion
            if self._source.newest() == outcome.version:
                raise

    def asked(self, version: str | None) -> frozenset[str]:
        """Which of ``finish`` and ``approve`` somebody decided for a version, since the last
        rollout of the deployment ended."""
        asked = set()
        for decision in self._journal.newest() if self._journal else ():
            if decision.action in _ENDS:
                break
            if decision.action in (FINISH, APPROVE) and decision.version == _number(version):
                asked.add(decision.action)
        return frozenset(asked)

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


def _number(version: str | None) -> int | None:
    return None if version is None else int(version)
