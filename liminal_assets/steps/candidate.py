"""A candidate: a fitted pipeline and what it answers on rows that it didn't learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from liminal_assets.language.models import Model
from liminal_assets.steps.metrics import Answers, Task
from liminal_assets.steps.prepare import Roles

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

__all__ = ["Candidate", "answer_columns", "answers_from", "answers_of"]


@dataclass(frozen=True)
class Candidate:
    """A fitted pipeline and what it answers on rows that it didn't learn from.

    Attributes:
        model: the block.
        pipeline: the fitted pipeline; with ``refit`` it learned from the held-out rows too.
        roles: its input columns, by what happens to them.
        nullable: the input columns that may be null.
        task: ``classification`` or ``regression``.
        classes: the labels, the positive one last of two; none for regression.
        held_out: the rows held out, every column, the target as it was predicted.
        answers: what the pipeline, before any refit, says about them.
        folds: per metric the values of cross-validation.
    """

    model: Model
    pipeline: Pipeline
    roles: Roles
    nullable: frozenset[str]
    task: Task
    classes: tuple[Any, ...]
    held_out: pd.DataFrame = field(repr=False)
    answers: Answers = field(repr=False)
    folds: Mapping[str, Sequence[float]]

    @property
    def inputs(self) -> pd.DataFrame:
        """The input columns of the held-out rows."""
        return self.held_out[list(self.roles.columns)]

    @property
    def truth(self) -> pd.Series:
        """The target of the held-out rows."""
        return self.held_out[self.model.target]


def answers_of(pipeline: Any, frame: pd.DataFrame, truth: Any, task: Task) -> Answers:
    """What a pipeline says about rows, beside the truth."""
    if task == "regression":
        return Answers.of(truth, pipeline.predict(frame))
    probabilities = scores = None
    if hasattr(pipeline, "predict_proba"):
        probabilities = pipeline.predict_proba(frame)
    elif len(pipeline.classes_) == 2 and hasattr(pipeline, "decision_function"):
        scores = pipeline.decision_function(frame)
    return Answers.of(
        truth,
        pipeline.predict(frame),
        classes=pipeline.classes_.tolist(),
        probabilities=probabilities,
        scores=scores,
    )


def answer_columns(answers: Answers) -> dict[str, Any]:
    """``prediction``, and ``probability`` of the positive class or ``probability_<class>``."""
    import numpy as np

    if not answers.classes:
        return {"prediction": answers.predicted}
    kind = object if isinstance(answers.classes[0], str) else None
    labels = np.asarray(answers.classes, dtype=kind)[answers.predicted]
    columns: dict[str, Any] = {"prediction": labels}
    if answers.positive is not None:
        columns["probability"] = answers.positive
    elif answers.probabilities is not None:
        for position, label in enumerate(answers.classes):
            columns[f"probability_{label}"] = answers.probabilities[:, position]
    return columns


def answers_from(frame: pd.DataFrame, target: str, classes: Sequence[Any]) -> Answers:
    """The answers that :func:`answer_columns` wrote beside the truth."""
    if not classes:
        return Answers.of(frame[target], frame["prediction"])
    probabilities = None
    if "probability" in frame:
        import numpy as np

        positive = frame["probability"].to_numpy(dtype=float)
        probabilities = np.column_stack([1 - positive, positive])
    elif (columns := [f"probability_{label}" for label in classes]) and set(columns) <= set(frame):
        probabilities = frame[columns].to_numpy(dtype=float)
    return Answers.of(
        frame[target].tolist(),
        frame["prediction"].tolist(),
        classes=classes,
        probabilities=probabilities,
    )
