"""Train: from rows to a fitted pipeline, with what it answers on the rows held out.

Free of Dagster and MLflow:

>>> trained = la.steps.train(frame, target="late", estimator="sklearn.linear_model.Ridge")
>>> trained.metrics["rmse"], trained.pipeline.predict(frame)
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model, Prepare
from liminal_assets.steps.candidate import Candidate, answer_columns, answers_of
from liminal_assets.steps.estimators import task_of, unfitted
from liminal_assets.steps.functions import user_errors
from liminal_assets.steps.learning import LearningRows, learning_rows, target_values
from liminal_assets.steps.metrics import (
    Metric,
    Task,
    UnknownMetricError,
    default_metrics,
    measure,
    metric_of,
)
from liminal_assets.steps.prepare import (
    check_inputs,
    check_one_hot,
    pipeline_of,
    roles_of,
    with_values,
)
from liminal_assets.steps.split import Fold, Splitter
from liminal_assets.steps.tune import Search, search, split_params

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

__all__ = [
    "Trained",
    "metrics_of",
    "model_spec",
    "train",
]


@dataclass(frozen=True)
class Trained(Candidate):
    """A candidate and how it came to be.

    Attributes:
        metrics: on the held-out rows.
        params: the estimator's parameters, found by the search or given.
        search: the search, if there was one.
        rows: what it was made of.
        learned_from: the number of rows that it learned from.
        seconds: how long fitting took.
    """

    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    search: Search | None
    rows: LearningRows
    learned_from: int
    seconds: float

    def reference(self) -> pd.DataFrame:
        """The held-out rows with the answers beside them: what monitors compare with."""
        return self.held_out.assign(**answer_columns(self.answers))


def model_spec(spec: Model | None = None, **keywords: Any) -> Model:
    """A model's spec from keywords as in YAML; ``model`` and ``features`` may be left out."""
    if spec is not None and not keywords:
        return spec
    said = spec.model_dump(by_alias=True) if spec is not None else {}
    return Model.model_validate({"model": "model", "features": "rows", **said, **keywords})


def train(
    rows: Any, spec: Model | None = None, *, project: Project | None = None, **keywords: Any
) -> Trained:
    """Learns from rows as a model block says.

    Args:
        rows: a frame, a table or :class:`~liminal_assets.steps.learning.LearningRows`.
        spec: the block; or its keys as keywords (``target=…, estimator=…, split={…}``).
        project: where user modules and positions are found; default: the current folder.

    Raises:
        StepError: the rows, the columns, the estimator or a parameter is wrong.
    """
    model = model_spec(spec, **keywords)
    project = project or Project.of("notebook", check=False)
    learning = rows if isinstance(rows, LearningRows) else learning_rows(project, model, rows)
    return _Training(project, model, learning).run()


class _Training:
    """One training: its rows, its columns and how they are cut."""

    def __init__(self, project: Project, model: Model, rows: LearningRows) -> None:
        self.project, self.model, self.rows = project, model, rows
        self.task = task_of(project, model, unfitted(project, model))
        frame = rows.frame
        self._check_names()
        self.roles = roles_of(project, model, frame, rows.reserved)
        check_inputs(project, model, frame, self.roles)
        check_one_hot(project, model, frame, self.roles)
        self.target = target_values(project, model, frame[model.target], self.task)
        self.frame = frame.assign(**{model.target: self.target})
        self.splitter = Splitter(project, model, timestamp=rows.timestamp, keys=self._row_keys())

    def _check_names(self) -> None:
        answers = [n for n in self.rows.frame.columns if str(n) in ("prediction", "probability")]
        if answers:
            raise StepError(
                f"{self.model.features} has a column {answers[0]!r}, which is what the model's "
                "answer is called",
                location=self._at("features"),
                hint="give the column another name in the feature",
            )

    def _row_keys(self) -> tuple[str, ...]:
        return self.rows.reserved if self.rows.keys else ()

    def run(self) -> Trained:
        model, project = self.model, self.project
        fold = self.splitter.hold_out(self.frame, self.target)
        learn = self._take(fold.train)
        self._check_side(learn[model.target], "learn from")
        metrics = metrics_of(project, model, self.task, self.target.nunique())
        found = self._search(learn, metrics) if model.tune else None
        params = dict(found.params) if found else {}
        folds = self._cross_validate(learn, params, metrics)
        started = time.perf_counter()
        pipeline = self._fit(learn, params)
        held_out = self._take(fold.test)
        answers = answers_of(pipeline, held_out, held_out[model.target], self.task)
        values = measure(metrics, answers)
        self._check_metrics(metrics, values)
        fitted = pipeline
        if model.refit:
            fitted = self._fit(self._take(None), params)
        own, _ = split_params(params)
        return Trained(
            model=model,
            pipeline=fitted,
            roles=self.roles,
            nullable=_nullable(fitted, held_out[list(self.roles.columns)]),
            task=self.task,
            classes=answers.classes,
            held_out=held_out,
            answers=answers,
            metrics=values,
            params={**model.params, **own, **_prepare_params(params)},
            folds=folds,
            search=found,
            rows=self.rows,
            learned_from=len(self.frame) if model.refit else len(learn),
            seconds=time.perf_counter() - started,
        )

    def _take(self, positions: np.ndarray | None) -> pd.DataFrame:
        chosen = self.frame if positions is None else self.frame.iloc[positions]
        return chosen.reset_index(drop=True)

    def _fit(self, frame: pd.DataFrame, params: Mapping[str, Any]) -> Pipeline:
        model = self.model
        own, prepare = split_params(params)
        estimator = unfitted(self.project, model, own)
        pipeline = pipeline_of(
            self._prepare(prepare),
            self.roles,
            _at_threshold(estimator, model, self.task, frame[model.target]),
            seed=model.split.seed,
        )
        with _fitting(self.project, model):
            pipeline.fit(frame[list(self.roles.columns)], frame[model.target].to_numpy())
        return pipeline

    def _prepare(self, values: Mapping[str, Any]) -> Prepare:
        if not values:
            return self.model.prepare
        try:
            return with_values(self.model.prepare, values)
        except ValueError as error:
            shown = ", ".join(f"{name}: {value}" for name, value in values.items())
            raise StepError(
                f"the search's space asks for a preparation that there isn't: {shown}",
                location=self._at("tune", "space"),
                hint="'prepare__numeric__scale' reaches prepare: numeric: scale",
            ) from error

    def _search(self, learn: pd.DataFrame, metrics: Sequence[Metric]) -> Search:
        said = self.model.tune
        assert said is not None  # noqa: S101  # the caller asked
        metric = _metric(
            self.project, self.model, said.metric, self.task, self.target.nunique(), "tune"
        )
        folds = self._folds(learn, said.cross_validate)

        def scores(params: Mapping[str, Any]) -> Iterator[float]:
            for fold in folds:
                yield self._score_fold(learn, fold, params, [metric])[metric.name]

        return search(self.project, self.model, metric, scores, data_version=self.rows.version)

    def _cross_validate(
        self, learn: pd.DataFrame, params: Mapping[str, Any], metrics: Sequence[Metric]
    ) -> dict[str, list[float]]:
        count = self.model.evaluate.cross_validate
        if not count:
            return {}
        results = [
            self._score_fold(learn, fold, params, metrics) for fold in self._folds(learn, count)
        ]
        return {metric.name: [values[metric.name] for values in results] for metric in metrics}

    def _folds(self, learn: pd.DataFrame, count: int) -> list[Fold]:
        classes = self.task == "classification"
        return self.splitter.folds(learn, learn[self.model.target], count, classes=classes)

    def _score_fold(
        self, learn: pd.DataFrame, fold: Fold, params: Mapping[str, Any], metrics: Sequence[Metric]
    ) -> dict[str, float]:
        train = learn.iloc[fold.train]
        test = learn.iloc[fold.test]
        self._check_side(train[self.model.target], "learn from in a fold")
        pipeline = self._fit(train, params)
        return measure(metrics, answers_of(pipeline, test, test[self.model.target], self.task))

    def _check_side(self, target: pd.Series, what: str) -> None:
        if self.task == "classification" and target.nunique() < 2:
            raise StepError(
                f"the rows to {what} have one class only, {target.tolist()[0]!r}",
                location=self._at("split"),
                hint="split at another place, stratify, or learn from more rows",
            )

    def _check_metrics(self, metrics: Sequence[Metric], values: Mapping[str, float]) -> None:
        for metric in metrics:
            if values[metric.name] != values[metric.name]:
                raise StepError(
                    f"{metric.name} is undefined on the rows held out",
                    location=self._at("evaluate", "metrics"),
                    hint="they lack a class, or the estimator gives no probabilities",
                )

    def _at(self, *path: str) -> Location | None:
        return self.project.locate(self.model, *path) if self.model.location else None


def _nullable(pipeline: Any, frame: pd.DataFrame) -> frozenset[str]:
    """The columns that the pipeline takes nulls in, found by asking it."""

    def takes(columns: Sequence[str]) -> bool:
        row = frame.head(1).astype(object)
        row[list(columns)] = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pipeline.predict(row)
            except (ValueError, TypeError):
                return False
        return True

    columns = list(frame.columns)
    return frozenset(columns if takes(columns) else (name for name in columns if takes([name])))


def metrics_of(project: Project, model: Model, task: Task, classes: int) -> list[Metric]:
    """The metrics that the model asks for in ``evaluate`` and ``validate``, or the usual ones.

    Raises:
        StepError: one isn't known, or isn't of this task.
    """
    evaluate = model.evaluate.metrics or default_metrics(task, classes)
    metrics = {
        name: _metric(project, model, name, task, classes, "evaluate", "metrics")
        for name in evaluate
    }
    for index, rule in enumerate(model.validate_):
        if rule.metric and rule.metric not in metrics:
            metrics[rule.metric] = _metric(
                project, model, rule.metric, task, classes, "validate", index
            )
    return list(metrics.values())


def _metric(
    project: Project, model: Model, name: str, task: Task, classes: int, *path: str | int
) -> Metric:
    try:
        return metric_of(name, task, classes=classes)
    except UnknownMetricError as error:
        at = project.locate(model, *path) if model.location else None
        raise StepError(error.message, location=at, hint=error.hint) from None


def _at_threshold(estimator: Any, model: Model, task: Task, target: pd.Series) -> Any:
    """The estimator, or around it what turns probabilities into labels at another threshold."""
    threshold = model.evaluate.threshold
    if task == "regression" or threshold == 0.5 or target.nunique() != 2:
        return estimator
    from sklearn.model_selection import FixedThresholdClassifier

    return FixedThresholdClassifier(
        estimator,
        threshold=threshold,
        pos_label=sorted(target.unique())[-1],
        response_method="predict_proba",
    )


def _prepare_params(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name.startswith("prepare__")}


@contextmanager
def _fitting(project: Project, model: Model) -> Iterator[None]:
    """What an estimator raises about the rows, as one message; forests use every core."""
    import joblib

    key = "estimator" if model.estimator else "python"
    at = project.locate(model, key) if model.location else None
    said = model.estimator or model.python
    with warnings.catch_warnings():
        # a warning repeated on every fold tells nobody anything
        warnings.simplefilter("once")
        with (
            user_errors(project, f"fitting {said}", at),
            joblib.parallel_config("threading", n_jobs=_cores()),
        ):
            yield


def _cores() -> int:
    import joblib

    return int(joblib.cpu_count())
