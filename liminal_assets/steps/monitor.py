"""Monitor: measures a window of scores and judges it.

>>> judgement = la.steps.monitor(project, "late_arrival_watch", "2013-07")
>>> judgement.breach, [str(cause) for cause in judgement.causes]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from liminal_assets.errors import StepError
from liminal_assets.language.deployments import Deployment
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.language.monitors import Monitor, Performance
from liminal_assets.steps.drift import DriftReport, drift
from liminal_assets.steps.judgement import Judgement, Observation, is_answer, judge
from liminal_assets.steps.sql import sql_of
from liminal_assets.steps.windows import WatchedRows, compared_columns, watched_rows
from liminal_assets.storage.forms import engine_errors, identifier
from liminal_assets.storage.sessions import session
from liminal_assets.storage.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

__all__ = ["Watched", "monitor", "observe", "watch"]


@dataclass(frozen=True)
class Watched:
    """A window, measured and judged."""

    observation: Observation
    judgement: Judgement


def monitor(
    project: Project,
    name: Monitor | str,
    partition: str | None = None,
    *,
    now: datetime | None = None,
) -> Judgement:
    """Judges one window of a monitor; nothing is written.

    Args:
        name: the monitor or its name.
        partition: the partition of batch scores.
        now: where a window of served rows ends; default: the present.

    Raises:
        StepError: there are no scores yet, or something can't be measured.
    """
    block = project.block(name) if isinstance(name, str) else name
    if not isinstance(block, Monitor):
        raise StepError(f"{name} is not a monitor", location=project.locate(block))
    return watch(project, block, watched_rows(project, block, partition, now=now)).judgement


def watch(project: Project, block: Monitor, watched: WatchedRows) -> Watched:
    """Measures and judges the rows of a window."""
    observation = observe(project, block, watched)
    return Watched(observation, judge(block, observation))


def observe(project: Project, block: Monitor, watched: WatchedRows) -> Observation:
    """Measures what a monitor asks for.

    Raises:
        StepError: a column or metric isn't there, or a query fails, with its place in the YAML.
    """
    distances, why_not = _drift(project, block, watched)
    labelled, score = (None, None)
    if block.performance:
        labelled, score = _performance(project, block, block.performance, watched)
    return Observation(
        watched.window,
        rows=watched.rows.rows,
        model_version=watched.model_version,
        others=watched.others,
        reference=watched.reference_name,
        drift=distances,
        no_drift=why_not,
        labelled=labelled,
        score=score,
        kpis={
            kpi.kpi: _kpi(project, block, index, watched) for index, kpi in enumerate(block.kpis)
        },
    )


def _drift(
    project: Project, block: Monitor, watched: WatchedRows
) -> tuple[DriftReport | None, str]:
    if block.drift is None:
        return None, ""
    if watched.reference is None:
        return None, watched.reference_name or "there is nothing to compare with"
    columns, codes = compared_columns(project, block, watched)
    for name in block.drift.columns:
        if name not in columns:
            raise StepError(
                f"there is no column {name!r} to compare",
                location=project.locate(block, "drift", "columns", name, key=True),
                hint=did_you_mean(name, columns),
            )
    try:
        report = drift(
            watched.reference,
            watched.rows,
            method=block.drift.method,
            threshold=block.drift.threshold,
            bins=block.drift.bins,
            columns=block.drift.columns,
            only=columns,
            categorical=codes,
        )
    except StepError as error:
        raise error.at(project.locate(block, "drift", key=True)) from error
    reason = "" if report.rows and report.reference_rows else "the window has no rows"
    if not report.reference_rows:
        reason = "the reference has no rows"
    return report, reason


def _performance(
    project: Project, block: Monitor, spec: Performance, watched: WatchedRows
) -> tuple[int, float | None]:
    """The number of rows whose truth is known, and the metric over them."""
    if watched.labels is None:
        return 0, None
    at = project.locate(block, "performance", "labels")
    _need(project, block, [*spec.labels.key], watched.rows, "key", "the scores")
    _need(project, block, spec.labels.key, watched.labels, "key", spec.labels.from_)
    _need(project, block, [spec.labels.column], watched.labels, "column", spec.labels.from_)
    remote = watched.labels.filesystem or watched.rows.filesystem
    with (
        session(private=remote is not None) as connection,
        engine_errors(f"join the labels of {spec.labels.from_}", location=at),
    ):
        rows = _with_truth(spec, watched.rows, watched.labels, connection)
    if not rows.num_rows:
        return 0, None
    return rows.num_rows, _score(project, block, spec, rows, watched.reference)


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


def _with_truth(
    spec: Performance, rows: Table, truths: Table, connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """The answers whose truth is known, and the truth; of several truths of a key the last."""
    scores = rows.relation(connection).create_view("scores")
    truths.relation(connection).create_view("labels")
    keys = ", ".join(map(identifier, spec.labels.key))
    truth = identifier(spec.labels.column)
    answers = ", ".join(identifier(column) for column in scores.columns if is_answer(column))
    same = " AND ".join(f"s.{identifier(k)} = l.{identifier(k)}" for k in spec.labels.key)
    kind = dict(zip(scores.columns, map(str, scores.types), strict=True))["prediction"]
    query = f"""
        SELECT {answers}, CAST(l.truth AS {kind}) AS truth
        FROM scores s JOIN (
            SELECT {keys}, last({truth}) AS truth FROM labels WHERE {truth} IS NOT NULL GROUP BY ALL
        ) l ON {same} WHERE s.prediction IS NOT NULL"""
    return connection.sql(query).to_arrow_table()


def _score(
    project: Project,
    block: Monitor,
    spec: Performance,
    rows: pa.Table,
    reference: Table | None,
) -> float:
    from liminal_assets.steps.metrics import Answers, UnknownMetricError, measure, metric_of

    frame = rows.to_pandas()
    try:
        regression = metric_of(spec.metric, "regression")
    except UnknownMetricError:
        regression = None
    if regression is not None:
        answers = Answers.of(frame["truth"], frame["prediction"])
        return float(measure([regression], answers)[spec.metric])
    classes = _classes(frame, _known_labels(project, block, reference))
    answers = Answers.of(
        frame["truth"],
        frame["prediction"],
        classes=classes,
        probabilities=_probabilities(frame, classes),
    )
    try:
        metric = metric_of(spec.metric, "classification", classes=len(answers.classes))
    except UnknownMetricError as error:
        at = project.locate(block, "performance", "metric")
        raise StepError(error.message, location=at, hint=error.hint) from None
    return float(measure([metric], answers)[spec.metric])


def _known_labels(project: Project, block: Monitor, reference: Table | None) -> list[Any]:
    """The classes that the model learned, as far as its training rows tell."""
    deployment = project.blocks.get(block.deployment)
    model = project.blocks.get(deployment.model) if isinstance(deployment, Deployment) else None
    target = model.target if isinstance(model, Model) else "prediction"
    if reference is None or target not in reference.schema.names:
        return []
    name = identifier(target)
    found = reference.relation().filter(f"{name} IS NOT NULL").project(name).distinct()
    return [value for (value,) in found.fetchall()]


def _classes(frame: pd.DataFrame, known: Sequence[Any]) -> list[Any]:
    """The model's classes in the order of its probabilities, the positive one last of two."""
    labels = {*known, *frame["prediction"].tolist()}
    if "probability" in frame and len(labels) < 2:
        labels |= set(frame["truth"].tolist())
    prefix = "probability_"
    named = [name.removeprefix(prefix) for name in frame.columns if name.startswith(prefix)]
    if named:
        by_name = {str(label): label for label in {*labels, *frame["truth"].tolist()}}
        return [by_name.get(name, name) for name in named]
    return sorted(labels)


def _probabilities(frame: pd.DataFrame, classes: Sequence[Any]) -> Any:
    """Rows × classes; None for a model without probabilities."""
    import numpy as np

    if "probability" in frame:
        positive = frame["probability"].to_numpy(float)
        return np.column_stack([1 - positive, positive]) if len(classes) == 2 else None
    names = [name for name in frame.columns if name.startswith("probability_")]
    return frame[names].to_numpy(float) if names else None


def _kpi(project: Project, block: Monitor, index: int, watched: WatchedRows) -> float | None:
    """The first value of a query over ``predictions``; None for one that is no number."""
    at = project.locate(block, "kpis", index, "sql")
    sql = sql_of(project, block, block.kpis[index].sql, watched.window.partition, at)
    with (
        session(private=watched.rows.filesystem is not None) as connection,
        engine_errors(f"compute {block.kpis[index].kpi}", location=at),
    ):
        watched.rows.relation(connection).create_view("predictions")
        found = connection.execute(sql).fetchall()
    first = found[0][0] if found else None
    if first is None:
        return None
    try:
        value = float(first)
    except (TypeError, ValueError):
        raise StepError(
            f"{block.kpis[index].kpi} is {first!r}, which is no number",
            location=at,
            hint="the first column of the first row must be a number",
        ) from None
    return value if math.isfinite(value) else None
