"""The windows of monitors: how served rows are cut, and what is no way to cut them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from liminal_assets.language.loading import examine_project
from liminal_assets.language.monitors import Monitor
from liminal_assets.language.partitions import partitions_of
from liminal_assets_tests.watching import YAML, project_in

DAILY = """
  - monitor: watch
    deployment: returned_api
    partitions: {every: day, start: '2024-05-01'}
    drift: {}
"""


def test_a_monitor_of_served_rows_is_cut_as_it_says_and_one_of_scores_as_they_are(
    tmp_path: Path,
) -> None:
    project = project_in(tmp_path, DAILY, "")
    watch = project.block("watch")
    # a copy, which isn't the project's, is cut like that too
    for block in (watch, watch.model_copy()):
        own = partitions_of(project, block)
        assert own is not None
        assert (own.every, own.start) == ("day", "2024-05-01")
    scores = DAILY.replace("returned_api", "returned_scores")
    slides, batch = (
        project_in(tmp_path, text.replace("partitions:", "tags: {a: b} #"), "")
        for text in (DAILY, scores)
    )
    assert slides.partitions["watch"] is None
    assert batch.partitions["watch"] == batch.partitions["orders"]


@pytest.mark.parametrize(
    ("watch", "line", "message", "hint"),
    [
        pytest.param(
            DAILY.replace("returned_api", "returned_scores"),
            "partitions: {",
            "returned_scores scores in batches: a window is a partition of the scores",
            "take it out here",
            id="batch scores",
        ),
        pytest.param(
            DAILY.replace("every: day, start: '2024-05-01'", "values: [EU, US]"),
            "partitions: {",
            "cut by time: 'every' and 'start', not 'values'",
            "",
            id="listed values",
        ),
        pytest.param(
            DAILY.replace(", start: '2024-05-01'", ""),
            "partitions: {",
            "need a 'start', such as '2013-01-01'",
            "",
            id="no start",
        ),
        pytest.param(
            DAILY.replace("every: day", "every: fortnight"),
            "partitions: {",
            "must be 'hour', 'day', 'week' or 'month', not 'fortnight'",
            "",
            id="no such length",
        ),
        pytest.param(
            DAILY + "    window: 12h\n",
            "window: 12h",
            "12h is shorter than a partition of one day, and no window would hold the rows "
            "between: at least 1d, or leave it out",
            "",
            id="window shorter than the partition",
        ),
        pytest.param(
            DAILY.replace("every: day", "every: month") + "    window: 30d\n",
            "window: 30d",
            "30d is shorter than a partition of one month",
            "",
            id="window shorter than the longest month",
        ),
    ],
)
def test_a_wrong_way_to_cut_windows_is_told_at_its_line(
    tmp_path: Path, watch: str, line: str, message: str, hint: str
) -> None:
    text = YAML.format(monitors=watch, more="")
    (tmp_path / "liminal.yml").write_text(text)
    _, (found,) = examine_project(tmp_path / "liminal.yml", environ={})
    assert line in text.splitlines()[found.location.line - 1]
    assert message in found.message
    assert hint in (found.hint or "")


def test_a_window_may_be_as_long_as_its_partition_and_longer() -> None:
    said = {"monitor": "w", "deployment": "d", "drift": {}, "window": "31d"}
    for every in ("hour", "day", "week", "month"):
        cut = {"every": every, "start": "2024-01-01"}
        assert Monitor.model_validate({**said, "partitions": cut}).window is not None
    with pytest.raises(ValidationError, match="23h is shorter than a partition"):
        Monitor.model_validate(
            {**said, "window": "23h", "partitions": {"every": "day", "start": "2024-01-01"}}
        )
