"""The report of a window: one HTML file that needs nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.charts import bars, lines
from liminal_assets.steps.judgement import Judgement
from liminal_assets.steps.observation import Observation
from liminal_assets.steps.report_page import STYLE, details, figure, section, table
from liminal_assets.steps.summary import summary
from liminal_assets.steps.trends import trends, worst_columns
from liminal_assets.storage.forms import engine_errors
from liminal_assets.storage.tables import TableStore

__all__ = ["evidence_of", "html_report", "write_report"]

_CHARTS = 12
_OPEN = 30
"""Rows of a table that is shown open; longer ones are folded."""


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
        _header(title, monitor, seen, judgement),
        _facts(project, monitor, seen, past),
        *_causes(judgement),
        section("Checks", _checks(judgement)),
        *_columns_that_moved(seen),
        *_slices(seen),
        *_quality(seen),
        *_history(monitor, seen, past),
        *_columns(seen),
        *_thresholds(seen),
        f"<footer>Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC from "
        f"{escape(str(project.locate(monitor)))}. A distance says how far a column is from the "
        "reference, not why.</footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _header(title: str, monitor: Monitor, seen: Observation, judgement: Judgement) -> str:
    word, style = ("within bounds", "good")
    if judgement.breach:
        word, style = f"breach ({len(judgement.causes)})", "breach"
    elif not judgement.judged:
        word, style = "not judged", "none"
    what, sure, to_do = map(escape, summary(monitor, seen, judgement))
    said = f"{what} <span class=sure>{sure}</span> <strong>{to_do}</strong>"
    return (
        f'<header class="{style}"><h1>{escape(title)} <span class=verdict>{word}</span></h1>'
        f"<p>{said}</p></header>"
    )


def _facts(
    project: Project, monitor: Monitor, seen: Observation, past: Sequence[Mapping[str, Any]]
) -> str:
    window = seen.window
    span = " to ".join(f"{m:%Y-%m-%d %H:%M}" for m in (window.since, window.until) if m)
    known = None
    if seen.labelled is not None and seen.rows:
        known = f"{seen.labelled:,} ({seen.labelled / seen.rows:.0%})"
    facts = {
        "project": project.name,
        "deployment": monitor.deployment,
        "model version": seen.model_version,
        "rows": f"{seen.rows:,}",
        "rows with a label": known,
        "labels of no row": _unmatched(seen),
        "judged again": _again(seen, past),
        "logged": _share(seen),
        "rows of other versions": f"{seen.others:,}" if seen.others else None,
        "window (UTC)": span or None,
        "compared with": seen.reference or None,
    }
    shown = (
        f"<div><dt>{escape(key)}</dt><dd>{escape(str(value))}</dd></div>"
        for key, value in facts.items()
        if value is not None
    )
    return f"<dl>{''.join(shown)}</dl>"


def _again(seen: Observation, past: Sequence[Mapping[str, Any]]) -> str | None:
    """How often the labels of the window have changed since it was judged first."""
    row = next((row for row in past if row["window"] == seen.window.key), None)
    changes = (row.get("revision") or 1) - 1 if row else 0
    if row is None or changes < 1:
        return None
    often = "once" if changes == 1 else f"{changes} times"
    return f"{often}, as labels came; first {row['first_judged_at']:%Y-%m-%d %H:%M}"


def _unmatched(seen: Observation) -> str | None:
    found = seen.unmatched
    if found is None or not (found.unknown or found.unsampled):
        return None
    outside = f", and {found.unsampled:,} outside of the sample" if found.unsampled else ""
    return f"{found.unknown:,}{outside}"


def _share(seen: Observation) -> str | None:
    if seen.sample_rate is None:
        return None
    answered = seen.rows / seen.sample_rate
    return f"{seen.sample_rate:.3g} of requests; about {answered:,.0f} rows were answered"


def _causes(judgement: Judgement) -> Iterator[str]:
    if not judgement.causes:
        return
    items = [f"<li>{escape(str(cause))}</li>" for cause in judgement.causes]
    shown = f"<ul>{''.join(items[:_OPEN])}</ul>"
    if rest := items[_OPEN:]:
        shown += details(f"{len(rest)} more", f"<ul>{''.join(rest)}</ul>")
    yield section("What was broken", shown)


def _checks(judgement: Judgement) -> str:
    rows = [
        {"check": o.name, "": "✓" if o.passed else "✗", "found": o.description}
        for o in judgement.outcomes
    ]
    return table(rows, bad=lambda row: row[""] == "✗")


def _columns_that_moved(seen: Observation) -> Iterator[str]:
    shown = []
    for column in worst_columns(seen, _CHARTS):
        if column.histograms:
            caption = f"{column.column}: {column.distance:.3g} of {column.threshold:.3g}"
            shown.append(figure(caption, bars(column.histograms), bad=column.drifted))
    if shown:
        charts = f'<div class="charts">{"".join(shown)}</div>'
        yield section("The columns that moved most", charts)


def _slices(seen: Observation) -> Iterator[str]:
    if seen.slices:
        rows = [dict(measured.record()) for measured in seen.slices]
        yield section("Slices", _folded("slices", rows))


def _quality(seen: Observation) -> Iterator[str]:
    if seen.quality and seen.quality.columns:
        usual = seen.quality.usual_rows
        rows = f"{seen.quality.rows:,} rows"
        rows += f", usually {usual:,.0f}" if usual else ""
        if seen.quality.duplicates is not None:
            rows += f"; {seen.quality.duplicates:.2%} of them repeat an entity"
        records = seen.quality.records()
        yield section("Data quality", f"<p>{rows}.</p>{_folded('columns', records)}")


def _history(
    monitor: Monitor, seen: Observation, past: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    for line in trends(monitor, seen, past):
        drawn = lines(line.series, line.windows, bounds=line.bounds)
        if drawn:
            yield section(f"{line.title} over the windows", drawn)


def _columns(seen: Observation) -> Iterator[str]:
    if seen.drift is None or not seen.drift.columns:
        return
    bad = [record for record in seen.drift.records() if record["verdict"] == "drifted"]
    shown = _folded("columns", seen.drift.records(), bad=lambda row: row["verdict"] == "drifted")
    said = f"<p>{len(bad)} of {len(seen.drift.compared)} drifted.</p>"
    yield section("All columns", said + shown)


def _thresholds(seen: Observation) -> Iterator[str]:
    """Where the thresholds come from, and what they let one see."""
    found = seen.calibration
    if found is None:
        return
    looks = f", each looked at {found.looks} times as it slides" if found.looks > 1 else ""
    said = (
        f"<p>For {escape(found.at_most)} of false alarms at most: {found.windows:,} windows of "
        f"{found.window_rows:,} rows were drawn from the reference by {escape(found.unit)}{looks}. "
        "<em>By chance</em> is the share of windows without drift in which a column would alarm; "
        "<em>finds</em> is the smallest shift that is seen in 80 of 100 windows.</p>"
    )
    rows = [
        {
            "column": column.column,
            "threshold": column.threshold,
            "": "given" if column.given else "found",
            "by chance": column.by_chance,
            "finds": column.shift_in_words,
        }
        for column in found.columns
    ]
    yield section("Thresholds, and what they find", said + _folded("columns", rows))


def _folded(what: str, rows: Sequence[Mapping[str, Any]], bad: Any = None) -> str:
    """A table, folded where it is long."""
    shown = table(rows, bad=bad)
    return shown if len(rows) <= _OPEN else details(f"{len(rows)} {what}", shown)


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
