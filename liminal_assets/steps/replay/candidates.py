"""The models that could have been trained in the past: each trained once, whoever asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.models import Model, Rule
from liminal_assets.steps.candidate import Candidate, answers_from
from liminal_assets.steps.evaluate import Evaluation, evaluate
from liminal_assets.steps.identity import identifying_columns
from liminal_assets.steps.packaging import inputs_with_types
from liminal_assets.steps.prepare import with_values
from liminal_assets.steps.replay.past import Past
from liminal_assets.steps.score import ScoreStream
from liminal_assets.steps.signature import Signature
from liminal_assets.steps.train import train
from liminal_assets.steps.tune import split_params
from liminal_assets.steps.validate import reasons, validate
from liminal_assets.storage.tables import Table, TableStore

if TYPE_CHECKING:
    from liminal_assets.steps.train import Trained

__all__ = ["Candidates", "FailedTraining", "Gate", "Learned"]

_SCORES_IN_MEMORY = 4


@dataclass(frozen=True, eq=False)
class Learned:
    """A model as it would have been trained at some moment of the past.

    Attributes:
        id: its own, whichever versions policies give it.
        until: the last partition that it learned from; None where they aren't cut by time.
        end: the end of the data that it learned from.
        rows: how many it learned from.
        seconds: how long the training and its evaluation took.
        metrics: on the rows held out.
    """

    id: int
    until: str | None
    end: datetime
    rows: int
    seconds: float
    metrics: Mapping[str, float]
    candidate: Candidate = field(repr=False)
    """Without the rows held out, which the replay keeps in files."""
    evaluation: Evaluation = field(repr=False)
    failing: str
    """The rules that it fails whatever is in use; empty for none."""
    signature: Signature = field(repr=False)


@dataclass(frozen=True)
class FailedTraining:
    """A training that came to nothing, and why."""

    message: str


@dataclass(frozen=True)
class Gate:
    """What the rules of ``validate`` say of a candidate.

    Attributes:
        reasons: why it failed; empty if it passed.
    """

    reasons: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it would have been promoted."""
        return not self.reasons


class Candidates:
    """Trains, holds against the rules, and asks, in a state of the replay's own.

    Args:
        tell: hears what is about to be done that takes a while.
        tune_always: search for parameters in each training, as live runs do; otherwise the first
            model's are kept, which takes a fraction of the time.
    """

    def __init__(
        self,
        past: Past,
        tell: Callable[[str], None] | None = None,
        *,
        tune_always: bool = False,
    ) -> None:
        self.past = past
        self.model = _without_latency(past.model)
        self._tune_always = tune_always
        self._tell = tell or (lambda said: None)
        self._store = TableStore(past.isolated)
        self._trained: dict[tuple[str | None, datetime | None], Learned | FailedTraining] = {}
        self._gates: dict[tuple[int, int], Gate] = {}
        self.scores = lru_cache(maxsize=_SCORES_IN_MEMORY)(self._scores)

    @property
    def trainings(self) -> int:
        """How many models were trained."""
        return sum(isinstance(found, Learned) for found in self._trained.values())

    @cached_property
    def reference_name(self) -> str:
        """The table of the rows held out, a partition per model."""
        return f"{self.model.model}__reference"

    def train(self, until: str | None, at: datetime) -> Learned | FailedTraining:
        """The model that a training at a moment gives.

        Args:
            until: the last partition to learn from.
        """
        # the same rows with the same truth are the same model
        known = at if self.past.truth.waits or until is None else None
        found = self._trained.get((until, known))
        if found is None:
            self._tell(f"training on what was known by {until or at.isoformat()[:10]}")
            found = self._trained[until, known] = self._train(until, at)
        return found

    def _train(self, until: str | None, at: datetime) -> Learned | FailedTraining:
        started = time.perf_counter()
        project = self.past.isolated
        try:
            trained = train(self.past.learning(until, at), self.model, project=project)
            evaluation = evaluate(trained, project=project, shown=False)
            alone = [rule for rule in self.model.validate_ if rule.beats_champion_by is None]
            outcomes = validate(_with_rules(trained, alone), evaluation, project=project)
        except StepError as error:
            return FailedTraining(error.message)
        if trained.search and not self._tune_always:
            self.model = _with_params(self.model, trained.search.params)
        number = len(self._trained) + 1
        self._store.write(self.reference_name, str(number), trained.reference())
        return Learned(
            id=number,
            until=until,
            end=self.past.end_of(until, at),
            rows=trained.learned_from,
            seconds=time.perf_counter() - started,
            metrics=dict(evaluation.metrics),
            candidate=_without_rows(trained),
            evaluation=evaluation,
            failing=reasons(outcomes),
            signature=Signature.of(inputs_with_types(trained)),
        )

    def reference(self, learned: Learned) -> Table:
        """The rows held out with the model's answers: what monitors compare with."""
        return self._store.read(self.reference_name, [str(learned.id)])

    def gate(self, learned: Learned, champion: Learned | None) -> Gate:
        """Whether a candidate passes its rules, against the version in use."""
        rivals = [rule for rule in self.model.validate_ if rule.beats_champion_by is not None]
        if champion is None or not rivals:
            return Gate(learned.failing, 0.0)
        key = (learned.id, champion.id)
        if key not in self._gates:
            started = time.perf_counter()
            frame = self.reference(learned).to("pandas")
            slim = _with_rules(learned.candidate, rivals)
            answers = answers_from(frame, self.model.target, slim.classes)
            outcomes = validate(
                replace(slim, held_out=frame, answers=answers),
                learned.evaluation,
                champion=champion.candidate.pipeline,
                champion_name="the version in use",
                project=self.past.isolated,
            )
            failing = "\n".join(filter(None, [learned.failing, reasons(outcomes)]))
            self._gates[key] = Gate(failing, time.perf_counter() - started)
        return self._gates[key]

    def _scores(self, learned: Learned, place: int) -> Table:
        """What a model says about a window, as batch scores are kept."""
        from liminal_assets.storage.forms import connect

        past = self.past
        stream = ScoreStream(
            learned.candidate.pipeline,
            learned.signature,
            past.rows(place).relation(connect()),
            keep=identifying_columns(past.project.blocks.get(past.source)),
            model_version=str(learned.id),
            where={"location": past.project.locate(past.monitor, "deployment")},
        )
        scored = stream.reader().read_all()
        stream.check()
        return Table(past.deployment.name, value=scored)


def _without_latency(model: Model) -> Model:
    """The model with rules that say the same on any machine, however busy."""
    rules = tuple(
        rule.model_copy(update={"integrity": rule.integrity.model_copy(update={"latency": None})})
        if rule.integrity
        else rule
        for rule in model.validate_
    )
    return model.model_copy(update={"validate_": rules})


def _with_params(model: Model, found: Mapping[str, Any]) -> Model:
    """The model with what a search found, and without the search."""
    own, prepare = split_params(found)
    kept = {
        "tune": None,
        "params": {**model.params, **own},
        "prepare": with_values(model.prepare, prepare),
    }
    return model.model_copy(update=kept)


def _with_rules(candidate: Candidate, rules: Sequence[Rule]) -> Candidate:
    """The candidate with some of its rules."""
    model = candidate.model.model_copy(update={"validate_": tuple(rules)})
    return replace(candidate, model=model)


def _without_rows(trained: Trained) -> Candidate:
    """A candidate that holds its pipeline alone."""
    import numpy as np

    return Candidate(
        model=trained.model,
        pipeline=trained.pipeline,
        roles=trained.roles,
        nullable=trained.nullable,
        task=trained.task,
        classes=trained.classes,
        # copies: a slice would keep all the rows in memory
        held_out=trained.held_out.head(0).copy(),
        answers=trained.answers.rows(np.zeros(0, int)),
        folds=trained.folds,
    )
