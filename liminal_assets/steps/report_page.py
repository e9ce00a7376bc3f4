"""Pieces of a page that needs nothing else: no script, no file, no address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["STYLE", "details", "figure", "section", "table"]

STYLE = """
:root{color-scheme:light dark;--ink:#0f172a;--dim:#64748b;--line:#e2e8f0;--card:#fff;--page:#f8fafc;
--bad:#dc2626;--tint:#fef2f2;--good:#16a34a}
@media(prefers-color-scheme:dark){:root{--ink:#e2e8f0;--dim:#94a3b8;--line:#334155;--card:#1e293b;
--page:#0f172a;--tint:#451a1a}svg{background:#f8fafc;border-radius:.4rem}}
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--page);
max-width:1040px;margin:0 auto;padding:1.5rem}
header{background:var(--card);border-left:6px solid var(--dim);border-radius:.5rem;
padding:1rem 1.25rem}
header.breach{border-color:var(--bad)}header.good{border-color:var(--good)}
header p{margin:.5rem 0 0;max-width:75ch}.sure{color:var(--dim)}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:0 0 .6rem}
.verdict{font-size:.85rem;padding:.15rem .7rem;border-radius:1rem;color:#fff;
background:var(--dim);vertical-align:middle}
.breach .verdict{background:var(--bad)}.good .verdict{background:var(--good)}
section{background:var(--card);border-radius:.5rem;padding:1rem 1.25rem;margin-top:1rem;
overflow-x:auto}
dl{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:1rem 0 0}
dt{color:var(--dim);font-size:12px}dd{margin:0}
ul{margin:0;padding-left:1.2rem}p{margin:.2rem 0 .6rem}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}
tr.bad td{background:var(--tint)}summary{cursor:pointer;color:var(--dim)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:.75rem}
figure{margin:0;border:1px solid var(--line);border-radius:.4rem;padding:.5rem}
figure.bad{border-color:var(--bad)}
figure svg,section>svg{max-width:100%;height:auto}
figcaption{font-size:13px;font-weight:600;margin-bottom:.2rem}
footer{margin-top:1rem;color:var(--dim);font-size:12px}
"""


def section(title: str, inside: str) -> str:
    """A part with a heading; ``inside`` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{inside}</section>"


def details(title: str, inside: str) -> str:
    """A part that is folded until one asks."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def figure(caption: str, drawn: str, *, bad: bool = False) -> str:
    """A chart with what it is about."""
    style = " class=bad" if bad else ""
    return f"<figure{style}><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"


def table(
    rows: Sequence[Mapping[str, Any]], *, bad: Callable[[Mapping[str, Any]], bool] | None = None
) -> str:
    """Rows of the same keys; columns without any value are left out.

    Args:
        bad: which rows to mark.
    """
    if not rows:
        return "<p>none</p>"
    keys = [key for key in rows[0] if any(row[key] not in (None, "") for row in rows)]
    numbers = {key for key in keys if any(_is_number(row[key]) for row in rows)}
    head = "".join(f"<th{' class=n' if key in numbers else ''}>{escape(key)}</th>" for key in keys)
    body = "".join(
        f"<tr{' class=bad' if bad and bad(row) else ''}>"
        f"{''.join(_cell(row[key]) for key in keys)}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else ''}</td>"
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    if isinstance(value, float):
        return f"<td class=n>{_number(value)}</td>"
    return f"<td>{escape(str(value)) if value is not None else ''}</td>"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
