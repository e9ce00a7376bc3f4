"""What becomes of other estimators' answers: averages, votes, calibrated probabilities; and steps
of estimators that are no single formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from liminal_assets.serving.forms.answers import logistics, softmax
from liminal_assets.serving.forms.steps import Step

__all__ = ["OPERATORS"]

_CELLS = 4_000_000
"""Differences from support vectors that are in memory at a time."""


class Response:
    """What an estimator answers, as numbers for the next one.

    Args:
        answer: an operator of :mod:`.answers`.
        method: ``shares`` of shape (rows, classes), ``decided`` of shape (rows, 1) or (rows,
            classes), or ``predicted``, of shape (rows, 1).
    """

    def __init__(self, answer: Any, method: str) -> None:
        self._answer = answer
        self._ask: Step = self._predicted if method == "predicted" else getattr(answer, method)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        return self._ask(matrix)

    def _predicted(self, matrix: np.ndarray) -> np.ndarray:
        values: np.ndarray = self._answer(matrix).prediction.astype(float)[:, None]
        return values


class Average:
    """The mean of estimators' answers that are side by side, of shape (rows, classes).

    Args:
        count: how many estimators.
        weights: of each of them, of shape (count,).
    """

    def __init__(self, count: int, weights: np.ndarray | None) -> None:
        self._count, self._weights = count, weights

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.shape[1] == self._count:
            # in the memory order of scikit-learn's: sums are the same to the last bit
            one = np.ascontiguousarray(matrix.T).T
            return np.asarray(np.average(one, axis=1, weights=self._weights))[:, None]
        several = matrix.reshape(len(matrix), self._count, -1).transpose(1, 0, 2)
        several = np.ascontiguousarray(several)
        return np.asarray(np.average(several, axis=0, weights=self._weights))


class Votes:
    """How many estimators, or what weight of them, are for each class; their answers are the
    places of classes.

    Args:
        classes: how many classes.
        weights: of each estimator.
    """

    def __init__(self, classes: int, weights: np.ndarray | None) -> None:
        self._classes, self._weights = classes, weights

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        votes = np.zeros((len(matrix), self._classes))
        rows = np.arange(len(matrix))
        for place, chosen in enumerate(matrix.T.astype(np.intp)):
            votes[rows, chosen] += 1.0 if self._weights is None else self._weights[place]
        return votes


class Boosted:
    """Decisions of SAMME (Zhu et al., 2009), of shape (rows, 1) or (rows, classes): each estimator
    gives its weight to the class whose place it answers and takes it from the others.

    Args:
        weights: of each estimator.
        total: the sum of all weights.
        classes: how many classes.
    """

    def __init__(self, weights: np.ndarray, total: float, classes: int) -> None:
        self._weights, self._total = weights.tolist(), total
        self._classes = np.arange(classes)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        others = -1 / (len(self._classes) - 1)
        decided = np.zeros((len(matrix), len(self._classes)))
        for weight, chosen in zip(self._weights, matrix.T, strict=True):
            decided += np.where(chosen[:, None] == self._classes, weight, others * weight)
        decided /= self._total
        if len(self._classes) > 2:
            return decided
        decided[:, 0] *= -1
        return np.asarray(decided.sum(axis=1, keepdims=True))


class WeightedMedian:
    """The answer of the estimator at half of the weights, as AdaBoost.R2 (Drucker, 1997) has it."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        order = np.argsort(matrix, axis=1)
        sums = np.cumsum(self._weights[order], axis=1)
        middle = (sums >= 0.5 * sums[:, -1:]).argmax(axis=1)
        rows = np.arange(len(matrix))
        found: np.ndarray = matrix[rows, order[rows, middle]][:, None]
        return found


class Sigmoids:
    """Platt's (1999) probability of each column: 1 / (1 + exp(slope · x + shift))."""

    def __init__(self, slope: np.ndarray, shift: np.ndarray) -> None:
        self._slope, self._shift = slope, shift

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        return logistics(-(self._slope * matrix + self._shift))


class Temperature:
    """Probabilities after temperature scaling (Guo et al., 2017).

    Args:
        inverse: one divided by the temperature.
        given: whether there are probabilities instead of decisions.
    """

    def __init__(self, inverse: float, given: bool) -> None:
        self._inverse, self._given = inverse, given

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if self._given:
            matrix = np.log(matrix + 1e-12)
        elif matrix.shape[1] == 1:
            matrix = np.concatenate([-matrix, matrix], axis=1)
        return softmax(self._inverse * matrix)


class Normalized:
    """Probabilities of some classes, made to sum to 1 over all.

    Args:
        classes: how many there are.
        places: of those that are given; of two classes the last one is.
        uniform: whether all classes are alike where all that is given is 0, else all stay 0.
    """

    def __init__(self, classes: int, places: np.ndarray, uniform: bool) -> None:
        self._classes, self._places, self._uniform = classes, places, uniform

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        if self._classes == 2 and matrix.shape[1] == 1:
            shares = np.concatenate([1.0 - matrix, matrix], axis=1)
        else:
            given = np.zeros((len(matrix), self._classes))
            given[:, self._places] = matrix
            total = given.sum(axis=1, keepdims=True)
            shares = np.full_like(given, 1 / self._classes if self._uniform else 0.0)
            np.divide(given, total, out=shares, where=total != 0)
        # as scikit-learn does: what is above 1 by rounding is 1
        shares[(shares > 1.0) & (shares <= 1.0 + 1e-5)] = 1.0
        return shares


class Places:
    """Columns put to their places among more; 0 elsewhere."""

    def __init__(self, places: np.ndarray, among: int) -> None:
        self._places, self._among = places, among

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        result = np.zeros((len(matrix), self._among))
        result[:, self._places] = matrix
        return result


class Layers:
    """A multi-layer perceptron without its last activation.

    Args:
        weights: per layer, of shape (inputs, outputs).
        intercepts: per layer, of shape (outputs,).
        activation: between layers: ``identity``, ``logistic``, ``relu`` or ``tanh``.
    """

    def __init__(
        self, weights: list[np.ndarray], intercepts: list[np.ndarray], activation: str
    ) -> None:
        self._layers = list(zip(weights, intercepts, strict=True))
        self._activation = _ACTIVATIONS[activation]

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        for place, (weights, intercept) in enumerate(self._layers):
            if place:
                matrix = self._activation(matrix)
            matrix = np.dot(matrix, weights)
            matrix += intercept
        return matrix


_ACTIVATIONS: Mapping[str, Step] = {
    "identity": lambda numbers: numbers,
    "logistic": logistics,
    "relu": lambda numbers: np.maximum(numbers, 0),
    "tanh": np.tanh,
}


class Kernel:
    """Decisions of a support vector machine, of shape (rows, decisions).

    Args:
        kind: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
        vectors: of shape (vectors, width).
        weights: of shape (vectors, decisions).
        places: per decision the vectors that it counts, in LIBSVM's order.
        intercept: of shape (decisions,).
        gamma: of the kernel.
        coef0: of the kernel.
        degree: of a polynomial.
    """

    def __init__(
        self,
        kind: str,
        vectors: np.ndarray,
        weights: np.ndarray,
        places: list[np.ndarray],
        intercept: np.ndarray,
        gamma: float,
        coef0: float,
        degree: int,
    ) -> None:
        self._kind, self._vectors = kind, vectors
        self._decisions = [(some, weights[some, [at]]) for at, some in enumerate(places)]
        self._intercept = intercept
        self._gamma, self._coef0, self._degree = gamma, coef0, degree
        self._rows = max(1, _CELLS // max(vectors.size, 1))

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        starts = range(0, len(matrix), self._rows)
        with np.errstate(over="ignore", invalid="ignore"):
            parts = [self._decided(matrix[at : at + self._rows]) for at in starts]
        return np.concatenate(parts)

    def _decided(self, matrix: np.ndarray) -> np.ndarray:
        alike = self._alike(matrix)
        # along the first axis NumPy adds in order, which shows where sums overflow
        sums = [(weights[:, None] * alike[some]).sum(axis=0) for some, weights in self._decisions]
        return np.asarray(np.stack(sums, axis=1) + self._intercept)

    def _alike(self, matrix: np.ndarray) -> np.ndarray:
        """The kernel, of shape (vectors, rows)."""
        if self._kind == "rbf":
            away = ((self._vectors[:, None, :] - matrix) ** 2).sum(axis=2)
            near: np.ndarray = np.exp(-self._gamma * away)
            return near
        products: np.ndarray = self._vectors @ matrix.T
        if self._kind == "linear":
            return products
        products = self._gamma * products + self._coef0
        return np.tanh(products) if self._kind == "sigmoid" else products**self._degree


class Duels:
    """Decisions between two classes each → votes for each class.

    Args:
        classes: how many classes.
        confident: whether the sums of decisions are added, so small that they only break ties.
    """

    def __init__(self, classes: int, confident: bool) -> None:
        self._pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
        self._classes, self._confident = classes, confident

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        votes = np.zeros((len(matrix), self._classes))
        sums = np.zeros_like(votes)
        for decided, (first, second) in zip(matrix.T, self._pairs, strict=True):
            won = decided >= 0 if self._confident else decided > 0
            votes[:, first] += won
            votes[:, second] += ~won
            sums[:, first] += decided
            sums[:, second] -= decided
        return votes + sums / (3 * (np.abs(sums) + 1)) if self._confident else votes


class Quadratic:
    """Logarithms of posteriors under normal distributions of full covariance, of shape (rows,
    classes), as :class:`sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis`.

    Args:
        means: of shape (classes, width).
        rotations: per class, of shape (width, rank), already divided by the deviations.
        shift: what is added for each class, of shape (classes,).
    """

    def __init__(self, means: np.ndarray, rotations: list[np.ndarray], shift: np.ndarray) -> None:
        self._means, self._rotations, self._shift = means, rotations, shift

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            away = [
                (np.dot(matrix - mean, rotation) ** 2).sum(axis=1)
                for mean, rotation in zip(self._means, self._rotations, strict=True)
            ]
        posterior: np.ndarray = -0.5 * np.stack(away, axis=1) + self._shift
        return posterior


class Given:
    """What comes in, as it is."""

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        return matrix


class Then:
    """Steps one after another."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        for step in self._steps:
            matrix = step(matrix)
        return matrix


OPERATORS: Mapping[str, Callable[..., Step]] = {
    "average": Average,
    "boosted": Boosted,
    "duels": Duels,
    "given": Given,
    "kernel": Kernel,
    "layers": Layers,
    "normalized": Normalized,
    "places": Places,
    "quadratic": Quadratic,
    "response": Response,
    "sigmoids": Sigmoids,
    "temperature": Temperature,
    "then": Then,
    "votes": Votes,
    "weighted_median": WeightedMedian,
}
