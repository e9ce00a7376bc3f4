"""The report of a window: one HTML file that needs nothing else, and the plots of the UI."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.charts import bars, lines
from liminal_assets.steps.drift import ColumnDistance
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.observation import Observation
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.tables import TableStore

__all__ = ["Trend", "evidence_of", "html_report", "trends", "worst_columns", "write_report"]

_CHARTS = 12
_TREND_LINES = 6
_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#0f172a}
body{max-width:980px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.verdict{display:inline-block;padding:.2rem .7rem;border-radius:1rem;font-weight:600;color:#fff}
.breach{background:#dc2626}.good{background:#16a34a}.none{background:#64748b}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:1rem 0}
dt{color:#64748b}dd{margin:0}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e2e8f0;vertical-align:top}
th{color:#475569}td.n{text-align:right;font-variant-numeric:tabular-nums}
tr.bad td{background:#fef2f2}.charts{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0;border:1px solid #e2e8f0;border-radius:.5rem;padding:.5rem}
figcaption{font-size:13px;font-weight:600}footer{margin-top:2rem;color:#64748b;font-size:12px}
"""


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
    threshold: float | None = None


def trends(
    monitor: Monitor, seen: Observation, past: Sequence[Mapping[str, Any]]
) -> Iterator[Trend]:
    """What can be drawn of a monitor's history: distances, performance, each KPI."""
    worst = [column.column for column in worst_columns(seen, _TREND_LINES)]
    if monitor.drift and worst:
        # columns may have thresholds and methods of their own
        found = _series(past, worst, ("drift", "prediction_drift"), in_thresholds=True)
        yield Trend("distances", "Distance from the reference, in thresholds", *found, 1.0)
    if performance := monitor.performance:
        found = _series(past, [performance.metric], ("performance",))
        bound = performance.at_least if performance.at_least is not None else performance.at_most
        yield Trend("performance", performance.metric, *found, bound)
    for kpi in monitor.kpis:
        name = f"kpi_{kpi.kpi}"
        yield Trend(f"{name}_history", kpi.kpi, *_series(past, [kpi.kpi], (name,)))


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


def html_report(
    project: Project,
    monitor: Monitor,
    seen: Observation,
    judgement: Judgement,
    past: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The whole report of a window as one HTML page without scripts.

    Args:
        past: the monitor's history, this window included.
    """
    title = f"{monitor.name}: {judgement.window.key or 'all rows'}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _verdict(judgement),
        _facts(project, monitor, seen),
        *_causes(judgement),
        "<h2>Checks</h2>",
        _table(
            [
                {"check": o.name, "passed": o.passed, "found": o.description}
                for o in judgement.outcomes
            ]
        ),
        *_history(monitor, seen, past),
        *_columns(seen),
        f"<footer>Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC from "
        f"{escape(str(project.locate(monitor)))}. A distance says how far a column is from the "
        "reference, not why.</footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _verdict(judgement: Judgement) -> str:
    word, style = ("within bounds", "good")
    if judgement.breach:
        word, style = f"breach ({len(judgement.causes)})", "breach"
    elif not judgement.judged:
        word, style = "not judged", "none"
    return f'<p><span class="verdict {style}">{word}</span></p>'


def _facts(project: Project, monitor: Monitor, seen: Observation) -> str:
    window = seen.window
    span = " to ".join(f"{m:%Y-%m-%d %H:%M}" for m in (window.since, window.until) if m)
    facts = {
        "project": project.name,
        "deployment": monitor.deployment,
        "model version": seen.model_version,
        "rows": f"{seen.rows:,}",
        "rows of other versions": f"{seen.others:,}" if seen.others else None,
        "window (UTC)": span or None,
        "compared with": seen.reference or None,
    }
    shown = (
        f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>"
        for key, value in facts.items()
        if value is not None
    )
    return f"<dl>{''.join(shown)}</dl>"


def _causes(judgement: Judgement) -> Iterator[str]:
    if judgement.causes:
        yield "<h2>What was broken</h2><ul>"
        yield "".join(f"<li>{escape(str(cause))}</li>" for cause in judgement.causes)
        yield "</ul>"


def _history(
    monitor: Monitor, seen: Observation, past: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    for line in trends(monitor, seen, past):
        drawn = lines(line.series, line.windows, threshold=line.threshold)
        if drawn:
            yield f"<h2>{escape(line.title)} over the windows</h2>{drawn}"


def _columns(seen: Observation) -> Iterator[str]:
    if seen.drift is None:
        return
    yield '<h2>The columns that moved most</h2><div class="charts">'
    for column in worst_columns(seen, _CHARTS):
        if column.histograms:
            caption = f"{column.column}: {column.distance:.3g} ({column.method})"
            drawn = bars(column.histograms)
            yield f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"
    yield "</div><h2>All columns</h2>"
    yield _table(seen.drift.records(), bad=lambda row: row["verdict"] == "drifted")


def _table(rows: Sequence[Mapping[str, Any]], bad: Any = None) -> str:
    if not rows:
        return "<p>none</p>"
    bad = bad or (lambda row: row.get("passed") is False)
    head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
    body = "".join(
        f"<tr{' class=bad' if bad(row) else ''}>{''.join(map(_cell, row.values()))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        return f'<td class="n">{value:.4g}</td>'
    return f"<td>{escape(str(value)) if value is not None else ''}</td>"


def write_report(project: Project, monitor: Monitor, judgement: Judgement, html: str) -> str:
    """Writes a report where people find it, at once and whole.

    Returns:
        Its path or URL: ``<data>/<project>/_reports/<monitor>/<window>.html``.

    Raises:
        StepError: the folder can't be written.
    """
    name = quote(judgement.window.key or "all", safe=" @+,=-_.")
    path = f"{TableStore(project).root}/_reports/{monitor.name}/{name}.html"
    with engine_errors(f"write the report of {monitor.name}"):
        if "://" in path:
            import fsspec

            filesystem, bare = fsspec.url_to_fs(path, **project.spec.storage.data_options)
            filesystem.makedirs(bare.rpartition("/")[0], exist_ok=True)
            filesystem.pipe_file(bare, html.encode())
        else:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{uuid.uuid4().hex}.draft")
            draft.write_text(html, encoding="utf-8")
            draft.replace(target)
    return path


def evidence_of(judgement: Judgement, report: str | None = None) -> dict[str, Any]:
    """What a decision about a window rests on, as the journal keeps it."""
    plain: dict[str, Any] = json.loads(json.dumps(judgement.as_dict()))
    return {**plain, "cause": judgement.id, "report": report}
