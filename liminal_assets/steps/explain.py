"""Explain: how much each column matters to a fitted pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liminal_assets.steps.candidate import answers_of
from liminal_assets.steps.metrics import Answers, Metric, Task, measure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["permutation_importance"]

_CELLS = 100_000
"""The most answers asked for: columns × repeats × rows."""


def permutation_importance(
    pipeline: Any,
    frame: pd.DataFrame,
    truth: Any,
    metric: Metric,
    task: Task,
    *,
    repeats: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """By how much the metric gets worse when one column is shuffled, the largest first.

    Breiman, "Random forests", Machine Learning 45 (2001), section 10, through scikit-learn. A
    sample of rows bounds the cost: at most 100,000 answers in all, and 200 rows at the least.

    Args:
        frame: the input columns of rows that the model didn't learn from.
        truth: their target.

    Returns:
        Rows of ``column``, ``importance`` and ``spread`` (a standard deviation over repeats).
    """
    import numpy as np
    from sklearn.inspection import permutation_importance as importance_of
    from threadpoolctl import threadpool_limits

    most = max(200, _CELLS // (repeats * max(frame.shape[1], 1)))
    truth = np.asarray(truth)
    if len(frame) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(frame), most, replace=False))
        frame, truth = frame.iloc[chosen], truth[chosen]

    def scored(estimator: Any, rows: pd.DataFrame, target: Any) -> float:
        answers = _asked(estimator, rows, target, metric, task)
        value = measure([metric], answers)[metric.name]
        return value if metric.better_high else -value

    # for so few rows threads wait for each other longer than they work
    with threadpool_limits(1):
        found = importance_of(
            pipeline, frame, truth, scoring=scored, n_repeats=repeats, random_state=seed, n_jobs=1
        )
    rows = [
        {"column": str(column), "importance": float(mean), "spread": float(spread)}
        for column, mean, spread in zip(
            frame.columns, found.importances_mean, found.importances_std, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (-row["importance"], row["column"]))


def _asked(pipeline: Any, rows: pd.DataFrame, truth: Any, metric: Metric, task: Task) -> Answers:
    """What the metric needs to know, asked once: labels are left out where it ranks."""
    if task == "regression" or not metric.needs_probabilities:
        return answers_of(pipeline, rows, truth, task)
    if not hasattr(pipeline, "predict_proba"):
        return answers_of(pipeline, rows, truth, task)
    probabilities = pipeline.predict_proba(rows)
    labels = pipeline.classes_[probabilities.argmax(axis=1)]
    return Answers.of(
        truth, labels, classes=pipeline.classes_.tolist(), probabilities=probabilities
    )
