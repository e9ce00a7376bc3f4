"""The performance of a classifier without labels, from how sure it is.

Confidence-based performance estimation (CBPE): a calibrated probability is the chance that a row is
of a class, so each row counts as every class with that weight, and a metric over rows so weighted
is the metric to expect. It holds under covariate shift (other inputs, same meaning) as far as the
probabilities stay calibrated. A change of what the inputs mean (concept drift) is invisible to it:
nothing but labels shows that.

Sources: the documentation of NannyML, *How it works: Confidence-based Performance Estimation*;
J. Białek, W. Kuberski, N. Perrakis, A. Bifet, *Estimating Model Performance Under Covariate Shift
Without Labels*, arXiv 2401.08348 (2024). Calibration by isotonic regression, one class against the
rest: B. Zadrozny and C. Elkan, *Transforming classifier scores into accurate multiclass probability
estimates*, KDD 2002.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from liminal_assets.steps.metrics import Answers, Metric, measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Calibrator", "Estimate", "chances", "estimate", "expected"]

_ROUNDS = 40
_WITHIN_95 = 1.96
_ROWS = 4000
"""Rows of one round of the band; the spread of larger windows is scaled."""
_LEAST = 50
"""Labelled reference rows that a calibration needs."""


@dataclass(frozen=True)
class Estimate:
    """A metric as it is expected to be.

    Attributes:
        value: NaN where the rows don't define the metric.
        low, high: where the realised value lies in 95 of 100 windows of this size that differ
            from the reference in their inputs alone; None where the reference has no labels.
        calibrated_on: labelled reference rows; 0: the model's own probabilities were taken.
    """

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    calibrated_on: int = 0

    @property
    def band(self) -> str:
        """The band in words; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True)
class Calibrator:
    """Probabilities of classes as their observed frequencies."""

    maps: tuple[Any, ...]

    @classmethod
    def fit(cls, answers: Answers) -> Calibrator:
        """Learns from labelled answers with probabilities."""
        from sklearn.isotonic import IsotonicRegression

        probabilities = _probabilities(answers)
        columns = [1] if answers.binary else range(probabilities.shape[1])
        return cls(
            tuple(
                IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
                    probabilities[:, column], answers.truth == column
                )
                for column in columns
            )
        )

    def __call__(self, probabilities: Floats) -> Floats:
        """Rows × classes, each row adding up to one."""
        import numpy as np

        if len(self.maps) == 1:
            positive = self.maps[0].predict(probabilities[:, 1])
            return np.column_stack([1 - positive, positive])
        found = np.column_stack(
            [one.predict(probabilities[:, at]) for at, one in enumerate(self.maps)]
        )
        total = found.sum(axis=1, keepdims=True)
        even = np.full_like(found, 1 / found.shape[1])
        return np.where(total > 0, found / np.where(total > 0, total, 1.0), even)


def _probabilities(answers: Answers) -> Floats:
    if answers.probabilities is None:
        raise ValueError("an estimate without labels needs the probabilities of the classes")
    return answers.probabilities


def expected(metric: Metric, answers: Answers, chances: Floats) -> float:
    """A metric where each row counts as each class with its chance; NaN where it isn't defined.

    Args:
        answers: their truth isn't looked at.
        chances: rows × classes, calibrated.
    """
    import numpy as np

    rows, classes = chances.shape
    repeated = answers.rows(np.tile(np.arange(rows), classes))
    truth = np.repeat(np.arange(classes), rows)
    weights = chances.T.reshape(-1)
    kept = weights > 0
    weighted = replace(repeated, truth=truth).rows(kept)
    return measure([metric], weighted, weights=weights[kept])[metric.name]


def estimate(
    metric: Metric, answers: Answers, reference: Answers | None, *, seed: int = 0
) -> Estimate:
    """What a metric of some answers is expected to be.

    Args:
        answers: with probabilities; their truth isn't looked at.
        reference: labelled answers of the same model that it didn't learn from.

    Raises:
        ValueError: the answers have no probabilities.
    """
    import numpy as np

    value = expected(metric, answers, chances(answers, reference))
    if reference is None or not _usable(reference):
        return Estimate(metric.name, value)
    error = _error(metric, reference, len(answers), np.random.default_rng(seed))
    if error is None or not math.isfinite(value):
        return Estimate(metric.name, value, calibrated_on=len(reference))
    low, high = value - _WITHIN_95 * error, value + _WITHIN_95 * error
    return Estimate(metric.name, value, low, high, len(reference))


def chances(answers: Answers, reference: Answers | None) -> Floats:
    """Each row's chance of each class: calibrated on the reference, or as the model says."""
    probabilities = _probabilities(answers)
    if reference is None or not _usable(reference):
        return probabilities
    return Calibrator.fit(reference)(probabilities)


def _usable(reference: Answers) -> bool:
    return len(reference) >= _LEAST and len(set(reference.truth.tolist())) > 1


def _error(
    metric: Metric, reference: Answers, rows: int, random: np.random.Generator
) -> float | None:
    """The standard error of the estimate in windows of the reference; None for a metric that they
    don't define.

    Rows are judged by a calibration that didn't see them: each half by the other's. Larger windows
    than those drawn have a spread smaller by √(drawn / rows): Bickel, Götze and van Zwet,
    "Resampling fewer than n observations", Statistica Sinica 7 (1997).
    """
    import numpy as np

    chances = _by_the_other_half(reference, random)
    drawn = max(2, min(rows, _ROWS, len(reference)))
    errors = []
    for _ in range(_ROUNDS):
        chosen = random.integers(0, len(reference), drawn)
        sample = reference.rows(chosen)
        realised = measure([metric], sample)[metric.name]
        errors.append(realised - expected(metric, sample, chances[chosen]))
    known = np.asarray(errors)[np.isfinite(errors)]
    if len(known) <= _ROUNDS // 2:
        return None
    # a window is another sample than the reference, which has its own error
    spread = math.sqrt(drawn / rows + drawn / len(reference))
    return float(np.std(known, ddof=1)) * spread


def _by_the_other_half(reference: Answers, random: np.random.Generator) -> Floats:
    import numpy as np

    order = random.permutation(len(reference))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    probabilities = _probabilities(reference)
    chances = np.empty_like(probabilities)
    for learned, judged in (halves, halves[::-1]):
        chances[judged] = Calibrator.fit(reference.rows(learned))(probabilities[judged])
    return chances
