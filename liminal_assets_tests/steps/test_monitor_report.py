"""The report of a window: what it says, in which order, and that it needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from liminal_assets.language.loading import Project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.monitor import watch
from liminal_assets.steps.monitor_report import html_report
from liminal_assets.steps.windows import given_rows

MONITOR = Monitor.model_validate(
    {"monitor": "wide_watch", "deployment": "scores", "drift": {"threshold": 0.5}}
)


class Page(HTMLParser):
    """Tags that are open, those of a row of a table, and whatever a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.headings: list[str] = []
        self.charts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)
        self.charts += tag == "figure"
        self.loads += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#")
        ]
        self.loads += [tag] if tag in ("script", "iframe", "img", "link") else []

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def wide(columns: int, moved: int, *, seed: int) -> pd.DataFrame:
    """Many number columns, the last of which moved."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        random.normal(size=(400, columns)), columns=[f"column{n:03}" for n in range(columns)]
    )
    frame.iloc[:, columns - moved :] += 2.0
    return frame


def report(columns: int, moved: int) -> str:
    """The report of a window of so many columns."""
    project = Project.of("shop", check=False)
    rows = given_rows("2024-07", wide(columns, moved, seed=1), wide(columns, 0, seed=2))
    done = watch(project, MONITOR, rows)
    assert done.judgement.breach == bool(moved)
    return html_report(project, MONITOR, done.observation, done.judgement)


def _visible(page: str) -> Iterator[str]:
    """The columns that are named outside of what is folded."""
    shown = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    yield from re.findall(r"column\d{3}", shown)


def test_of_500_columns_those_that_moved_are_shown_and_the_rest_is_folded() -> None:
    text = report(500, moved=3)
    page = Page(text)
    assert (page.open, page.loads) == ([], [])
    assert page.charts == 12
    assert set(list(_visible(text))[:3]) == {"column497", "column498", "column499"}
    assert len(set(_visible(text))) <= 60
    assert set(re.findall(r"column\d{3}", text)) == {f"column{n:03}" for n in range(500)}
    assert len(text) < 1_000_000


def test_a_report_begins_with_what_changed_and_what_to_do() -> None:
    text = report(5, moved=1)
    header = text[text.index("<header") : text.index("</header>")]
    assert "breach (1)" in header
    assert "column004" in header
    assert Page(text).headings[0] == "What was broken"
    quiet = report(5, moved=0)
    assert "Nothing of note changed" in quiet
    assert "What was broken" not in quiet


def test_names_and_values_are_escaped() -> None:
    project = Project.of("shop", check=False)
    frame = pd.DataFrame({"<b>": ["<script>alert(1)</script>"] * 200})
    other = pd.DataFrame({"<b>": ["x"] * 200})
    done = watch(project, MONITOR, given_rows("<i>", frame, other))
    page = Page(html_report(project, MONITOR, done.observation, done.judgement))
    assert page.loads == []
    assert {"b", "i"}.isdisjoint(page.open)
