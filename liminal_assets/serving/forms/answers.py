"""From the prepared matrix to an answer: decisions, probabilities, labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from liminal_assets.serving.forms.steps import Step
from liminal_assets.serving.forms.trees import Leaves, Sums
from liminal_assets.steps.scores import Scores

__all__ = ["OPERATORS", "Answer", "logistics", "softmax"]


class Linear:
    """x · weights + intercept; ``weights`` of shape (width, targets)."""

    def __init__(self, weights: np.ndarray, intercept: np.ndarray) -> None:
        self._weights = np.ascontiguousarray(weights)
        # of the shape of one row: NumPy is slower where it broadcasts
        self._intercept = intercept.reshape(1, -1)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        decided: np.ndarray = np.dot(matrix, self._weights)
        decided += self._intercept
        return decided


class Constant:
    """The same for every row; ``values`` of shape (targets,)."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values.reshape(1, -1)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        return np.repeat(self._values, len(matrix), axis=0)


class Gaussian:
    """Logarithms of the joint likelihood under normal distributions, of shape (rows, classes).

    Args:
        prior: their share of the rows, of shape (classes,).
        mean: of shape (classes, width).
        variance: of shape (classes, width).
    """

    def __init__(self, prior: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
        self._mean, self._variance = mean, variance
        self._start = np.log(prior) - 0.5 * np.log(2.0 * np.pi * variance).sum(axis=1)

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            away = (matrix[:, None, :] - self._mean) ** 2 / self._variance
        likelihood: np.ndarray = self._start - 0.5 * away.sum(axis=2)
        return likelihood


class Answer:
    """What the last operator of a pipeline says.

    Attributes:
        dtype: that of the prediction.
    """

    dtype: np.dtype[Any] = np.dtype(float)

    def __call__(self, matrix: np.ndarray) -> Scores:
        """The answers to the rows of a prepared matrix."""
        raise NotImplementedError

    def single(self, matrix: np.ndarray) -> dict[str, Any]:
        """The answer to its only row by column, as Python's values."""
        return {name: column.item() for name, column in self(matrix).columns.items()}

    def of_number(self, number: float) -> dict[str, Any]:
        """The same from the one number that is computed of a row."""
        raise NotImplementedError


class Value(Answer):
    """A regression: what is computed, through the inverse of a link.

    Args:
        computed: gives shape (rows, 1).
        link: ``identity`` or ``exp``.
    """

    def __init__(self, computed: Step, link: str) -> None:
        self._computed = computed
        self._exp = link == "exp"

    def __call__(self, matrix: np.ndarray) -> Scores:
        values = self._computed(matrix)[:, 0]
        if self._exp:
            with np.errstate(over="ignore"):
                values = np.exp(values)
        return Scores(values, {})

    def of_number(self, number: float) -> dict[str, Any]:
        with np.errstate(over="ignore"):
            return {"prediction": float(np.exp(number)) if self._exp else number}


class Binary(Answer):
    """Two classes from one number: the logistic function of it, and its sign.

    Args:
        computed: gives shape (rows, 1).
        factor: what the number is multiplied by before the logistic function.
        classes: the labels, the negative one first.
        zero: the place of the label at 0.
        threshold: the least probability of the class at ``positive``, where the labels come from
            probabilities instead.
    """

    def __init__(
        self,
        computed: Step,
        factor: float,
        classes: np.ndarray,
        zero: int,
        threshold: float | None,
        positive: int,
    ) -> None:
        self._computed, self._factor = computed, factor
        self._classes, self._zero = classes, zero
        self._threshold, self._positive = threshold, positive
        self._labels, self.dtype = classes.tolist(), classes.dtype

    def __call__(self, matrix: np.ndarray) -> Scores:
        decided = self._computed(matrix)[:, 0]
        shares = logistics(decided * self._factor)
        if self._threshold is None:
            places = (decided >= 0) if self._zero else (decided > 0)
        else:
            own = shares if self._positive else 1 - shares
            places = (own >= self._threshold) == bool(self._positive)
        return Scores(self._classes[places.astype(np.intp)], {"probability": shares})

    def decided(self, matrix: np.ndarray) -> np.ndarray:
        """The numbers, of shape (rows, 1)."""
        return self._computed(matrix)

    def shares(self, matrix: np.ndarray) -> np.ndarray:
        """Probabilities, of shape (rows, 2)."""
        share = logistics(self._computed(matrix)[:, :1] * self._factor)
        return np.concatenate([1 - share, share], axis=1)

    def single(self, matrix: np.ndarray) -> dict[str, Any]:
        return self.of_number(self._computed(matrix).item())

    def of_number(self, number: float) -> dict[str, Any]:
        share = _logistic(number * self._factor)
        if self._threshold is None:
            place = number >= 0 if self._zero else number > 0
        else:
            own = share if self._positive else 1 - share
            place = (own >= self._threshold) == bool(self._positive)
        return {"prediction": self._labels[place], "probability": share}


class Labels(Answer):
    """Labels without probabilities: the sign of one number, or the largest of several.

    Args:
        computed: gives shape (rows, 1) or (rows, classes).
        classes: the labels.
        decisions: gives the decision function where that is something else.
    """

    def __init__(self, computed: Step, classes: np.ndarray, decisions: Step | None = None) -> None:
        self._computed, self._classes = computed, classes
        self.decided = decisions or computed
        self.dtype = classes.dtype

    def __call__(self, matrix: np.ndarray) -> Scores:
        numbers = self._computed(matrix)
        if numbers.shape[1] == 1:
            return Scores(self._classes[(numbers[:, 0] > 0).astype(np.intp)], {})
        return Scores(self._classes[numbers.argmax(axis=1)], {})


class Several(Answer):
    """Probabilities of two or more classes.

    Args:
        computed: gives shape (rows, classes).
        link: ``given`` where they are probabilities already, ``softmax``, ``each`` for the
            logistic function of each, or ``huber`` for the straight line of each from -1 to 1,
            both made to sum to 1.
        classes: the labels.
        threshold: the least probability of the class at ``positive`` of two.
    """

    def __init__(
        self,
        computed: Step,
        link: str,
        classes: np.ndarray,
        threshold: float | None,
        positive: int,
    ) -> None:
        self._computed, self._link, self._classes = computed, link, classes
        self._threshold, self._positive = threshold, positive
        labels, self.dtype = classes.tolist(), classes.dtype
        self._names = [f"probability_{label}" for label in labels] if len(labels) != 2 else []

    def __call__(self, matrix: np.ndarray) -> Scores:
        decided = self._computed(matrix)
        return self._scores(decided, _LINKS[self._link](decided))

    def decided(self, matrix: np.ndarray) -> np.ndarray:
        """What is computed, of shape (rows, classes); of two classes that of the second."""
        decided = self._computed(matrix)
        return decided if self._names else decided[:, 1:]

    def shares(self, matrix: np.ndarray) -> np.ndarray:
        """Probabilities, of shape (rows, classes)."""
        return _LINKS[self._link](self._computed(matrix))

    def _scores(self, decided: np.ndarray, shares: np.ndarray) -> Scores:
        if self._threshold is None:
            # the largest of what is computed is what scikit-learn's predict takes
            places = decided.argmax(axis=1)
        else:
            own = shares[:, self._positive] >= self._threshold
            places = (own == bool(self._positive)).astype(np.intp)
        if not self._names:
            return Scores(self._classes[places], {"probability": shares[:, 1]})
        columns = {name: shares[:, place] for place, name in enumerate(self._names)}
        return Scores(self._classes[places], columns)


class Apart(Several):
    """Labels and probabilities that are computed apart.

    Args:
        computed: gives what says the labels: shape (rows, 1), or (rows, classes).
        probable: gives the probabilities, of shape (rows, classes).
        limit: what one number must exceed for the second class.
    """

    def __init__(
        self,
        computed: Step,
        probable: Step,
        limit: float,
        classes: np.ndarray,
        threshold: float | None,
        positive: int,
    ) -> None:
        super().__init__(computed, "given", classes, threshold, positive)
        self._probable, self._limit = probable, limit

    def __call__(self, matrix: np.ndarray) -> Scores:
        decided = self._computed(matrix)
        if decided.shape[1] == 1:
            decided = np.concatenate([np.full_like(decided, self._limit), decided], axis=1)
        return self._scores(decided, self._probable(matrix))

    def decided(self, matrix: np.ndarray) -> np.ndarray:
        """What says the labels."""
        return self._computed(matrix)

    def shares(self, matrix: np.ndarray) -> np.ndarray:
        """Probabilities, of shape (rows, classes)."""
        return self._probable(matrix)


def _logistic(number: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    if number >= 0:
        return 1.0 / (1.0 + math.exp(-number))
    small = math.exp(number)
    return small / (1.0 + small)


def logistics(numbers: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow, of every number."""
    small = np.exp(-np.abs(numbers))
    shares: np.ndarray = np.where(numbers >= 0, 1.0, small) / (1.0 + small)
    return shares


def softmax(numbers: np.ndarray) -> np.ndarray:
    """exp(x), made to sum to 1 in each row."""
    powers = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _each(numbers: np.ndarray) -> np.ndarray:
    return _to_one(logistics(numbers))


def _huber(numbers: np.ndarray) -> np.ndarray:
    """Zadrozny and Elkan (2002), as SGDClassifier has it."""
    return _to_one((np.clip(numbers, -1, 1) + 1) / 2)


def _to_one(shares: np.ndarray) -> np.ndarray:
    total = shares.sum(axis=1, keepdims=True)
    # where all are 0 they are alike
    shares = np.where(total == 0, 1.0, shares)
    normalized: np.ndarray = shares / np.where(total == 0, shares.shape[1], total)
    return normalized


_LINKS: Mapping[str, Step] = {
    "given": lambda numbers: numbers,
    "softmax": softmax,
    "each": _each,
    "huber": _huber,
}

OPERATORS: Mapping[str, Callable[..., object]] = {
    "apart": Apart,
    "binary": Binary,
    "constant": Constant,
    "gaussian": Gaussian,
    "labels": Labels,
    "leaves": Leaves,
    "linear": Linear,
    "several": Several,
    "sums": Sums,
    "value": Value,
}
