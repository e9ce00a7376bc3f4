"""``liminal status`` in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from liminal_assets.cli.status import _ago

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
