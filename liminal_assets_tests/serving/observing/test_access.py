"""An access log that can't be written costs lines, not answers, and says so once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from liminal_assets.serving.observing.access import AccessLog, AccessLogConfig, Line

LINE = Line(0.0, "GET", "/info", 200, 1.0, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is full")
def test_a_full_disk_is_told_once_and_again_after_it_had_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(AccessLogConfig(str(tmp_path / "access.jsonl")))
    file, full = log._target, os.open("/dev/full", os.O_WRONLY)
    for target in (full, full, file, full):
        log._target = target
        log.add(LINE)
        log._write()
    log._target = file
    log.close()
    os.close(full)
    told = "the access log can't be written, lines are dropped: [Errno 28] No space left on device"
    assert [record.getMessage() for record in caplog.records] == [told, told]
    assert log.dropped == 3
    assert (tmp_path / "access.jsonl").read_text().count("\n") == 1
