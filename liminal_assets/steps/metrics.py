"""Metrics by name: scikit-learn's scorers, each with its direction, on predictions once made."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from liminal_assets.language.diagnostics import did_you_mean

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Answers",
    "Metric",
    "UnknownMetricError",
    "better_by",
    "default_metrics",
    "known_metrics",
    "measure",
    "metric_of",
    "standard_errors",
]

Task = Literal["classification", "regression"]

_ALIASES = {
    "auc": "roc_auc",
    "brier": "neg_brier_score",
    "brier_score": "neg_brier_score",
    "logloss": "neg_log_loss",
    "mae": "neg_mean_absolute_error",
    "mape": "neg_mean_absolute_percentage_error",
    "mcc": "matthews_corrcoef",
    "mse": "neg_mean_squared_error",
    "msle": "neg_mean_squared_log_error",
    "pr_auc": "average_precision",
    "rmse": "neg_root_mean_squared_error",
    "rmsle": "neg_root_mean_squared_log_error",
}
_MULTICLASS = {
    "average_precision": "average_precision",
    "f1": "f1_macro",
    "jaccard": "jaccard_macro",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "roc_auc": "roc_auc_ovr",
}
"""What the name of a binary metric means for more classes: the mean over classes."""
_REGRESSION = {
    "d2_absolute_error_score",
    "explained_variance",
    "max_error",
    "neg_max_error",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_gamma_deviance",
    "neg_mean_poisson_deviance",
    "neg_mean_squared_error",
    "neg_mean_squared_log_error",
    "neg_median_absolute_error",
    "neg_root_mean_squared_error",
    "neg_root_mean_squared_log_error",
    "r2",
}
_CLUSTERING = {
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "completeness_score",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "mutual_info_score",
    "normalized_mutual_info_score",
    "rand_score",
    "v_measure_score",
}
_PROBABILITIES = {
    "average_precision",
    "d2_brier_score",
    "d2_log_loss_score",
    "neg_brier_score",
    "neg_log_loss",
    "roc_auc",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
    "top_k_accuracy",
}


class UnknownMetricError(ValueError):
    """No metric has that name, or none of this task does."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as it was asked for.
        scorer: scikit-learn's scorer.
        sign: -1 where the scorer gives the metric with its sign turned.
        direction: which way is better, of the metric as it is named.
    """

    name: str
    scorer: str
    sign: int
    direction: Literal["maximize", "minimize"]

    @property
    def better_high(self) -> bool:
        return self.direction == "maximize"

    @property
    def needs_probabilities(self) -> bool:
        """Whether class labels alone aren't enough."""
        return self.scorer in _PROBABILITIES


@dataclass(frozen=True)
class Answers:
    """A model's predictions and the truth, rows in one order.

    Classes are numbered in ``classes``; ``truth`` and ``predicted`` hold their numbers. A class
    that the model never saw comes after those that it knows, with probability 0.
    """

    truth: np.ndarray
    predicted: np.ndarray
    classes: tuple[Any, ...] = ()
    probabilities: np.ndarray | None = None
    """Rows × classes."""
    scores: np.ndarray | None = None
    """Of a binary classifier without probabilities: its decision function."""

    @classmethod
    def of(
        cls,
        truth: Any,
        predicted: Any,
        *,
        classes: Sequence[Any] | None = None,
        probabilities: Any = None,
        scores: Any = None,
    ) -> Answers:
        """Answers from labels or numbers.

        Args:
            classes: the model's classes in the order of ``probabilities``; None for regression.
        """
        import numpy as np

        if classes is None:
            return cls(np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float))
        known = list(classes)
        number = {label: position for position, label in enumerate(known)}
        for label in dict.fromkeys(np.asarray(truth).tolist()):
            if label not in number:
                number[label] = len(known)
                known.append(label)
        if probabilities is not None:
            probabilities = np.asarray(probabilities, dtype=float)
            missing = len(known) - probabilities.shape[1]
            probabilities = np.pad(probabilities, ((0, 0), (0, missing)))
        return cls(
            _numbered(truth, number),
            _numbered(predicted, number),
            tuple(known),
            probabilities,
            None if scores is None else np.asarray(scores, dtype=float),
        )

    @property
    def task(self) -> Task:
        return "classification" if self.classes else "regression"

    @property
    def binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def positive(self) -> np.ndarray | None:
        """The probability of the positive class, the last of two."""
        return self.probabilities[:, 1] if self.binary and self.probabilities is not None else None

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: Any) -> Answers:
        """Those of some rows: positions or a mask."""
        return replace(
            self,
            truth=self.truth[chosen],
            predicted=self.predicted[chosen],
            probabilities=None if self.probabilities is None else self.probabilities[chosen],
            scores=None if self.scores is None else self.scores[chosen],
        )

    @cached_property
    def estimator(self) -> Any:
        """A fitted estimator that gives these answers, for scikit-learn's scorers."""
        return _answering(self)


def _numbered(labels: Any, number: Mapping[Any, int]) -> np.ndarray:
    import numpy as np

    return np.asarray([number[label] for label in np.asarray(labels).tolist()], dtype=np.int64)


def _answering(answers: Answers) -> Any:
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.metaestimators import available_if

    class Given(BaseEstimator):  # type: ignore[misc]
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, X: Any, y: Any) -> Any:  # noqa: N803
            return self

        def predict(self, X: Any) -> np.ndarray:  # noqa: N803
            return answers.predicted

        @available_if(lambda self: answers.probabilities is not None)  # type: ignore[untyped-decorator]
        def predict_proba(self, X: Any) -> np.ndarray | None:  # noqa: N803
            return answers.probabilities

        @available_if(lambda self: answers.scores is not None)  # type: ignore[untyped-decorator]
        def decision_function(self, X: Any) -> np.ndarray | None:  # noqa: N803
            return answers.scores

    if not answers.classes:
        return type("GivenRegressor", (RegressorMixin, Given), {})()
    estimator = type("GivenClassifier", (ClassifierMixin, Given), {})()
    estimator.classes_ = np.arange(len(answers.classes))
    return estimator


@lru_cache(maxsize=1)
def known_metrics() -> Mapping[str, str]:
    """Every name that a metric may have, and the scorer that it means.

    scikit-learn's own names, those that begin with ``neg_`` also without it (positive, lower is
    better), and the usual short ones.
    """
    from sklearn.metrics import get_scorer_names

    scorers = [name for name in get_scorer_names() if name not in _CLUSTERING]
    names = {name: name for name in scorers}
    for name in scorers:
        if name.startswith("neg_"):
            names.setdefault(name.removeprefix("neg_"), name)
    return {**names, **{name: scorer for name, scorer in _ALIASES.items() if scorer in names}}


def metric_of(name: str, task: Task | None = None, *, classes: int | None = None) -> Metric:
    """The metric of a name.

    Args:
        task: refuse the metrics of the other one.
        classes: the number of classes, if known: more than two turn ``f1`` into its mean over
            the classes, and so on.

    Raises:
        UnknownMetricError: there is none, or it is of another task.
    """
    known = known_metrics()
    if name not in known:
        fitting = [word for word in known if task is None or _task(known[word]) == task]
        raise UnknownMetricError(f"no metric is called {name!r}", did_you_mean(name, fitting))
    scorer = known[name]
    if task and _task(scorer) != task:
        usual = ", ".join(default_metrics(task, classes or 2))
        raise UnknownMetricError(f"{name!r} is no metric of {task}", f"such as {usual}")
    turned = scorer.startswith("neg_") and not name.startswith("neg_")
    # the one scorer of scikit-learn that keeps an error's sign under its own name
    minimised = turned or scorer == "max_error"
    if classes and classes > 2:
        scorer = _MULTICLASS.get(scorer, scorer)
    return Metric(name, scorer, -1 if turned else 1, "minimize" if minimised else "maximize")


def _task(scorer: str) -> Task:
    return "regression" if scorer in _REGRESSION else "classification"


def default_metrics(task: Task, classes: int) -> tuple[str, ...]:
    """The usual metrics of a task."""
    if task == "regression":
        return ("rmse", "mae", "r2")
    if classes == 2:
        return ("roc_auc", "pr_auc", "f1", "accuracy", "log_loss", "brier")
    return ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss")


def measure(
    metrics: Sequence[Metric], answers: Answers, *, weights: Any = None
) -> dict[str, float]:
    """The value of each metric; NaN where the rows don't define it (one class only), or weights
    are given and it knows none.

    Args:
        weights: how much each row counts; default: all the same.
    """
    import sklearn

    values: dict[str, float] = {}
    with (
        warnings.catch_warnings(),
        # the rows are checked once for all metrics
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        # an undefined metric is NaN, and shown as such
        warnings.simplefilter("ignore")
        for metric in metrics:
            try:
                value = _scored(metric.scorer, answers, weights)
            except (ValueError, AttributeError):
                # scikit-learn's words for rows of one class, and for no probabilities
                value = math.nan
            except TypeError:
                # its word for a metric without weights
                if weights is None:
                    raise
                value = math.nan
            values[metric.name] = float(value) * metric.sign
    return values


def _scored(scorer: str, answers: Answers, weights: Any = None) -> float:
    from sklearn import metrics

    weighing = {} if weights is None else {"sample_weight": weights}
    if scorer in ("neg_log_loss", "neg_brier_score") and answers.probabilities is not None:
        # defined for rows that lack a class, if told which classes there are
        loss = getattr(metrics, {"neg_log_loss": "log_loss"}.get(scorer, "brier_score_loss"))
        probabilities = answers.positive if answers.binary else answers.probabilities
        labels = range(len(answers.classes))
        return -float(loss(answers.truth, probabilities, labels=list(labels), **weighing))
    return float(metrics.get_scorer(scorer)(answers.estimator, None, answers.truth, **weighing))


def better_by(metric: Metric, candidate: float, other: float) -> float:
    """By how much a value is better than another, in the metric's direction."""
    return candidate - other if metric.better_high else other - candidate


def standard_errors(
    metrics: Sequence[Metric],
    answers: Answers,
    *,
    rounds: int = 40,
    rows: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """The standard error of each metric, by bootstrap.

    Of many rows, ``rows`` are drawn and the spread is scaled by √(rows / all): Bickel, Götze and
    van Zwet, "Resampling fewer than n observations", Statistica Sinica 7 (1997).
    """
    import numpy as np

    drawn = min(len(answers), rows)
    if drawn < 2:
        return {}
    random = np.random.default_rng(seed)
    rounds_of: dict[str, list[float]] = {metric.name: [] for metric in metrics}
    for _ in range(rounds):
        sample = answers.rows(random.integers(0, len(answers), drawn))
        for name, value in measure(metrics, sample).items():
            rounds_of[name].append(value)
    scale = math.sqrt(drawn / len(answers))
    errors: dict[str, float] = {}
    for name, found in rounds_of.items():
        known = np.asarray(found)[np.isfinite(found)]
        if len(known) > rounds // 2:
            errors[name] = float(np.std(known, ddof=1)) * scale
    return errors
