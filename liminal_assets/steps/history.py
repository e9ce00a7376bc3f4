"""What a monitor found, window by window: the table ``<monitor>__history``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.observation import Observation, is_answer
from liminal_assets.steps.quality import quality_findings
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.tables import TableStore

__all__ = ["PastWindow", "history", "history_name", "past_windows", "record_window"]

_SCHEMA = {
    "window": "VARCHAR",
    "until": "TIMESTAMPTZ",
    "model_version": "VARCHAR",
    "rows": "BIGINT",
    "check": "VARCHAR",
    "subject": "VARCHAR",
    "method": "VARCHAR",
    "value": "DOUBLE",
    "threshold": "DOUBLE",
    "breach": "BOOLEAN",
    "judged": "BOOLEAN",
    "judged_at": "TIMESTAMPTZ",
    "first_judged_at": "TIMESTAMPTZ",
    "revision": "BIGINT",
    "labelled": "BIGINT",
    "labels": "VARCHAR",
}


@dataclass(frozen=True)
class PastWindow:
    """A window as it was judged last.

    Attributes:
        key: its name.
        until: where it ends.
        rows: how many were judged.
        labelled: the rows that had a label.
        labels: the digest of these.
        revision: 1, and one more each time that it was judged with other labels.
        first_judged_at: when it was judged first.
    """

    key: str
    until: datetime | None
    model_version: str | None
    rows: int
    labelled: int
    labels: str
    revision: int
    first_judged_at: datetime


def past_windows(
    project: Project, monitor: Monitor | str, key: str | None = None
) -> list[PastWindow]:
    """The windows that a monitor judged, the oldest first.

    Args:
        key: only this one.
    """
    store, name = TableStore(project), history_name(monitor)
    keys = [known for known in store.partitions(name) if key in (None, known)]
    if not keys:
        return []
    with engine_errors(f"read {name}"):
        rows = store.read(name, keys).relation()
        if "revision" not in rows.columns:
            # of a version of this package that judged each window once
            rows = rows.select(
                "*, NULL::BIGINT AS labelled, NULL::VARCHAR AS labels, NULL::BIGINT AS revision, "
                "judged_at AS first_judged_at"
            )
        found = rows.aggregate(
            '"window", any_value(until) AS until, any_value(model_version), '
            "any_value(rows), "
            "coalesce(any_value(labelled), 0), coalesce(any_value(labels), ''), "
            "coalesce(any_value(revision), 1), any_value(coalesce(first_judged_at, judged_at))",
            '"window"',
        ).order('until, "window"')
        return [PastWindow(*row) for row in found.fetchall()]


def history_name(monitor: Monitor | str) -> str:
    """The name of a monitor's history table."""
    return f"{monitor if isinstance(monitor, str) else monitor.name}__history"


def record_window(
    project: Project, monitor: Monitor, seen: Observation, judgement: Judgement
) -> None:
    """Keeps a window's measures; judged again they replace those of before."""
    import pyarrow as pa

    now = datetime.now(timezone.utc)
    labels = seen.labels.digest if seen.labels else ""
    before = next(iter(past_windows(project, monitor, judgement.window.key)), None)
    changed = before is not None and before.labels != labels
    common = {
        "first_judged_at": before.first_judged_at if before else now,
        "revision": before.revision + changed if before else 1,
        "labelled": seen.labels.count if seen.labels else 0,
        "labels": labels,
        "window": judgement.window.key,
        "until": judgement.window.until,
        "model_version": judgement.model_version,
        "rows": judgement.rows,
        "judged": judgement.judged,
        "judged_at": now,
    }
    broken = {(cause.check, cause.subject) for cause in judgement.causes}
    rows = [
        {**common, **measure, "breach": (measure["check"], measure["subject"]) in broken}
        for measure in _measures(monitor, seen)
    ]
    table = pa.Table.from_pylist(rows, schema=_arrow_schema())
    TableStore(project).write(history_name(monitor), judgement.window.key, table)


def _arrow_schema() -> Any:
    import pyarrow as pa

    kinds = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in _SCHEMA.items()])


def _measures(monitor: Monitor, seen: Observation) -> Iterator[Mapping[str, Any]]:
    for column in seen.drift.compared if seen.drift else ():
        yield {
            "check": "prediction_drift" if is_answer(column.column) else "drift",
            "subject": column.column,
            "method": column.method,
            "value": column.distance,
            "threshold": column.threshold,
        }
    if monitor.quality and seen.quality:
        for found in quality_findings(monitor.quality, seen.quality):
            # of hundreds of columns what is as it should be is in the report
            if found.broken or not found.column:
                yield {
                    "check": "quality",
                    "subject": found.subject,
                    "method": found.measure,
                    "value": found.value,
                }
    if performance := monitor.performance:
        bound = performance.at_least if performance.at_least is not None else performance.at_most
        yield {
            "check": "performance",
            "subject": performance.metric,
            "method": performance.metric,
            "value": seen.score,
            "threshold": bound,
        }
        if seen.estimate:
            yield {
                "check": "estimated_performance",
                "subject": performance.metric,
                "method": "cbpe",
                "value": seen.estimate.value,
                "threshold": bound,
            }
        for measured in seen.slices:
            if measured.score is not None:
                yield {
                    "check": "slices",
                    "subject": f"{performance.metric} of {measured.name}",
                    "method": performance.metric,
                    "value": measured.score,
                    "threshold": performance.slice_at_least or performance.slice_at_most,
                }
    for measured in seen.slices if monitor.drift else ():
        if monitor.drift and measured.drift is not None:
            yield {
                "check": "slices",
                "subject": f"drift of {measured.name}",
                "method": monitor.drift.method,
                "value": measured.drift,
                "threshold": monitor.drift.slice_threshold,
            }
    for name, value in (seen.kpis or {}).items():
        yield {"check": f"kpi_{name}", "subject": name, "method": "sql", "value": value}


def history(
    project: Project, monitor: Monitor | str, *, newest: int | None = None
) -> list[dict[str, Any]]:
    """The measures of a monitor's windows, the oldest window first.

    Args:
        newest: only of so many windows; default: all.
    """
    store, name = TableStore(project), history_name(monitor)
    keys: Sequence[str] = store.partitions(name)
    if not keys:
        return []
    if newest is not None:
        keys = keys[-newest:]
    with engine_errors(f"read {name}"):
        rows = store.read(name, keys).relation().order('until, "window", value DESC')
        return [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]
