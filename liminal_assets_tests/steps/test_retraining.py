"""Up to which partition a retraining learns, however the monitor's windows are cut."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from liminal_assets.language.loading import load_project
from liminal_assets.language.monitors import Monitor
from liminal_assets.steps.decision import Retraining
from liminal_assets.steps.observation import Window
from liminal_assets.steps.retraining import partition_to_learn_from
from liminal_assets_tests.watching import YAML

SERVED = """
  - monitor: watch
    deployment: returned_api
    partitions: {every: day, start: '2024-05-01'}
    drift: {}
"""
MONTHLY = "    partitions: {every: month, start: '2024-01-01', end: '2025-01-01'}\n"
DAY = Window("2024-05-14", None, datetime(2024, 5, 15, tzinfo=timezone.utc), "2024-05-14")
MONTH = Window("2024-05", None, datetime(2024, 6, 1, tzinfo=timezone.utc), "2024-05")
SLIDES = Window("2024-05-13..2024-05-20", None, datetime(2024, 5, 15, tzinfo=timezone.utc))


@pytest.mark.parametrize(
    ("cut", "monitor", "window", "expected"),
    [
        pytest.param(MONTHLY, SERVED, DAY, "2024-04", id="days, and a feature by month"),
        pytest.param(MONTHLY, SERVED, MONTH, "2024-05", id="a new partition of the feature"),
        pytest.param("", SERVED, DAY, "2024-05-14", id="days, and a feature in one piece"),
        pytest.param(
            MONTHLY,
            SERVED.replace("returned_api", "returned_scores").replace("partitions", "tags"),
            MONTH,
            "2024-05",
            id="batch scores",
        ),
        pytest.param(MONTHLY, SERVED.replace("partitions", "tags"), SLIDES, None, id="it slides"),
    ],
)
def test_a_retraining_learns_up_to_a_partition_of_its_own_rows(
    tmp_path: Path, cut: str, monitor: str, window: Window, expected: str | None
) -> None:
    text = YAML.format(monitors=monitor, more="").replace(MONTHLY, cut)
    (tmp_path / "liminal.yml").write_text(text)
    project = load_project(tmp_path)
    block = project.block("watch")
    assert isinstance(block, Monitor)
    asked = Retraining("watch:key", (), (), window)
    assert partition_to_learn_from(project, block, "returned", asked) == expected
