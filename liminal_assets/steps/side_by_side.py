"""Two versions that answered the same rows, measured by the labels that are there.

A server logs what the version in the background said of a request beside what was answered. Both
are held against the same truth, so that neither has the easier rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from liminal_assets.language.deployments import Deployment
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.labels import label_text
from liminal_assets.steps.observation import is_answer
from liminal_assets.steps.performance import (
    TRUTH,
    answers_of,
    classes_of,
    known_labels,
    truth_of,
)
from liminal_assets.storage.forms import engine_errors, identifier, literal
from liminal_assets.storage.predictions import PredictionLog, ShadowLog
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table, TableStore

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from liminal_assets.steps.metrics import Answers, Metric

__all__ = ["Measured", "SideBySide", "side_by_side"]

_MOST_SLICES = 20
"""Values of a column, those with the most labels."""
_ROUNDS = 40
_MOST_DRAWN = 2_000
"""Rows of one round of the bootstrap; see :func:`~liminal_assets.steps.metrics.standard_errors`."""


@dataclass(frozen=True)
class Measured:
    """One metric of two versions over the same rows.

    Attributes:
        rows: how many have a label.
        stable: of the version that answers; None where the rows don't define it.
        candidate: of the other.
        worse_by: by how much the candidate is worse, whichever way the metric goes; below 0 it is
            better.
        error: the standard error of that, by bootstrap over the rows of both.
    """

    rows: int
    stable: float | None = None
    candidate: float | None = None
    worse_by: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class SideBySide:
    """What labels say of two versions.

    Attributes:
        metric: its name.
        whole: over all labelled rows.
        slices: the same by slice, such as ``carrier=AA``.
    """

    metric: str
    whole: Measured
    slices: Mapping[str, Measured] = field(default_factory=dict)


def side_by_side(
    project: Project,
    deployment: Deployment,
    stable: str,
    candidate: str,
    *,
    since: datetime,
    slices: Sequence[str] = (),
) -> SideBySide | None:
    """What the labels of requests since a moment say of two versions of a deployment.

    A label is that of ``/feedback``, or else of the dataset that a monitor of the deployment names
    (``performance: {labels: …}``). The metric is that of ``rollback_on``; or the monitor's, or the
    first that the model is evaluated by.

    Args:
        slices: columns of the prediction log.

    Returns:
        None where no row that both answered has a label yet.

    Raises:
        StepError: the log or the labels can't be read.
    """
    log, background = PredictionLog(project, deployment.name), ShadowLog(project, deployment.name)
    monitor = _labelling(project, deployment)
    if not background.exists() or (monitor is None and not log.feedback().exists()):
        return None
    with session() as connection, engine_errors(f"join the labels of {deployment.name}"):
        joined = _Joined(connection, (stable, candidate), slices)
        if not joined.read(log.read(since), background.read(since)):
            return None
        joined.label_by_feedback(log.labels(since))
        if monitor is not None:
            joined.label_by_dataset(project, monitor)
        frame = joined.frame()
    if not len(frame):
        return None
    known = _known(project, deployment, stable, frame)
    sides = [_answers(frame, f"{side}.", known) for side in ("stable", "candidate")]
    metric = _metric(_metric_name(project, deployment, monitor), sides[0])
    return SideBySide(
        metric.name,
        _measured(metric, *sides),
        {
            name: _measured(metric, *(side.rows(mask) for side in sides))
            for name, mask in _slices(frame, slices)
        },
    )


class _Joined:
    """The answers of two versions to the same requests, being joined to their labels."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        versions: tuple[str, str],
        slices: Sequence[str],
    ) -> None:
        self._connection = connection
        self._versions = versions
        self._asked = slices
        self._slices: list[str] = []
        self._kind = "VARCHAR"
        self._answers: list[list[str]] = []

    def read(self, served: Table, background: Table) -> bool:
        """Takes the answers; whether there are rows that both versions answered."""
        connection = self._connection
        connection.from_arrow(background.to("arrow")).create_view("background")
        both = "prediction_id IN (SELECT prediction_id FROM background)"
        connection.from_arrow(served.to("arrow")).create_view("logged")
        connection.sql(f"FROM logged WHERE {both}").create_view("served")
        there = connection.table("served").columns
        self._slices = [name for name in self._asked if name in there]
        for side, version in zip(("stable", "candidate"), self._versions, strict=True):
            # whichever of the two was the one in the background
            made = connection.sql(
                "SELECT * EXCLUDE (n) FROM ("
                "SELECT *, row_number() OVER (PARTITION BY prediction_id) AS n FROM ("
                "SELECT * FROM served UNION ALL BY NAME SELECT * FROM background) "
                f"WHERE model_version = {literal(version)} AND prediction IS NOT NULL) WHERE n = 1"
            ).to_arrow_table()
            # columns of the other version alone are null throughout
            some = [
                name
                for name in made.column_names
                if is_answer(name) and made[name].null_count < len(made)
            ]
            if not some:
                return False
            relation = connection.from_arrow(made.select(["prediction_id", *some]))
            relation.create_view(side)
            self._answers.append(some)
            if side == "stable":
                kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
                self._kind = kinds["prediction"]
        connection.execute("CREATE TABLE truths (prediction_id VARCHAR, truth VARCHAR, rank INT)")
        return True

    def label_by_feedback(self, labels: Table) -> None:
        """Labels that were sent to the server."""
        connection = self._connection
        connection.from_arrow(labels.to("arrow")).create_view("told")
        connection.execute("INSERT INTO truths SELECT prediction_id, label, 0 FROM told")

    def label_by_dataset(self, project: Project, monitor: Monitor) -> None:
        """Labels of the dataset that a monitor names; none where it lacks a column."""
        import pyarrow as pa

        spec, store = monitor.labels, TableStore(project)
        if spec is None or not store.exists(spec.from_):
            return
        connection, rows = self._connection, store.read(spec.from_)
        served = connection.table("served")
        if not {*spec.key, spec.column} <= set(rows.schema.names):
            return
        if not set(spec.key) <= set(served.columns):
            return
        found = truth_of(spec, Table("served", value=served.to_arrow_table()), rows)
        told = {"id": [one for one, _ in found], "truth": [label_text(t) for _, t in found]}
        kinds = pa.schema([("id", pa.string()), ("truth", pa.string())])
        connection.from_arrow(pa.table(told, schema=kinds)).create_view("known")
        connection.execute("INSERT INTO truths SELECT id, truth, 1 FROM known")

    def frame(self) -> pd.DataFrame:
        """The labelled rows: ``stable.prediction``, ``candidate.prediction`` and so on, the truth,
        and the slices as text."""
        columns = [f"t.truth AS {TRUTH}"]
        for side, names in zip(("stable", "candidate"), self._answers, strict=True):
            for name in names:
                value = f"{side}.{identifier(name)}"
                if name == "prediction":
                    value = f"TRY_CAST({value} AS {self._kind})"
                columns.append(f"{value} AS {identifier(f'{side}.{name}')}")
        columns += [f"CAST(s.{identifier(n)} AS VARCHAR) AS {identifier(n)}" for n in self._slices]
        newest = (
            f"SELECT prediction_id, TRY_CAST(arg_min(truth, rank) AS {self._kind}) AS truth "
            "FROM truths GROUP BY prediction_id"
        )
        found: pd.DataFrame = (
            self._connection.sql(
                f"SELECT {', '.join(columns)} FROM stable JOIN candidate USING (prediction_id) "
                f"JOIN served s USING (prediction_id) JOIN ({newest}) t USING (prediction_id) "
                'WHERE t.truth IS NOT NULL AND "candidate.prediction" IS NOT NULL '
                "ORDER BY prediction_id"
            )
            .to_arrow_table()
            .to_pandas()
        )
        return found


def _labelling(project: Project, deployment: Deployment) -> Monitor | None:
    """The first monitor of a deployment that says where labels arrive."""
    watching = (m for m in project.spec.monitors if m.deployment == deployment.name)
    return next((monitor for monitor in watching if monitor.labels), None)


def _known(project: Project, deployment: Deployment, stable: str, frame: pd.DataFrame) -> list[Any]:
    """The labels that there are: those learned, told and answered."""
    model = project.blocks.get(deployment.model)
    store, name = TableStore(project), f"{deployment.model}__reference"
    learned: list[Any] = []
    if isinstance(model, Model) and stable in store.partitions(name):
        learned = known_labels(model.target, store.read(name, [stable]))
    columns = (TRUTH, "stable.prediction", "candidate.prediction")
    return [*learned, *(value for column in columns for value in frame[column].unique())]


def _answers(frame: pd.DataFrame, prefix: str, known: Sequence[Any]) -> Answers:
    """The answers of one side; of numbers without probabilities as those of a regression."""
    names = [str(name) for name in frame.columns if str(name).startswith(prefix)]
    own = {name: name.removeprefix(prefix) for name in names}
    side = frame[list(own)].rename(columns=own)
    graded = any(name.startswith("probability") for name in own.values())
    classes = classes_of(side, known) if graded or side["prediction"].dtype.kind != "f" else []
    return answers_of(side, classes, frame[TRUTH])


def _metric_name(project: Project, deployment: Deployment, monitor: Monitor | None) -> str | None:
    if name := deployment.rollout.rollback_on.metric:
        return name
    if monitor is not None and monitor.performance:
        return monitor.performance.metric
    model = project.blocks.get(deployment.model)
    evaluated = model.evaluate.metrics if isinstance(model, Model) else ()
    return evaluated[0] if evaluated else None


def _metric(name: str | None, answers: Answers) -> Metric:
    from liminal_assets.steps.metrics import default_metrics, metric_of

    classes = max(len(answers.classes), 2) if answers.classes else None
    names = (name,) if name else default_metrics(answers.task, classes or 2)
    found = [metric_of(one, classes=classes) for one in names]
    graded = answers.probabilities is not None
    return next((one for one in found if graded or not one.needs_probabilities), found[0])


def _slices(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for column in columns:
        if column in frame:
            texts = frame[column].fillna("(missing)")
            for value in texts.value_counts().index[:_MOST_SLICES]:
                yield f"{column}={value}", (texts == value).to_numpy()


def _measured(metric: Metric, stable: Answers, candidate: Answers) -> Measured:
    from liminal_assets.steps.metrics import better_by, measure

    ours, theirs = (measure([metric], side)[metric.name] for side in (stable, candidate))
    if not (math.isfinite(ours) and math.isfinite(theirs)):
        return Measured(len(stable))
    worse = -better_by(metric, theirs, ours)
    return Measured(len(stable), ours, theirs, worse, _error(metric, stable, candidate))


def _error(metric: Metric, stable: Answers, candidate: Answers) -> float | None:
    """The standard error of the difference, rows of both drawn together."""
    import numpy as np

    from liminal_assets.steps.metrics import measure

    count = len(stable)
    drawn = min(count, _MOST_DRAWN)
    random = np.random.default_rng(0)
    found = []
    for _ in range(_ROUNDS):
        rows = random.integers(0, count, drawn)
        ours, theirs = (
            measure([metric], side.rows(rows))[metric.name] for side in (stable, candidate)
        )
        found.append(theirs - ours)
    known = np.asarray(found)[np.isfinite(found)]
    if len(known) <= _ROUNDS // 2:
        return None
    return float(np.std(known, ddof=1)) * math.sqrt(drawn / count)
