"""How good the answers of a window are: by the labels that are there, and estimated without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Labels, Monitor, Performance
from liminal_assets.steps.observation import is_answer
from liminal_assets.steps.windows import WatchedRows
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pandas as pd

    from liminal_assets.steps.estimation import Estimate
    from liminal_assets.steps.metrics import Answers, Metric

__all__ = [
    "TRUTH",
    "Answered",
    "LabelState",
    "answered",
    "answers_of",
    "classes_of",
    "known_labels",
    "label_state",
    "labelled_count",
    "truth_of",
]

TRUTH = "liminal_truth"
"""The truth in joined rows: no column of the user's is called so."""


def slice_column(column: str) -> str:
    """The name of a slice's column as text among the answers."""
    return f"liminal_slice_{column}"


@dataclass(frozen=True)
class Answered:
    """The answers of a window with what is known of the truth.

    Attributes:
        frame: the answers' columns, those of the slices, and the truth where labels may arrive.
        metric: None for one that there isn't for these answers.
        classes: the model's classes in the order of its probabilities; empty for regression.
        reference: labelled answers that the model didn't learn from; None without.
    """

    frame: pd.DataFrame
    metric: Metric
    classes: tuple[Any, ...] = ()
    reference: Answers | None = None

    @cached_property
    def known(self) -> np.ndarray:
        """Whether a row's truth is known: a mask."""
        import numpy as np

        if TRUTH not in self.frame:
            return np.zeros(len(self.frame), bool)
        return (self.frame[TRUTH].notna() & self.frame["prediction"].notna()).to_numpy()

    def texts(self, column: str) -> pd.Series[str]:
        """The values of a slice's column as the table has them as text."""
        found: pd.Series[str] = self.frame[slice_column(column)]
        return found

    def score(self, rows: Any = None) -> tuple[int, float | None]:
        """The number of rows with a label, and the metric over them (NaN: not defined).

        Args:
            rows: a mask of the rows to look at; default: all.
        """
        from liminal_assets.steps.metrics import measure

        chosen = self.known if rows is None else self.known & rows
        count = int(chosen.sum())
        if not count:
            return 0, None
        frame = self.frame[chosen]
        answers = answers_of(frame, self.classes, frame[TRUTH])
        return count, float(measure([self.metric], answers)[self.metric.name])

    def estimate(self) -> tuple[Estimate | None, str]:
        """The metric without labels; or None and why."""
        from liminal_assets.steps.estimation import estimate

        answers, why_not = self._answers_alone()
        return (
            (None, why_not)
            if answers is None
            else (
                estimate(self.metric, answers, self.reference),
                "",
            )
        )

    def estimate_of(self, rows: Any) -> float | None:
        """The estimate for some rows, without a band."""
        from liminal_assets.steps.estimation import expected

        answers, _ = self._answers_alone()
        if answers is None or self._chances is None or not rows.any():
            return None
        answered = self.frame["prediction"].notna().to_numpy()
        chosen = rows[answered]
        found = expected(self.metric, answers.rows(chosen), self._chances[chosen])
        return None if math.isnan(found) else found

    @cached_property
    def _chances(self) -> Any:
        from liminal_assets.steps.estimation import chances

        answers, _ = self._answers_alone()
        return None if answers is None else chances(answers, self.reference)

    def _answers_alone(self) -> tuple[Answers | None, str]:
        if not self.classes:
            return None, "numbers say nothing of how sure the model is: only classifiers can be"
        frame = self.frame[self.frame["prediction"].notna()]
        if not len(frame):
            return None, "the window has no rows"
        answers = answers_of(frame, self.classes, frame["prediction"])
        if answers.probabilities is None:
            return None, "the answers have no probabilities"
        return answers, ""


def answered(
    project: Project, block: Monitor, spec: Performance, watched: WatchedRows
) -> Answered | None:
    """The answers of a window, joined to the labels that are there; None without any rows.

    Raises:
        StepError: a key, column or metric isn't there, with its place in the YAML.
    """
    if "prediction" not in watched.rows.schema.names:
        return None
    frame = _joined(project, block, spec, watched)
    if not len(frame):
        return None
    from liminal_assets.steps.metrics import UnknownMetricError, metric_of

    try:
        return Answered(frame, metric_of(spec.metric, "regression"))
    except UnknownMetricError:
        pass
    target = _target(project, block)
    classes = classes_of(frame, known_labels(target, watched.training))
    try:
        metric = metric_of(spec.metric, "classification", classes=max(len(classes), 2))
    except UnknownMetricError as error:
        at = project.locate(block, "performance", "metric")
        raise StepError(error.message, location=at, hint=error.hint) from None
    reference = _reference(target, watched.training, classes) if spec.estimate else None
    return Answered(frame, metric, tuple(classes), reference)


def labelled_count(project: Project, block: Monitor, rows: Table, labels: Table) -> int:
    """How many of some answered rows have a label."""
    spec = block.performance
    if spec is None or spec.labels is None or "prediction" not in rows.schema.names:
        return 0
    remote = labels.filesystem or rows.filesystem
    at = project.locate(block, "performance", "labels")
    with (
        session(private=remote is not None) as connection,
        engine_errors(f"join the labels of {spec.labels.from_}", location=at),
    ):
        query = _query(
            spec.labels, rows, labels, connection, f"count({TRUTH})", "prediction IS NOT NULL"
        )
        return int(connection.sql(query).fetchall()[0][0])


@dataclass(frozen=True)
class LabelState:
    """Which labels the rows of a window have.

    Attributes:
        count: how many rows have one.
        digest: tells other labels, or labels of other rows, apart.
    """

    count: int
    digest: str


def label_state(project: Project, block: Monitor, rows: Table, labels: Table) -> LabelState:
    """The labels of answered rows as they are now."""
    spec = block.labels
    if spec is None or "prediction" not in rows.schema.names:
        return LabelState(0, "")
    remote = labels.filesystem or rows.filesystem
    at = project.locate(block, "performance", "labels")
    told = ", ".join(f"{identifier(name)}::VARCHAR" for name in (*spec.key, TRUTH))
    # a sum, for rows of the same entity have the same label
    wanted = f"count(*), sum(md5_number_lower(concat_ws(chr(31), {told})))::VARCHAR"
    with (
        session(private=remote is not None) as connection,
        engine_errors(f"join the labels of {spec.from_}", location=at),
    ):
        known = f"{TRUTH} IS NOT NULL AND prediction IS NOT NULL"
        query = _query(spec, rows, labels, connection, wanted, known)
        ((count, digest),) = connection.sql(query).fetchall()
    return LabelState(int(count), digest or "")


def truth_of(spec: Labels, rows: Table, labels: Table) -> list[tuple[str, Any]]:
    """The ids of the rows whose truth a table knows, each with that."""
    remote = labels.filesystem or rows.filesystem
    with session(private=remote is not None) as connection:
        wanted = f"prediction_id, {TRUTH}"
        query = _query(spec, rows, labels, connection, wanted, f"{TRUTH} IS NOT NULL")
        return connection.sql(query).fetchall()


def _joined(
    project: Project, block: Monitor, spec: Performance, watched: WatchedRows
) -> pd.DataFrame:
    rows, labels = watched.rows, watched.labels if spec.labels else None
    slices = block.slices.by if block.slices else ()
    wanted = [identifier(c) for c in rows.schema.names if is_answer(c)]
    wanted += [
        f"CAST({identifier(c)} AS VARCHAR) AS {identifier(slice_column(c))}"
        for c in slices
        if c in rows.schema.names
    ]
    shown = ", ".join(wanted)
    if labels is None or spec.labels is None:
        with engine_errors(f"read {rows.name}"):
            frame: pd.DataFrame = rows.relation().project(shown).to_arrow_table().to_pandas()
        return frame
    at = project.locate(block, "performance", "labels")
    for names, table, key, where in (
        (spec.labels.key, rows, "key", "the scores"),
        (spec.labels.key, labels, "key", spec.labels.from_),
        ([spec.labels.column], labels, "column", spec.labels.from_),
    ):
        _need(project, block, names, table, key, where)
    remote = labels.filesystem or rows.filesystem
    with (
        session(private=remote is not None) as connection,
        engine_errors(f"join the labels of {spec.labels.from_}", location=at),
    ):
        query = _query(spec.labels, rows, labels, connection, f"{shown}, {TRUTH}")
        joined: pd.DataFrame = connection.sql(query).to_arrow_table().to_pandas()
        return joined


def _query(
    spec: Labels,
    rows: Table,
    truths: Table,
    connection: duckdb.DuckDBPyConnection,
    wanted: str,
    where: str = "true",
) -> str:
    """The rows and the truth of each, null where it isn't known; of several of a key the last."""
    scores = rows.relation(connection).create_view("scores")
    truths.relation(connection).create_view("labels")
    keys = ", ".join(map(identifier, spec.key))
    truth = identifier(spec.column)
    same = " AND ".join(f"s.{identifier(k)} = l.{identifier(k)}" for k in spec.key)
    kind = dict(zip(scores.columns, map(str, scores.types), strict=True))["prediction"]
    # a label that was sent to a version with another type of answers isn't known to this one
    cast = "TRY_CAST" if spec.from_feedback else "CAST"
    return f"""
        SELECT {wanted} FROM (
            SELECT s.*, {cast}(l.last_truth AS {kind}) AS {TRUTH}
            FROM scores s LEFT JOIN (
                SELECT {keys}, last({truth}) AS last_truth
                FROM labels WHERE {truth} IS NOT NULL GROUP BY ALL
            ) l ON {same}
        ) WHERE {where}"""


def _need(
    project: Project, block: Monitor, columns: Sequence[str], rows: Table, key: str, where: str
) -> None:
    there = rows.schema.names
    for column in columns:
        if column not in there:
            raise StepError(
                f"there is no column {column!r} in {where}",
                location=project.locate(block, "performance", "labels", key),
                hint=did_you_mean(column, there),
            )


def _target(project: Project, block: Monitor) -> str:
    deployment = project.blocks.get(block.deployment)
    model = project.blocks.get(deployment.model) if isinstance(deployment, Deployment) else None
    if isinstance(model, Model):
        return model.target
    return block.labels.column if block.labels else "prediction"


def known_labels(target: str, training: Table | None) -> list[Any]:
    """The classes that the model learned, as far as its training rows tell."""
    if training is None or target not in training.schema.names:
        return []
    name = identifier(target)
    found = training.relation().filter(f"{name} IS NOT NULL").project(name).distinct()
    return [value for (value,) in found.fetchall()]


def _reference(target: str, training: Table | None, classes: Sequence[Any]) -> Answers | None:
    """The labelled answers of the training reference."""
    if training is None or not {target, "prediction"} <= set(training.schema.names):
        return None
    names = [c for c in training.schema.names if is_answer(c)]
    both = f"{identifier(target)} IS NOT NULL AND prediction IS NOT NULL"
    chosen = ", ".join([f"{identifier(target)} AS {TRUTH}", *map(identifier, names)])
    with engine_errors(f"read {training.name}"):
        frame = training.relation().filter(both).project(chosen).to_arrow_table().to_pandas()
    known = set(classes)
    frame = frame[frame[TRUTH].isin(known) & frame["prediction"].isin(known)]
    answers = answers_of(frame, classes, frame[TRUTH])
    return answers if answers.probabilities is not None else None


def answers_of(frame: pd.DataFrame, classes: Sequence[Any], truth: Any) -> Answers:
    """The answers in a frame; of a regression where there are no classes."""
    from liminal_assets.steps.metrics import Answers

    if not classes:
        return Answers.of(truth, frame["prediction"])
    return Answers.of(
        truth,
        frame["prediction"],
        classes=classes,
        probabilities=_probabilities(frame, classes),
    )


def classes_of(frame: pd.DataFrame, known: Sequence[Any]) -> list[Any]:
    """The model's classes in the order of its probabilities, the positive one last of two."""
    predicted = frame["prediction"].dropna().tolist()
    truth = frame[TRUTH].dropna().tolist() if TRUTH in frame else []
    labels = {*known, *predicted}
    if "probability" in frame and len(labels) < 2:
        labels |= set(truth)
    prefix = "probability_"
    named = [name.removeprefix(prefix) for name in frame.columns if name.startswith(prefix)]
    if named:
        by_name = {str(label): label for label in {*labels, *truth}}
        return [by_name.get(name, name) for name in named]
    if labels <= {True, False} and labels:
        # a window, or labels, of one class only
        labels |= {True, False}
    return sorted(labels)


def _probabilities(frame: pd.DataFrame, classes: Sequence[Any]) -> Any:
    """Rows × classes; None for a model without probabilities."""
    import numpy as np

    if "probability" in frame:
        positive = frame["probability"].to_numpy(float)
        return np.column_stack([1 - positive, positive]) if len(classes) == 2 else None
    names = [name for name in frame.columns if name.startswith("probability_")]
    return frame[names].to_numpy(float) if names else None
