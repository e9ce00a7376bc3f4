"""The report of a backtest: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from html import escape
from typing import Any

from liminal_assets.steps.backtest import Backtest
from liminal_assets.steps.charts import lines, scatter
from liminal_assets.steps.replay.results import Replay
from liminal_assets.steps.report_page import STYLE, details, section, table

__all__ = ["backtest_report"]

_LINES = 6
_COLUMNS = 20
_HEAT = "td.h{text-align:right;font-variant-numeric:tabular-nums}pre{margin:0;white-space:pre-wrap}"


def backtest_report(found: Backtest) -> str:
    """The whole report."""
    title = f"{found.monitor.name}: backtest {found.windows[0]} to {found.windows[-1]}"
    parts = [
        _header(title, found),
        _facts(found),
        section(f"{found.metric} over the windows", _scores(found)),
        section("Policies", _policies(found)),
        section("What a gain costs", _costs(found)),
        section("What drifted, and when", _moves(found)),
        *_decisions(found),
        f"<footer>Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC. {escape(_caveat(found))}"
        "</footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}{_HEAT}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _header(title: str, found: Backtest) -> str:
    own, best = found.project, found.best
    gain, most = own.gain(found.never), found.oracle.gain(found.never)
    said = (
        f"The policy as the project has it trained {own.retrainings} times, on {own.rows:,} rows, "
        f"and gained {gain:+.4f} {found.metric} over never training again; choosing the best model "
        f"of each window with hindsight gains {most:+.4f}."
    )
    choice = "No policy gains anything over never training again."
    if best is not found.never:
        choice = (
            f"Best: {best.name} ({best.gain(found.never):+.4f} on {best.rows:,} rows), of the "
            "policies with at least half of the largest gain the one that gains most per row."
        )
    style = "good" if best is own else "none"
    return (
        f'<header class="{style}"><h1>{escape(title)}</h1><p>{escape(said)} '
        f"<strong>{escape(choice)}</strong></p><pre>{escape(found.yaml())}</pre></header>"
    )


def _facts(found: Backtest) -> str:
    facts = {
        "project": found.project_name,
        "windows": len(found.windows),
        "first model knows": f"{found.first.end:%Y-%m-%d %H:%M} UTC",
        "its rows": f"{found.first.rows:,}",
        "models trained in all": found.trainings,
        "policies": len(found.policies),
    }
    shown = (
        f"<div><dt>{escape(key)}</dt><dd>{escape(str(value))}</dd></div>"
        for key, value in facts.items()
    )
    return f"<dl>{''.join(shown)}</dl>"


def _scores(found: Backtest) -> str:
    shown = list(dict.fromkeys((found.never, found.project, found.best, *found.others[:2])))
    shown = [*shown[: _LINES - 1], found.oracle]
    performance = found.monitor.performance
    given = (performance.at_least, performance.at_most) if performance else ()
    drawn = lines(
        {one.name: [step.score for step in one.steps] for one in shown},
        found.windows,
        bounds=tuple(bound for bound in given if bound is not None),
        marks={one.name: _promotions(one) for one in shown},
        height=300,
    )
    return f"{drawn}<p>A ring: a new version was promoted at the end of this window.</p>"


def _promotions(replay: Replay) -> list[int]:
    if replay.kind == "oracle":
        return []
    return [place for place, step in enumerate(replay.steps) if step.mark == "R"]


def _policies(found: Backtest) -> str:
    rows: list[dict[str, Any]] = [
        {
            "policy": one.name + (f" (and {alike} alike)" if alike else ""),
            "": "best" if one is found.best else "",
            "windows": one.timeline,
            "alerts": None if one.kind == "oracle" else one.alerts,
            "trained": one.retrainings,
            "promoted": one.count("promoted"),
            "taken back": one.count("taken back"),
            "rows": one.rows,
            "seconds": round(one.seconds),
            found.metric: f"{one.score:.4f}" if one.score is not None else None,
            "gain": f"{one.gain(found.never):+.4f}",
        }
        for one, alike in found.ranked.items()
    ]
    legend = (
        "<p>Windows: <b>R</b> a new version, <b>x</b> one rejected or failed, <b>&lt;</b> one "
        "taken back, <b>!</b> an alert alone, <b>.</b> nothing. The gain is the mean of the metric "
        "over the windows, weighted by their labelled rows, over that of never training again.</p>"
    )
    return legend + table(rows)


def _costs(found: Backtest) -> str:
    places = [
        (
            f"{one.name}: {one.gain(found.never):+.4f}",
            one.rows,
            one.gain(found.never),
            one is found.best,
        )
        for one in found.replays
    ]
    return scatter(places, across="rows trained on, up to", up="gain")


def _moves(found: Backtest) -> str:
    """Distances of the first model's windows in thresholds, a column of the page per window."""
    steps = found.never.steps
    names = {name for step in steps for name in step.distances}
    most = {name: max(step.distances.get(name, 0.0) for step in steps) for name in names}
    shown = sorted(most, key=lambda name: -most[name])[:_COLUMNS]
    if not shown:
        return "<p>The monitor measures no drift.</p>"
    head = "".join(f"<th class=n>{escape(window)}</th>" for window in found.windows)
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(_cell(s.distances.get(name)) for s in steps)}</tr>"
        for name in shown
    )
    return (
        "<p>How far each column is from what the first model learned from, in thresholds: above 1 "
        "it drifted.</p>"
        f"<table><thead><tr><th>column</th>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(far: float | None) -> str:
    if far is None:
        return "<td></td>"
    shade = f" style='background:rgba(220,38,38,{min(0.6, 0.15 * far):.2f})'" if far > 1 else ""
    return f"<td class=h{shade}>{far:.2f}</td>"


def _decisions(found: Backtest) -> Iterator[str]:
    for one in dict.fromkeys((found.project, found.best)):
        rows = [
            {
                "window": step.window.key,
                "version": step.version,
                found.metric: f"{step.score:.4f}" if step.score is not None else None,
                "decision": tick.decision.reason,
                "came of it": tick.action.outcome if tick.action else "",
                "why": tick.action.said if tick.action else "",
            }
            for step in one.steps
            for tick in step.ticks
            if tick.action or tick is step.ticks[0]
        ]
        yield section(f"Decisions: {one.name}", details(f"{len(rows)} decisions", table(rows)))


def _caveat(found: Backtest) -> str:
    said = "A retraining is taken to be ready before the next window."
    if found.known_at_once:
        said += " Labels were taken as known when their window ended."
    return said
