"""Idle threads of numeric libraries sleep, unless the user chose otherwise."""

from __future__ import annotations

import os

import pytest

from liminal_assets.execution.threads import let_idle_threads_sleep


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, "PASSIVE", id="unset"),
        pytest.param("ACTIVE", "ACTIVE", id="chosen"),
    ],
)
def test_idle_threads_sleep_unless_told_otherwise(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if before:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    let_idle_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == after
