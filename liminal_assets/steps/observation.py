"""What was measured in a window, and a bound that it broke: plain values without any effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from liminal_assets.steps.drift import DriftReport

if TYPE_CHECKING:
    from liminal_assets.steps.arrivals import Unmatched
    from liminal_assets.steps.calibration import Calibration
    from liminal_assets.steps.estimation import Estimate
    from liminal_assets.steps.performance import LabelState
    from liminal_assets.steps.quality import QualityReport
    from liminal_assets.steps.slices import SliceMeasure

__all__ = ["OUR_COLUMNS", "Cause", "Observation", "Window", "is_answer"]

OUR_COLUMNS = frozenset(
    {"model_version", "scored_at", "requested_at", "prediction_id", "sample_rate", "sent"}
)
"""Columns of scores that are neither the row's nor the answer's."""


@dataclass(frozen=True)
class Window:
    """The rows that one judgement is about.

    Attributes:
        key: its name: the partition, or for served rows the period in which the window ends.
        since: the first moment; None for a partition by listed values.
        until: the moment after the last: the time of the event that a breach is.
        partition: the partition key; None where there are no partitions.
    """

    key: str
    since: datetime | None = None
    until: datetime | None = None
    partition: str | None = None


@dataclass(frozen=True)
class Observation:
    """What was measured in a window. Measures that weren't asked for, or can't be had, are None.

    Attributes:
        rows: the rows judged: those of ``model_version``.
        others: rows of other model versions in the window, left out.
        reference: what the rows are compared with, in words.
        drift: distances of the columns, those of the answers included.
        no_drift: why there is none.
        labelled: the rows whose truth is known.
        score: the metric over them; NaN where the rows don't define it.
        kpis: the values by name; None for a query without a number.
        quality: the state of the columns, and of the rows as a whole.
        estimate: the metric as it is estimated without labels.
        no_estimate: why it isn't.
        slices: the groups of rows, each measured by itself.
        calibration: how the thresholds of drift were found, where they weren't given.
        labels: which labels the rows have.
        unmatched: labels that were sent and belong to no row.
        sample_rate: the share of requests that the rows are; None: all.
    """

    window: Window
    rows: int
    model_version: str | None = None
    others: int = 0
    reference: str = ""
    drift: DriftReport | None = None
    no_drift: str = ""
    labelled: int | None = None
    score: float | None = None
    kpis: Mapping[str, float | None] | None = None
    quality: QualityReport | None = None
    estimate: Estimate | None = None
    no_estimate: str = ""
    slices: tuple[SliceMeasure, ...] = ()
    calibration: Calibration | None = None
    labels: LabelState | None = None
    unmatched: Unmatched | None = None
    sample_rate: float | None = None


@dataclass(frozen=True)
class Cause:
    """One bound that was broken."""

    check: str
    subject: str
    """The column, metric or KPI."""
    value: float | None
    bound: str
    """What was asked, such as ``at most 0.2``."""
    said: str = ""
    """What was found, where it is no number."""

    def __str__(self) -> str:
        value = (self.said or "no number") if self.value is None else f"{self.value:.4g}"
        what = f"{self.subject}: " if self.subject != self.check else ""
        return f"{self.check}: {what}{value}, not {self.bound}"


def is_answer(column: str) -> bool:
    """Whether a column of scores is the model's answer."""
    return column in ("prediction", "probability") or column.startswith("probability_")
