"""Monitors and schedules: Monitor and refresh."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from liminal_assets.language.base import (
    Block,
    Duration,
    Name,
    Names,
    NotBool,
    Number,
    Spec,
    TimeZone,
    one_of_keys,
    write_duration,
)
from liminal_assets.language.cron import Cron
from liminal_assets.language.datasets import Partitions
from liminal_assets.language.measures import Alarms, Quality, SlicesField
from liminal_assets.language.retraining import Retrain

__all__ = [
    "ColumnDrift",
    "Drift",
    "DriftMethod",
    "Kpi",
    "Labels",
    "Monitor",
    "OnBreach",
    "Performance",
    "Schedule",
]

FEEDBACK = "feedback"
_FEEDBACK_KEY = ("prediction_id",)

DriftMethod = Literal["psi", "ks", "chi2", "wasserstein", "jensen_shannon"]


class ColumnDrift(Spec):
    """How one column's drift is measured, where it differs from the monitor's."""

    method: DriftMethod | None = None
    """Default: the monitor's."""
    threshold: Annotated[float, Field(gt=0), NotBool] | None = None
    """Default: the monitor's."""
    ignore: bool = False
    """Leave the column out."""


class Drift(Spec):
    """Distance of each column, and of the prediction, from the reference rows."""

    method: DriftMethod = "psi"
    """For ``ks`` and ``chi2`` the statistic is compared (the KS distance, Cramér's V), not a
    p-value, which only grows with the number of rows."""
    threshold: Annotated[float, Field(gt=0), NotBool] = 0.2
    """The largest distance of a stable column; one that is written is kept where the monitor has
    ``alarms``, too. Its meaning depends on the method: above 0.2 a
    ``psi`` is customarily called a shift; ``ks``, ``chi2`` and ``jensen_shannon`` go from 0 to 1;
    ``wasserstein`` counts standard deviations of the reference."""
    bins: Annotated[int, Field(ge=2, le=1000), NotBool] = 10
    """Quantile bins of number columns, cut at the reference's quantiles."""
    reference: Literal["training", "previous"] = "training"
    """The rows compared with: those the champion learned from, or the window before."""
    columns: dict[str, ColumnDrift] = {}
    """Per column (``prediction`` and ``probability`` too); others use the settings above."""
    slice_threshold: Annotated[float, Field(gt=0), NotBool] | None = None
    """The largest distance of a slice's answers from the same slice's in the reference; default:
    shown, not judged."""

    @property
    def threshold_given(self) -> bool:
        """Whether the threshold was written down, so that calibration leaves it alone."""
        return "threshold" in self.model_fields_set


class Labels(Spec):
    """Where the truth arrives."""

    from_: Annotated[Name, Field(alias="from")]
    """The dataset that holds the truth; or ``feedback``, alone: what the deployment's server was
    sent at ``/feedback``, and what was recorded in Python."""
    key: Names = ()
    """The entity columns that join a dataset to the predictions."""
    column: str = ""
    """The dataset's column with the truth; null where it isn't known yet."""
    within: Duration = timedelta(days=90)
    """How long after a prediction its label may come. Earlier windows, as far back as that, are
    judged again when their labels have changed."""
    known_at: str | None = None
    """Its column with the moment at which the truth became known. A backtest needs it to know no
    more than was known then."""
    delay: Duration | None = None
    """How long after a row's moment (the feature's timestamp) its truth is known, for a backtest
    where no column says it."""

    @model_validator(mode="before")
    @classmethod
    def _feedback_alone(cls, data: Any) -> Any:
        if not isinstance(data, dict) or {"key", "column"} & data.keys():
            return data
        sent = FEEDBACK in (data.get("from"), data.get("from_"))
        return {**data, "key": _FEEDBACK_KEY, "column": "label"} if sent else data

    @model_validator(mode="after")
    def _joined_somehow(self) -> Labels:
        for name in ("key", "column"):
            if not getattr(self, name):
                raise ValueError(
                    f"needs {name!r}: labels come from a dataset by 'key' and 'column', or from "
                    f"what was sent to the server by 'from: {FEEDBACK}' alone"
                )
        if self.known_at and self.delay:
            raise ValueError("takes 'known_at' or 'delay', not both")
        return self

    @property
    def from_feedback(self) -> bool:
        """Whether they are what was sent to the server rather than a dataset's."""
        return self.from_ == FEEDBACK and self.key == _FEEDBACK_KEY


class Performance(Spec):
    """Quality of the predictions: of those whose labels are there, or estimated without them."""

    metric: str
    """A scikit-learn metric by name, as in ``evaluate``."""
    at_least: Number | None = None
    at_most: Number | None = None
    labels: Labels | None = None
    """Predictions whose truth isn't there yet are left out; how many is reported, and with fewer
    than ``min_rows`` left nothing is judged. Not needed where the metric is estimated."""
    estimate: bool = False
    """For classifiers with probabilities: estimate the metric without labels, from how sure the
    model is (CBPE). It sees a change of the inputs, not one of what they mean."""
    judge: Literal["realised", "estimated", "both"] | None = None
    """Which of the two is held to the bound; default: what the labels say."""
    slice_at_least: Number | None = None
    """The bound of each slice, for a metric that is better the higher it is."""
    slice_at_most: Number | None = None
    """The bound of each slice, for a metric that is better the lower it is."""

    @model_validator(mode="after")
    def _one_bound(self) -> Performance:
        one_of_keys(self, "at_least", "at_most")
        if self.labels is None and not self.estimate:
            raise ValueError("needs 'labels', or 'estimate: true' where none arrive")
        if self.judges_estimate and not self.estimate:
            raise ValueError(f"'judge: {self.judge}' needs 'estimate: true'")
        if self.labels is None and self.judge != "estimated":
            raise ValueError("without 'labels' only an estimate can be judged: 'judge: estimated'")
        if self.slice_at_least is not None and self.slice_at_most is not None:
            raise ValueError("takes one of slice_at_least, slice_at_most, not several")
        return self

    @property
    def judges_realised(self) -> bool:
        """Whether what the labels say is held to the bound."""
        return self.judge in (None, "realised", "both")

    @property
    def judges_estimate(self) -> bool:
        """Whether the estimate is held to the bound."""
        return self.judge in ("estimated", "both")


class Kpi(Spec):
    """A number by SQL over ``predictions`` (this window's rows)."""

    kpi: Name
    sql: str
    """A DuckDB query whose first value is the number."""
    between: tuple[Number, Number]
    """The smallest and the largest good value."""

    @model_validator(mode="after")
    def _in_order(self) -> Kpi:
        low, high = self.between
        if not low <= high:
            raise ValueError(f"'between' goes from low to high, not from {low} to {high}")
        return self


class OnBreach(Spec):
    """What a breach leads to."""

    retrain: Name | None = None
    """The model to train again: short for ``retrain: {model: …, when: breach}``, which can say
    more."""
    cooldown: Duration | None = None
    """The ``cooldown`` of that ``retrain``."""
    alert: Names = ()
    """The alerts that are told."""
    fail: bool = False
    """Whether the monitor's run fails as well; by default a breach is a finding, and the run
    that made it a success."""

    @model_validator(mode="before")
    @classmethod
    def _more_is_said_elsewhere(cls, data: Any) -> Any:
        more = [key for key in data if key in _OF_RETRAIN] if isinstance(data, dict) else []
        if more:
            raise ValueError(
                f"{more[0]!r} goes under the monitor's own 'retrain: {{model: …, {more[0]}: …}}', "
                "in place of 'on_breach: {retrain: …}'"
            )
        return data


_LONGEST = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=31),
}
"""The shortest window that leaves no row of a partition out."""
_OF_RETRAIN = frozenset(Retrain.model_fields) - {"model", "cooldown"}


class Monitor(Block):
    """Watches a deployment's rows: data quality, drift, performance and KPIs."""

    monitor: Name
    deployment: Name
    partitions: Partitions | None = None
    """Served rows: a window per partition by time, judged once it is over, as of its end. Default:
    one window that slides. Batch scores are watched by their own partitions."""
    window: Duration | None = None
    """Served rows: how far back a window reaches, from the end of its partition where there are
    any (default: the partition's length; without partitions 7d)."""
    min_rows: Annotated[int, Field(ge=1), NotBool] = 100
    """A window with fewer rows is reported, not judged."""
    quality: Quality | None = None
    drift: Drift | None = None
    performance: Performance | None = None
    slices: SlicesField | None = None
    """Columns whose values are looked at one by one, such as ``[origin, carrier]``: rows, the
    metric, the drift of the answers."""
    kpis: tuple[Kpi, ...] = ()
    retrain: Retrain | None = None
    """When a model is trained again."""
    alarms: Alarms | None = None
    """Thresholds of drift that hold a rate of false alarms, instead of customary ones."""
    on_breach: OnBreach = OnBreach()

    @field_validator("partitions")
    @classmethod
    def _cut_by_time(cls, partitions: Partitions | None) -> Partitions | None:
        if partitions and not partitions.every:
            raise ValueError(
                "windows of served rows are cut by time: 'every' and 'start', not 'values'"
            )
        return partitions

    @field_validator("window")
    @classmethod
    def _leaves_no_row_out(cls, window: timedelta | None, info: ValidationInfo) -> timedelta | None:
        partitions: Partitions | None = info.data.get("partitions")
        if window and partitions and partitions.every:
            least = _LONGEST[partitions.every]
            if window < least:
                raise ValueError(
                    f"{write_duration(window)} is shorter than a partition of one "
                    f"{partitions.every}, and no window would hold the rows between: at least "
                    f"{write_duration(least)}, or leave it out"
                )
        return window

    @model_validator(mode="after")
    def _says_once_what_to_train(self) -> Monitor:
        if self.retrain and (self.on_breach.retrain or self.on_breach.cooldown):
            raise ValueError(
                "'on_breach: {retrain, cooldown}' is short for 'retrain', which is there already"
            )
        policy = self.retrain
        breach = policy.trigger("breach") if policy else None
        if breach and breach.breach and breach.breach is not True:
            self._knows_checks(breach.breach)
        if policy and not self.labels:
            for key, needs in (
                ("when: {labels}", policy.trigger("labels")),
                ("rollback", policy.rollback),
            ):
                if needs:
                    raise ValueError(f"'retrain: {key}' needs 'performance' with 'labels'")
        return self

    def _knows_checks(self, named: tuple[str, ...]) -> None:
        checks = self.checks
        for name in named:
            if name not in checks:
                raise ValueError(
                    f"'when: {{breach: {name}}}' names no check of the monitor; it has "
                    f"{', '.join(checks) or 'none'}"
                )

    @property
    def checks(self) -> tuple[str, ...]:
        """The names of its checks, in their order."""
        performance = self.performance
        asked = {
            "quality": self.quality,
            "drift": self.drift,
            "prediction_drift": self.drift,
            "performance": performance and performance.labels,
            "estimated_performance": performance and performance.estimate,
            "slices": self.slices,
        }
        kpis = (f"kpi_{kpi.kpi}" for kpi in self.kpis)
        return (*(name for name, part in asked.items() if part), *kpis)

    @model_validator(mode="after")
    def _watches_something(self) -> Monitor:
        if not (self.quality or self.drift or self.performance or self.kpis):
            raise ValueError("a monitor needs 'quality', 'drift', 'performance' or 'kpis'")
        names = [kpi.kpi for kpi in self.kpis]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"kpis of the same name: {', '.join(twice)}")
        if self.alarms and not self.drift:
            raise ValueError("'alarms' sets the thresholds of 'drift', which is missing")
        if self.slices and not (self.drift or self.performance):
            raise ValueError("'slices' needs 'drift' or 'performance' to measure in each")
        if not self.slices:
            for part in (self.performance, self.drift):
                for name in ("slice_at_least", "slice_at_most", "slice_threshold"):
                    if getattr(part, name, None) is not None:
                        raise ValueError(f"{name!r} needs 'slices'")
        return self

    @property
    def name(self) -> str:
        return self.monitor

    @property
    def inputs(self) -> tuple[str, ...]:
        labels = self.labels
        dataset = labels and not labels.from_feedback
        return (self.deployment, *((labels.from_,) if labels and dataset else ()))

    @property
    def labels(self) -> Labels | None:
        """Where the truth arrives, if it does."""
        return self.performance.labels if self.performance else None

    @property
    def policy(self) -> Retrain | None:
        """When which model is trained again, in whichever form it was written."""
        if self.retrain or not self.on_breach.retrain:
            return self.retrain
        return Retrain(model=self.on_breach.retrain, cooldown=self.on_breach.cooldown)


class Schedule(Spec):
    """Refreshes blocks and everything upstream of them at set times."""

    schedule: Name
    cron: Cron
    """When: minute, hour, day of the month, month, day of the week; or ``@daily`` and the like."""
    timezone: TimeZone = "UTC"
    refresh: Annotated[Names, Field(min_length=1)]
    """Blocks; partitioned ones refresh their newest complete partition."""
    description: str | None = None
    running: bool = True
    """Whether it starts switched on."""
