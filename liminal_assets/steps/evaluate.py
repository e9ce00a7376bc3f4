"""Evaluate: a model's answers on held-out rows as numbers, slices and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.steps.candidate import Candidate
from liminal_assets.steps.explain import permutation_importance
from liminal_assets.steps.metrics import Answers, Metric, measure, standard_errors
from liminal_assets.steps.plots import evaluation_plots, importance_plot
from liminal_assets.steps.report import Plot, Records
from liminal_assets.steps.train import metrics_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OTHER_SLICES", "Evaluation", "Slice", "evaluate", "slices_of"]

OTHER_SLICES = "(others)"
"""The slices with too few rows, together."""

_Z95 = 1.959964
"""The normal distribution's quantile of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Slice:
    """The rows of one value of a column.

    Attributes:
        metrics: NaN where the rows don't define one.
    """

    column: str
    value: str
    rows: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The report on held-out rows.

    Attributes:
        metrics: by name.
        errors: the standard error of each, by bootstrap.
        slices: the metrics of each value of the sliced columns.
        folds: per metric the values of cross-validation.
        importance: permutation importance per column, the largest first.
        plots: by name.
        rows: how many were held out.
    """

    metrics: Mapping[str, float]
    errors: Mapping[str, float]
    slices: Sequence[Slice]
    folds: Mapping[str, Sequence[float]]
    importance: Sequence[Mapping[str, Any]]
    plots: Mapping[str, Plot]
    rows: int
    directions: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> Records:
        """Each metric with its 95 % interval and its cross-validation."""
        return Records(
            [
                {
                    "metric": name,
                    "value": value,
                    "low": self._bound(name, -1),
                    "high": self._bound(name, 1),
                    **self._fold_columns(name),
                    "better": "higher" if self.directions[name] == "maximize" else "lower",
                }
                for name, value in self.metrics.items()
            ]
        )

    def _bound(self, name: str, side: int) -> float | None:
        error = self.errors.get(name)
        return None if error is None else self.metrics[name] + side * _Z95 * error

    def _fold_columns(self, name: str) -> dict[str, float]:
        import numpy as np

        if not self.folds:
            return {}
        values = self.folds[name]
        return {"folds_mean": float(np.mean(values)), "folds_spread": float(np.std(values))}

    def slice_table(self) -> Records:
        """The slices, one row each."""
        return Records(
            [
                {
                    "column": part.column,
                    "value": part.value,
                    "rows": part.rows,
                    **{
                        name: None if math.isnan(value) else value
                        for name, value in part.metrics.items()
                    },
                }
                for part in self.slices
            ]
        )

    def metadata(self) -> dict[str, Any]:
        """What people see of it: metrics, tables, plots."""
        return {
            **self.metrics,
            "metrics": self.table(),
            "held_out_rows": self.rows,
            **({"slices": self.slice_table()} if self.slices else {}),
            **({"importance": Records(self.importance)} if self.importance else {}),
            **self.plots,
        }


def evaluate(
    candidate: Candidate, *, project: Project | None = None, shown: bool = True
) -> Evaluation:
    """The report on a candidate's held-out rows.

    >>> report = la.steps.evaluate(trained)
    >>> report.metrics, report.slice_table(), report.plots["roc_curve"]

    Args:
        shown: whether people look at it: without plots, standard errors and explanations it is
            made in a fraction of the time, and the gate decides the same.

    Raises:
        StepError: a sliced column isn't there.
    """
    project = project or Project.of("notebook", check=False)
    model = candidate.model
    metrics = metrics_of(project, model, candidate.task, len(candidate.classes) or 1)
    importance: list[dict[str, Any]] = []
    plots = evaluation_plots(candidate.answers) if shown else {}
    if shown and model.evaluate.explain == "permutation":
        importance = permutation_importance(
            candidate.pipeline,
            candidate.inputs,
            candidate.truth,
            metrics[0],
            candidate.task,
            seed=model.split.seed,
        )
        plots["permutation_importance"] = importance_plot(importance, metrics[0].name)
    return Evaluation(
        metrics=measure(metrics, candidate.answers),
        errors=standard_errors(metrics, candidate.answers, seed=model.split.seed) if shown else {},
        slices=[
            part
            for column in sliced_columns(model)
            for part in slices_of(
                project, model, column, candidate.held_out, candidate.answers, metrics
            )
        ],
        folds=candidate.folds,
        importance=importance,
        plots=plots,
        rows=len(candidate.held_out),
        directions={metric.name: metric.direction for metric in metrics},
    )


def sliced_columns(model: Model) -> list[str]:
    """The columns that ``evaluate`` or a rule slices by."""
    ruled = [rule.slice for rule in model.validate_ if rule.slice]
    return list(dict.fromkeys([*model.evaluate.slices, *ruled]))


def slices_of(
    project: Project,
    model: Model,
    column: str,
    frame: pd.DataFrame,
    answers: Answers,
    metrics: Sequence[Metric],
) -> list[Slice]:
    """The metrics of each value of a column, the largest slice first; small ones together.

    Raises:
        StepError: the column isn't there.
    """
    import pandas as pd

    from liminal_assets.steps.transformers import MISSING, as_texts

    if column not in frame.columns:
        raise StepError(
            f"{model.features} has no column {column!r} to slice by",
            location=project.locate(model, "evaluate", "slices") if model.location else None,
            hint=did_you_mean(column, map(str, frame.columns)),
        )
    values = pd.Series(as_texts(frame[column]), dtype=object).fillna(MISSING)
    counts = values.value_counts()
    small = counts.index[counts < model.evaluate.min_slice_rows]
    values = values.where(~values.isin(small), OTHER_SLICES)
    parts = []
    for value in sorted(values.unique(), key=lambda name: (name == OTHER_SLICES, name)):
        chosen = (values == value).to_numpy()
        measured = measure(metrics, answers.rows(chosen))
        parts.append(Slice(column, str(value), int(chosen.sum()), measured))
    return sorted(parts, key=lambda part: (part.value == OTHER_SLICES, -part.rows))
