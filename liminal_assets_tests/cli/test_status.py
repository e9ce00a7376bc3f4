"""``liminal status`` in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from liminal_assets.cli.status import _ago, _watched

NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-3, "just now"),  # a clock that is ahead
        (0.9, "just now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (86400 * 3, "3 d ago"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert _ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == told


def test_what_never_was_has_no_age() -> None:
    assert _ago(None) == "never"


@pytest.mark.parametrize(
    ("judged", "breaches", "told"),
    [
        (True, [], "watch 2026-11-27: fine"),
        (False, [], "watch 2026-11-27: too few rows"),
        (True, ["drift", "kpi_fee"], "watch 2026-11-27: breach of drift, kpi_fee"),
        (False, ["quality"], "watch 2026-11-27: breach of quality"),
    ],
)
def test_a_window_that_was_not_judged_is_not_fine(
    judged: bool, breaches: list[str], told: str
) -> None:
    window = {"checked": NOW.isoformat(), "partition": "2026-11-27", "judged": judged}
    assert _watched({"watch": {**window, "breaches": breaches}}) == told
