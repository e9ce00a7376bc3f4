"""A monitor's history as lines over its windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liminal_assets.language.monitors import Monitor, Performance
from liminal_assets.steps.drift import ColumnDistance
from liminal_assets.steps.observation import Observation

__all__ = ["Trend", "trends", "worst_columns"]

_TREND_LINES = 6


def worst_columns(seen: Observation, most: int) -> list[ColumnDistance]:
    """The columns farthest from the reference, in thresholds."""
    return list(seen.drift.compared[:most]) if seen.drift else []


@dataclass(frozen=True)
class Trend:
    """Values over the windows of a monitor's history, a line per subject."""

    name: str
    title: str
    windows: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    bounds: Sequence[float] = ()


def trends(
    monitor: Monitor, seen: Observation, past: Sequence[Mapping[str, Any]]
) -> Iterator[Trend]:
    """What can be drawn of a monitor's history: distances, performance, each KPI."""
    worst = [column.column for column in worst_columns(seen, _TREND_LINES)]
    if monitor.drift and worst:
        # columns may have thresholds and methods of their own
        found = _series(past, worst, ("drift", "prediction_drift"), in_thresholds=True)
        yield Trend("distances", "Distance from the reference, in thresholds", *found, (1.0,))
    if performance := monitor.performance:
        given = (performance.at_least, performance.at_most)
        bounds = tuple(bound for bound in given if bound is not None)
        yield Trend("performance", performance.metric, *_performance(past, performance), bounds)
    for kpi in monitor.kpis:
        name = f"kpi_{kpi.kpi}"
        yield Trend(f"{name}_history", kpi.kpi, *_series(past, [kpi.kpi], (name,)), kpi.between)


def _performance(
    past: Sequence[Mapping[str, Any]], spec: Performance
) -> tuple[list[str], dict[str, list[float | None]]]:
    """What the labels say, and what was estimated without them."""
    windows = list(dict.fromkeys(row["window"] for row in past))
    shown: dict[str, list[float | None]] = {}
    for name, check in (("by labels", "performance"), ("estimated", "estimated_performance")):
        _, found = _series(past, [spec.metric], (check,))
        if any(value is not None for value in found[spec.metric]):
            shown[name] = found[spec.metric]
    return windows, shown


def _series(
    past: Sequence[Mapping[str, Any]],
    subjects: Sequence[str],
    checks: Sequence[str],
    *,
    in_thresholds: bool = False,
) -> tuple[list[str], dict[str, list[float | None]]]:
    windows = list(dict.fromkeys(row["window"] for row in past))
    values: dict[str, dict[str, float | None]] = {subject: {} for subject in subjects}
    for row in past:
        if row["subject"] in values and row["check"] in checks:
            value = row["value"]
            if in_thresholds and value is not None:
                value /= row["threshold"]
            values[row["subject"]][row["window"]] = value
    return windows, {name: [found.get(w) for w in windows] for name, found in values.items()}
