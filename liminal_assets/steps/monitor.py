"""Monitor: measures a window of scores and judges it.

>>> judgement = la.steps.monitor(project, "late_arrival_watch", "2013-07")
>>> judgement.breach, [str(cause) for cause in judgement.causes]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import did_you_mean
from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import ColumnDrift, Drift, Monitor
from liminal_assets.steps.drift import DriftReport, drift
from liminal_assets.steps.judgement import Judgement, judge
from liminal_assets.steps.observation import Observation
from liminal_assets.steps.performance import Answered, LabelState, answered, label_state
from liminal_assets.steps.quality import QualityReport, measure_quality
from liminal_assets.steps.slices import slice_measures
from liminal_assets.steps.sql import sql_of
from liminal_assets.steps.thresholds import calibrated
from liminal_assets.steps.windows import (
    WatchedRows,
    compared_columns,
    entity_columns,
    expected_columns,
    watched_rows,
)
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.sessions import session

if TYPE_CHECKING:
    from liminal_assets.steps.calibration import Calibration
    from liminal_assets.steps.estimation import Estimate

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
        partition: which; of served rows default: the newest that is complete.
        now: where a window of served rows without partitions ends; default: the present.

    Raises:
        StepError: there are no scores yet, there is no such partition or it isn't over, or
            something can't be measured.
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
    distances, why_not, calibration = _drift(project, block, watched)
    answers = answered(project, block, block.performance, watched) if block.performance else None
    labelled, score = _realised(block, answers)
    estimate, no_estimate = _estimated(block, answers)
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
        quality=_quality(project, block, watched),
        estimate=estimate,
        no_estimate=no_estimate,
        slices=slice_measures(project, block, watched, answers),
        calibration=calibration,
        labels=_labels(project, block, watched),
        unmatched=watched.unmatched,
        sample_rate=watched.sample_rate,
    )


def _labels(project: Project, block: Monitor, watched: WatchedRows) -> LabelState | None:
    if block.labels is None or watched.labels is None:
        return None
    return label_state(project, block, watched.rows, watched.labels)


def _realised(block: Monitor, answers: Answered | None) -> tuple[int | None, float | None]:
    """The number of rows whose truth is known, and the metric over them."""
    if block.labels is None:
        return None, None
    return answers.score() if answers else (0, None)


def _estimated(block: Monitor, answers: Answered | None) -> tuple[Estimate | None, str]:
    if not (block.performance and block.performance.estimate):
        return None, ""
    return answers.estimate() if answers else (None, "the window has no rows")


def _quality(project: Project, block: Monitor, watched: WatchedRows) -> QualityReport | None:
    if block.quality is None:
        return None
    columns, codes = expected_columns(project, block, watched)
    _check_named(project, block, "quality", block.quality.columns, columns, "look at")
    return measure_quality(
        watched.rows,
        watched.reference,
        columns,
        entity=entity_columns(project, block),
        categorical=codes,
        usual_rows=watched.usual_rows,
        repeats=watched.served,
        others=watched.others,
        sample_rate=watched.sample_rate,
    )


def _check_named(
    project: Project,
    block: Monitor,
    section: str,
    named: Iterable[str],
    columns: Sequence[str],
    doing: str,
) -> None:
    """Refuses settings of a column that isn't there."""
    for name in named:
        if name not in columns:
            raise StepError(
                f"there is no column {name!r} to {doing}",
                location=project.locate(block, section, "columns", name, key=True),
                hint=did_you_mean(name, columns),
            )


def _drift(
    project: Project, block: Monitor, watched: WatchedRows
) -> tuple[DriftReport | None, str, Calibration | None]:
    if block.drift is None:
        return None, "", None
    if watched.reference is None:
        return None, watched.reference_name or "there is nothing to compare with", None
    columns, codes = compared_columns(project, block, watched)
    _check_named(project, block, "drift", block.drift.columns, columns, "compare")
    try:
        calibration = calibrated(project, block, watched, columns, codes)
        found = calibration.thresholds if calibration else {}
        report = drift(
            watched.reference,
            watched.rows,
            method=block.drift.method,
            threshold=block.drift.threshold,
            bins=block.drift.bins,
            columns=_with_thresholds(block.drift, found),
            only=columns,
            categorical=codes,
        )
    except StepError as error:
        raise error.at(project.locate(block, "drift", key=True)) from error
    reason = "" if report.rows and report.reference_rows else "the window has no rows"
    if not report.reference_rows:
        reason = "the reference has no rows"
    return report, reason, calibration


def _with_thresholds(spec: Drift, found: Mapping[str, float]) -> Mapping[str, ColumnDrift]:
    """The settings of columns, where calibration found a threshold with that."""
    own = dict(spec.columns)
    for name, threshold in found.items():
        settings = own.get(name, ColumnDrift())
        own[name] = settings.model_copy(update={"threshold": threshold})
    return own


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
